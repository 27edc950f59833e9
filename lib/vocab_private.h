/*
 * What the files of the tokenizer share: the tables of an open vocabulary and the merging of
 * symbols.  For lib/vocab*.c alone.
 */
#ifndef VOCAB_PRIVATE_H
#define VOCAB_PRIVATE_H

#include "arena.h"
#include "pretok.h"
#include "strindex.h"
#include "vocab.h"

enum vocab_kind {
	VOCAB_BPE, /* "gpt2": bytes as printable characters, merges by rank */
	VOCAB_SPM  /* "llama": characters, merges by the score of what they give */
};

enum vocab_type {
	VOCAB_NORMAL = 1,
	VOCAB_UNKNOWN,
	VOCAB_CONTROL,
	VOCAB_USER,
	VOCAB_UNUSED,
	VOCAB_BYTE
};

/* The strings of an array where they lie in the file: string i starts at data + at[i], and ends
 * where the length field of the next begins. */
struct vocab_strings {
	const char *data;
	uint32_t *at; /* n + 1 of them */
	uint32_t n;
};

static inline struct gguf_str vocab_string(const struct vocab_strings *s, uint32_t i)
{
	return (struct gguf_str){s->data + s->at[i], s->at[i + 1] - s->at[i] - 8};
}

#define VOCAB_ENDS 16

struct vocab {
	struct arena arena; /* holds all that follows, and this */
	enum vocab_kind kind;
	const struct pretok_kind *pre; /* NULL for VOCAB_SPM */
	char pre_name[32];             /* the name it was chosen by, "" for VOCAB_SPM */
	struct pretok *pretok;
	struct vocab_strings piece;
	uint8_t *type; /* (tokens) enum vocab_type */
	float *score;  /* (tokens), VOCAB_SPM only */
	struct strindex by_piece;
	struct vocab_strings merge; /* VOCAB_BPE only */
	struct strindex by_merge;   /* over strindex_hash2(left, right) */
	uint32_t *special;          /* (n_special) ids that are cut out of text, longest first */
	uint32_t n_special;
	uint32_t longest; /* bytes of the longest piece */
	int32_t bos, eos, unk;
	int32_t end[VOCAB_ENDS];
	unsigned n_end;
	int adds_bos, adds_eos, adds_space;
	int words_apart;       /* VOCAB_SPM: no piece goes over the beginning of a word */
	int32_t byte_id[256];  /* VOCAB_SPM: the token of a byte that is in no piece */
	char letter[256][2];   /* VOCAB_BPE: a byte as character */
	uint8_t letter_n[256]; /* its length, 1 or 2 */
	uint32_t letter_hash[256];
	int16_t letter_byte[324]; /* code point to byte, -1 none */
};

/* The lowest id with this piece that text may become: control and unknown tokens are not, nor
 * byte tokens by their names.  -1 when there is none. */
int32_t vocab_text_token(const struct vocab *v, uint32_t hash, const char *p, size_t n);

/* One text being merged: symbols in a list, in one buffer. */
struct vocab_symbol {
	uint32_t at, n;      /* bytes in text */
	uint32_t prev, next; /* VOCAB_NONE at the ends */
	uint32_t order;      /* of merging with the next, VOCAB_NONE: not at all */
	uint32_t hash;       /* of the bytes */
};
#define VOCAB_NONE UINT32_MAX

struct vocab_work {
	const struct vocab *v;
	struct ids *out;
	struct err *e;
	char *text; /* pieces' alphabet */
	struct vocab_symbol *sym;
	uint64_t *heap; /* order << 32 | symbol, least first */
	size_t cap_text, cap_sym, n_heap, cap_heap;
};

/* Appends the ids of one word: text as bytes for VOCAB_BPE; for VOCAB_SPM with spaces already
 * replaced.  Returns 0, or -1 with w->e set. */
int vocab_merge_bpe(struct vocab_work *w, const char *word, size_t n);
int vocab_merge_spm(struct vocab_work *w, const char *word, size_t n);
void vocab_work_fini(struct vocab_work *w);

#endif
