/*
 * Reading memory as fast as this set can: one long stream, asked for ahead in the second cache. Two
 * streams some 2^28 bytes apart are a third slower on Zen 4.  Included by a set's wide.c behind its
 * lanes.h.
 */
#ifndef WIDE_CEILING_H
#define WIDE_CEILING_H

#include "../kernels.h"

#define CEILING_AHEAD 2048 /* bytes */

/* Half a cache line at any address: as wide as every set's registers are at least. */
typedef uint64_t half_line __attribute__((vector_size(32), aligned(8), may_alias));

static uint64_t probe_read(const uint8_t *p, size_t n)
{
	half_line a = {0}, b = {0}, c = {0}, d = {0};
	uint64_t all = 0;

	for (size_t i = 0; i < n; i += 128) {
		const half_line *at = (const half_line *)(const void *)(p + i);

		__builtin_prefetch(p + i + CEILING_AHEAD, 0, 2);
		__builtin_prefetch(p + i + CEILING_AHEAD + 64, 0, 2);
		a ^= at[0];
		b ^= at[1];
		c ^= at[2];
		d ^= at[3];
	}
	a ^= b ^ c ^ d;
	for (size_t i = 0; i < 4; i++)
		all ^= a[i];
	return all;
}

#endif
