#include "strindex.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* A power of two with at most two slots of three in use. */
static uint32_t slots_for(uint32_t n)
{
	uint32_t slots = 16;

	while (slots < n + n / 2)
		slots *= 2;
	return slots;
}

size_t strindex_bytes(uint32_t n)
{
	return slots_for(n) * sizeof(uint32_t);
}

void strindex_init(struct strindex *x, void *slots, uint32_t n)
{
	x->slot = slots;
	x->mask = slots_for(n) - 1;
	x->number_mask = 1;
	while (x->number_mask < n)
		x->number_mask = x->number_mask * 2 + 1;
}

uint32_t strindex_hash(const char *p, size_t n)
{
	return (uint32_t)XXH3_64bits(p, n);
}
