/*
 * An index from strings to their numbers, for tables whose strings lie elsewhere (a mapped
 * file): open addressing over 4-byte slots, each a number and as many bits of the hash as are
 * left beside it, so that a probe that misses hardly ever touches the strings.
 *
 * Filled once in rising order of the numbers, never changed.  Equal strings are found lowest
 * number first.
 */
#ifndef STRINDEX_H
#define STRINDEX_H

#include <stddef.h>
#include <stdint.h>

#define STRINDEX_MAX (1u << 26) /* strings; leaves 5 bits of hash */

struct strindex {
	uint32_t *slot; /* mask + 1 of them: number + 1 in the low bits, 0 empty; caller's memory */
	uint32_t mask;
	uint32_t number_mask;
};

/* Bytes of slots that n strings need (n at most STRINDEX_MAX). */
size_t strindex_bytes(uint32_t n);

/* slots: strindex_bytes(n), zeroed. */
void strindex_init(struct strindex *x, void *slots, uint32_t n);

/* The hash of a string, and of two strings in order. */
uint32_t strindex_hash(const char *p, size_t n);
static inline uint32_t strindex_hash2(uint32_t a, uint32_t b)
{
	uint64_t m = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)((m ^ m >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 32);
}

static inline void strindex_add(struct strindex *x, uint32_t hash, uint32_t number)
{
	uint32_t i = hash & x->mask;

	while (x->slot[i])
		i = (i + 1) & x->mask;
	x->slot[i] = (hash & ~x->number_mask) | (number + 1);
}

/* Candidates for hash, one by one: at starts as strindex_start, the result is a number whose
 * string the caller compares, or STRINDEX_END after the last. */
#define STRINDEX_END UINT32_MAX
static inline uint32_t strindex_start(const struct strindex *x, uint32_t hash)
{
	return hash & x->mask;
}
static inline uint32_t strindex_next(const struct strindex *x, uint32_t hash, uint32_t *at)
{
	uint32_t s;

	while ((s = x->slot[*at])) {
		*at = (*at + 1) & x->mask;
		if (!((s ^ hash) & ~x->number_mask))
			return (s & x->number_mask) - 1;
	}
	return STRINDEX_END;
}

#endif
