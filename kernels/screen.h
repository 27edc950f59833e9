/*
 * The output head's screen (lib/head.h): 6 bits a value, and a factor for 64 of them.  A value is
 * scale * m * (code - 32), with codes 1..63 and m 0..255.  The upper five bits of the codes are
 * read for every row, the last one only where they do not tell enough.
 *
 * The upper bits lie in strips of 16 rows.  A strip of rows of k values is a sequence of blocks of
 * 64 columns, 640 bytes each; then the factors, for each block a byte per row, up to the next
 * multiple of 64 bytes.  A block has 16 vectors of 64 codes: byte 4 r + i of vector j is row r,
 * column 4 j + i, which is how vpdpbusd takes them with four numbers that all lanes share.  It
 * begins with 8 planes of 64 bytes, each with bits 1 to 4 of two vectors in the halves of its
 * bytes; then bit 5 of the 64 codes of each vector, the first one lowest, in 8 bytes.
 *
 * The last bits of a row lie together, the first column lowest, in 8 bytes for each 64 columns;
 * behind them its factors once more, up to the next multiple of 64 bytes.
 */
#ifndef SCREEN_H
#define SCREEN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SCREEN_ROWS        16 /* of a strip */
#define SCREEN_BLOCK       64 /* values with one factor */
#define SCREEN_BLOCK_BYTES 640
#define SCREEN_FIFTH       512 /* where bits 5 begin in a block */
#define SCREEN_MOST        31  /* greatest size of code - 32 */

/* Values of a row of k with those that fill it up. */
static inline size_t screen_padded(size_t k)
{
	return (k + SCREEN_BLOCK - 1) / SCREEN_BLOCK * SCREEN_BLOCK;
}

static inline size_t screen_blocks(size_t k)
{
	return screen_padded(k) / SCREEN_BLOCK;
}

/* Where the factors are in a strip, bytes. */
static inline size_t screen_factors(size_t k)
{
	return screen_blocks(k) * SCREEN_BLOCK_BYTES;
}

static inline size_t screen_strip_bytes(size_t k)
{
	return screen_factors(k) + (screen_blocks(k) * SCREEN_ROWS + 63) / 64 * 64;
}

/* Bytes of the last bits of a row, and with its factors. */
static inline size_t screen_bits(size_t k)
{
	return screen_padded(k) / 8;
}

static inline size_t screen_last_bytes(size_t k)
{
	return (screen_bits(k) + screen_blocks(k) + 63) / 64 * 64;
}

/* Codes and factors of 16 rows, (16, screen_padded(k)) and (16, screen_blocks(k)), to a strip. */
static inline void screen_pack_strip(uint8_t *strip, const uint8_t *codes, const uint8_t *factors,
                                     size_t k)
{
	size_t padded = screen_padded(k), blocks = screen_blocks(k);
	uint8_t *m = strip + screen_factors(k), vector[2][64];

	for (size_t c = 0; c < padded; c += 8) {
		uint8_t *block = strip + c / SCREEN_BLOCK * SCREEN_BLOCK_BYTES;
		size_t j = c % SCREEN_BLOCK / 4;

		for (size_t r = 0; r < SCREEN_ROWS; r++) {
			memcpy(vector[0] + 4 * r, codes + r * padded + c, 4);
			memcpy(vector[1] + 4 * r, codes + r * padded + c + 4, 4);
		}
		for (size_t i = 0; i < 64; i++)
			block[32 * j + i] =
			    (uint8_t)((vector[0][i] >> 1 & 15) | (vector[1][i] >> 1 & 15) << 4);
		for (size_t v = 0; v < 2; v++)
			for (size_t b = 0; b < 8; b++) {
				unsigned byte = 0;

				for (size_t i = 0; i < 8; i++)
					byte |= (vector[v][8 * b + i] >> 5 & 1u) << i;
				block[SCREEN_FIFTH + 8 * (j + v) + b] = (uint8_t)byte;
			}
	}
	for (size_t b = 0; b < blocks; b++)
		for (size_t r = 0; r < SCREEN_ROWS; r++)
			m[b * SCREEN_ROWS + r] = factors[r * blocks + b];
}

/* The last bits of a row's codes, and its factors. */
static inline void screen_pack_last(uint8_t *last, const uint8_t *codes, const uint8_t *factors,
                                    size_t k)
{
	memcpy(last + screen_bits(k), factors, screen_blocks(k));
	for (size_t b = 0; b < screen_bits(k); b++) {
		unsigned byte = 0;

		for (size_t i = 0; i < 8; i++)
			byte |= (codes[8 * b + i] & 1u) << i;
		last[b] = (uint8_t)byte;
	}
}

/* The upper five bits of row r, column c of a strip. */
static inline int screen_upper(const uint8_t *strip, size_t r, size_t c)
{
	const uint8_t *block = strip + c / SCREEN_BLOCK * SCREEN_BLOCK_BYTES;
	size_t j = c % SCREEN_BLOCK / 4, at = 4 * r + c % 4;

	return (block[j / 2 * 64 + at] >> j % 2 * 4 & 15) |
	       (block[SCREEN_FIFTH + 8 * j + at / 8] >> at % 8 & 1) << 4;
}

/* The factor that makes m * unit reach max. */
static inline float screen_factor(float max, float per_unit)
{
	float m = max * per_unit;
	float up = m < 255 ? (float)(int)m : 255;

	return up < m && up < 255 ? up + 1 : up;
}

#endif
