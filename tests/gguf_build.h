/*
 * Small GGUF files made in memory, metadata only, for tests of what reads them.
 *
 *	struct build b = {0};
 *	build_str(&b, "tokenizer.ggml.model", "gpt2");
 *	build_open(&b, &g);	... gguf_close(&g); build_free(&b);
 */
#ifndef GGUF_BUILD_H
#define GGUF_BUILD_H

#include <stdlib.h>
#include <string.h>

#include "gguf.h"

struct build {
	uint8_t *p;
	size_t n, cap;
	uint64_t n_kv;
};

static inline void build_bytes(struct build *b, const void *p, size_t n)
{
	if (b->n + n > b->cap) {
		b->cap = 2 * (b->n + n) + 64;
		b->p = realloc(b->p, b->cap);
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static inline void build_u32(struct build *b, uint32_t x)
{
	build_bytes(b, &x, sizeof x);
}

static inline void build_u64(struct build *b, uint64_t x)
{
	build_bytes(b, &x, sizeof x);
}

static inline void build_string(struct build *b, const char *p, size_t n)
{
	build_u64(b, n);
	build_bytes(b, p, n);
}

static inline void build_key(struct build *b, const char *key, enum gguf_type type)
{
	if (!b->n) {
		build_bytes(b, "GGUF\3\0\0\0", 8);
		build_u64(b, 0);
		build_u64(b, 0);
	}
	b->n_kv++;
	build_string(b, key, strlen(key));
	build_u32(b, type);
}

static inline void build_str(struct build *b, const char *key, const char *value)
{
	build_key(b, key, GGUF_STRING);
	build_string(b, value, strlen(value));
}

static inline void build_num(struct build *b, const char *key, uint32_t value)
{
	build_key(b, key, GGUF_U32);
	build_u32(b, value);
}

static inline void build_bool(struct build *b, const char *key, int value)
{
	uint8_t x = (uint8_t)value;

	build_key(b, key, GGUF_BOOL);
	build_bytes(b, &x, 1);
}

/* The elements follow, by build_string and the like, n of them. */
static inline void build_array(struct build *b, const char *key, enum gguf_type element, uint64_t n)
{
	build_key(b, key, GGUF_ARRAY);
	build_u32(b, element);
	build_u64(b, n);
}

/* The file stays b's: free it after gguf_close. */
static inline int build_open(struct build *b, struct gguf *g, struct err *e)
{
	memcpy(b->p + 16, &b->n_kv, 8);
	return gguf_parse(g, b->p, b->n, GGUF_HEADER_ONLY, e);
}

static inline void build_free(struct build *b)
{
	free(b->p);
	memset(b, 0, sizeof *b);
}

#endif
