/*
 * The tokenizer of a GGUF file: text to ids and back.  Kinds: "gpt2" (byte-level BPE with a
 * pre-tokenizer) and "llama" (SentencePiece-like).  Spec: tokenizers.md.
 */
#ifndef VOCAB_H
#define VOCAB_H

#include "gguf.h"

struct vocab; /* private; borrows strings from the gguf, which must outlive it */

/* A growing list of token ids.  All-zero is empty; ids_free ends it. */
struct ids {
	int32_t *v;
	size_t n, cap;
};
int ids_push(struct ids *l, int32_t id, struct err *e);
int ids_reserve(struct ids *l, size_t cap, struct err *e); /* room for cap ids in all */
void ids_free(struct ids *l);

/* Bytes that vocab_open takes for its tables (tag MEM_VOCAB, one arena): a function of the header
 * alone, for the plan.  0 when the file has no tokenizer. */
int vocab_plan(const struct gguf *g, uint64_t *bytes, struct err *e);

/* Errors: no tokenizer, an unsupported model or pre-tokenizer (named, with what is supported),
 * arrays that contradict each other.  pre: overrides tokenizer.ggml.pre when not NULL. */
int vocab_open(struct vocab **v, const struct gguf *g, const char *pre, struct err *e);
void vocab_close(struct vocab *v); /* NULL is allowed */

uint32_t vocab_size(const struct vocab *v);
const char *vocab_pre(const struct vocab *v); /* the pre-tokenizer in use, "" for llama kind */

/* Text in pieces: special tokens are recognised in those with special set and are plain text in
 * the others (text of users); between special tokens the pieces are one text. */
struct vocab_text {
	const char *p;
	size_t n;
	int special;
};

/* Appends the ids of the text.  bos: put the bos token in front when the vocabulary asks for one
 * (add_bos_token), and eos behind (add_eos_token).  A bos that the text itself begins with is not
 * looked at: then there are two.
 * User-defined tokens (type 4) are recognised everywhere, also where special is not set.  Text need
 * not be valid UTF-8: a byte that is not part of a character is kept, and counts as a character
 * that is neither letter, number nor space.  Any number of threads may encode with one vocabulary.
 * Errors (out is as before): no memory, more than 1 GiB of text. */
int vocab_encode(const struct vocab *v, const struct vocab_text *text, size_t n_text, int bos,
                 struct ids *out, struct err *e);

/* The bytes that id stands for in running text: writes at most cap bytes, returns how many there
 * are (0 for control tokens unless special is set; ids out of range: 0).  The longest is
 * vocab_longest() bytes.  Not necessarily whole UTF-8 characters. */
size_t vocab_decode(const struct vocab *v, int32_t id, int special, char *out, size_t cap);
size_t vocab_longest(const struct vocab *v);

/* The piece as stored, and its token type (1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6
 * byte). */
struct gguf_str vocab_piece(const struct vocab *v, int32_t id, int *type);

/* Whether a decoder strips one leading space from the first piece of a text (llama kind). */
int vocab_strips_space(const struct vocab *v);

/* The id of the token whose stored piece is exactly this; -1 when there is none. */
int32_t vocab_find(const struct vocab *v, const char *piece, size_t n);

int vocab_is_end(const struct vocab *v, int32_t id); /* in the end-of-generation set */
int vocab_ends_by_name(const char *piece, size_t n); /* "<|eot_id|>" and its like: always in it */
int32_t vocab_bos(const struct vocab *v);            /* -1: none */
int32_t vocab_eos(const struct vocab *v);
int vocab_adds_bos(const struct vocab *v);

#endif
