/*
 * What the readers of Hugging Face tokenizer files share: the vocabulary under construction.  For
 * lib/hf_vocab*.c alone.
 */
#ifndef HF_VOCAB_PRIVATE_H
#define HF_VOCAB_PRIVATE_H

#include "hf_vocab.h"
#include "json.h"
#include "strindex.h"

/* More tokens than any known model by a factor of ten: what is allocated by a number in a file
 * stays bounded. */
#define HF_VOCAB_MAX (1u << 22)

/* Scores that the llama kind gives to tokens that no merge makes. */
#define HF_SCORE_ADDED (-1000.0f)

enum hf_type { HF_NORMAL = 1, HF_UNKNOWN, HF_CONTROL, HF_USER, HF_UNUSED, HF_BYTE };

struct hf_chunk;

struct hf_build {
	struct hf_vocab *v;
	const char *dir;
	int ahead;               /* other threads may parse what comes next */
	struct hf_chunk *chunks; /* strings, and the tables of v */
	struct strindex by_piece;
	uint32_t cap;  /* tokens that v's tables hold: vocab_size */
	uint32_t used; /* tokens set */
	uint32_t cap_merges;
};

/* n bytes, 8-byte aligned, zeroed, that live as long as v. */
void *hf_take(struct hf_build *b, size_t n, struct err *e);
int hf_keep(struct hf_build *b, const char *p, size_t n, struct gguf_str *out, struct err *e);

/* Sets a token.  The same piece again is allowed (only the type changes), another is an error, and
 * so are an id that the model has no row for and a piece that has another id. */
int hf_set(struct hf_build *b, uint64_t id, const char *p, size_t n, enum hf_type type,
           struct err *e);

/* -1 when there is none. */
int64_t hf_find(const struct hf_build *b, const char *p, size_t n);

/* Appends "left right". */
int hf_add_merge(struct hf_build *b, const char *l, size_t ln, const char *r, size_t rn,
                 struct err *e);

int hf_use_scores(struct hf_build *b, struct err *e); /* v->scores, zeroed */

/* Whether the piece is "<0xHH>". */
int hf_is_byte(const char *p, size_t n);

/* A file of the directory: 1 when it is not there. */
int hf_slurp(const struct hf_build *b, const char *name, size_t limit, char **buf, size_t *n,
             struct err *e);
int hf_load(const struct hf_build *b, const char *name, size_t limit, json_t **out, struct err *e);

/* The readers; errors without the file's name, which hf_vocab_open puts in front. */
int hf_read_json(struct hf_build *b, const char *text, size_t n, struct err *e);
int hf_read_sentencepiece(struct hf_build *b, const char *p, size_t n, struct err *e);
int hf_read_tiktoken(struct hf_build *b, const char *p, size_t n, struct err *e);

/* One entry {"content": ..., "special": ...} of the lists of added tokens. */
int hf_set_added(struct hf_build *b, uint64_t id, const json_t *token, struct err *e);

/* added_tokens.json, tokenizer_config.json and the others; these name their files. */
int hf_read_added(struct hf_build *b, struct err *e);
int hf_read_settings(struct hf_build *b, struct err *e);

#endif
