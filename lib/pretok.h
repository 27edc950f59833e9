/*
 * Pre-tokenizers of byte-level BPE: text into the words that merges stay within, by regular
 * expressions over Unicode classes.  Spec: tokenizers.md, section 3.
 */
#ifndef PRETOK_H
#define PRETOK_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* What a name in tokenizer.ggml.pre stands for: static data. */
struct pretok_kind {
	const char *names; /* separated by spaces, the first is the common one */
	const char
	    *regex[4];     /* applied one after the other, each to the pieces of the one before */
	int ignore_merges; /* a word that is a token is taken whole */
	int adds_bos;      /* what holds when the file has no add_bos_token */
};

/* NULL when there is none of that name. */
const struct pretok_kind *pretok_find(const char *name, size_t n);

/* The names that are known, for messages: "llama-bpe, ...". */
const char *pretok_names(char *out, size_t cap);

struct pretok; /* compiled expressions; constant after pretok_open, usable by many threads */

/* Bytes of memory that pretok_open needs for any kind, its compiler included.  The machine code
 * that PCRE2 makes lies outside, in executable pages of its own (about 30 KiB). */
#define PRETOK_BYTES (384u << 10)

/* block: PRETOK_BYTES, 16-byte aligned, the caller's until pretok_close.  Where machine code is
 * not allowed the expressions are interpreted, with the same result. */
int pretok_open(struct pretok **p, const struct pretok_kind *kind, void *block, struct err *e);
void pretok_close(struct pretok *p); /* ends the machine code; NULL is allowed */

/* Calls word(arg, at, n) for each word of text, in order; words join to the whole text.  Text need
 * not be valid UTF-8: a byte that is not part of a character counts as one of class "other" and
 * stays as it is.  word returns 0, or -1 to end with -1.
 * Errors: no memory, or what PCRE2 says. */
int pretok_split(const struct pretok *p, const char *text, size_t n,
                 int (*word)(void *arg, size_t at, size_t n), void *arg, struct err *e);

#endif
