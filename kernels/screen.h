/*
 * Rows of the output head's screen (lib/head.h): 6 bits a value and a factor per 64 of them.
 *
 * A row of k values lies in groups of 256, the last one filled up with zeros.  A group is 192
 * bytes: two planes of 64 bytes with the low four bits (values i and 64 + i in the halves of byte
 * i, then 128 + i and 192 + i) and one with the high two bits (values i, 64 + i, 128 + i and
 * 192 + i in byte i, from the lowest bits on).  Behind all groups stand the factors m, a byte per
 * 64 values, up to the next multiple of 64 bytes.  A value is scale * m * (code - 32), with codes
 * 1..63 and m 0..255.
 */
#ifndef SCREEN_H
#define SCREEN_H

#include <stddef.h>
#include <stdint.h>

#define SCREEN_GROUP       256
#define SCREEN_GROUP_BYTES 192
#define SCREEN_BLOCK       64 /* values with one factor */
#define SCREEN_MOST        31 /* greatest size of code - 32 */

/* Values of a row of k with those that fill it up. */
static inline size_t screen_padded(size_t k)
{
	return (k + SCREEN_GROUP - 1) / SCREEN_GROUP * SCREEN_GROUP;
}

/* Where the factors are in a row, bytes. */
static inline size_t screen_factors(size_t k)
{
	return screen_padded(k) / SCREEN_GROUP * SCREEN_GROUP_BYTES;
}

static inline size_t screen_row_bytes(size_t k)
{
	return screen_factors(k) + (screen_padded(k) / SCREEN_BLOCK + 63) / 64 * 64;
}

/* The codes of a group, one a byte, to its planes. */
static inline void screen_pack(uint8_t out[SCREEN_GROUP_BYTES], const uint8_t code[SCREEN_GROUP])
{
	const uint8_t *a = code, *b = code + 64, *c = code + 128, *d = code + 192;

	for (size_t i = 0; i < 64; i++) {
		out[i] = (uint8_t)((a[i] & 15) | (b[i] & 15) << 4);
		out[64 + i] = (uint8_t)((c[i] & 15) | (d[i] & 15) << 4);
		out[128 + i] =
		    (uint8_t)(a[i] >> 4 | b[i] >> 4 << 2 | c[i] >> 4 << 4 | d[i] >> 4 << 6);
	}
}

/* Code i of a row. */
static inline int screen_code(const uint8_t *row, size_t i)
{
	const uint8_t *group = row + i / SCREEN_GROUP * SCREEN_GROUP_BYTES;
	size_t block = i / 64 % 4, at = i % 64;

	return (group[block / 2 * 64 + at] >> block % 2 * 4 & 15) |
	       (group[128 + at] >> 2 * block & 3) << 4;
}

/* The factor that makes m * unit reach max. */
static inline float screen_factor(float max, float per_unit)
{
	float m = max * per_unit;
	float up = m < 255 ? (float)(int)m : 255;

	return up < m && up < 255 ? up + 1 : up;
}

#endif
