/*
 * Products of the head's screen: codes as they are, unsigned, and what is to be taken off them at
 * the end of a block.
 */
#include "avx512.h"

#include <immintrin.h>

#include "../screen.h"
#include "lanes.h"

/* How far ahead strips are fetched into the second cache: they are read faster than the CPU fetches
 * ahead by itself. */
#define FETCH_AHEAD 8192

/* Bits 1 to 4 and bit 5 of the codes of a vector. */
static inline __m512i joined(__m512i four, const uint8_t *fifth)
{
	__mmask64 bits;

	memcpy(&bits, fifth, sizeof bits);
	four = _mm512_and_si512(four, _mm512_set1_epi8(15));
	return _mm512_mask_add_epi8(four, bits, four, _mm512_set1_epi8(16));
}

static inline v16 upper(const uint8_t *block, const int8_t *high, const int8_t *low, int32_t sum)
{
	__m512i h = _mm512_setzero_si512(), l = h;

#pragma GCC unroll 8
	for (size_t j = 0; j < 16; j += 2) {
		__m512i four = _mm512_loadu_si512(block + 32 * j);
		__m512i a = joined(four, block + SCREEN_FIFTH + 8 * j);
		__m512i b = joined(_mm512_srli_epi16(four, 4), block + SCREEN_FIFTH + 8 * (j + 1));

		fetch(block + 32 * j + FETCH_AHEAD);
		h = i16_add_fours(h, a, high + 4 * j);
		l = i16_add_fours(l, a, low + 4 * j);
		h = i16_add_fours(h, b, high + 4 * j + 4);
		l = i16_add_fours(l, b, low + 4 * j + 4);
	}
	fetch(block + SCREEN_FIFTH + FETCH_AHEAD);
	fetch(block + SCREEN_FIFTH + 64 + FETCH_AHEAD);
	h = _mm512_add_epi32(_mm512_slli_epi32(h, 10), _mm512_slli_epi32(l, 2));
	return _mm512_cvtepi32_ps(_mm512_sub_epi32(h, _mm512_set1_epi32(63 * sum)));
}

static inline int32_t last_bits(const uint8_t *last, const int8_t *high, const int8_t *low)
{
	__mmask64 bits;

	memcpy(&bits, last, sizeof bits);
	__m512i one = _mm512_maskz_mov_epi8(bits, _mm512_set1_epi8(1)),
		none = _mm512_setzero_si512();
	__m512i t = _mm512_dpbusd_epi32(none, one, _mm512_loadu_si512(high));

	t = _mm512_dpbusd_epi32(_mm512_slli_epi32(t, 8), one, _mm512_loadu_si512(low));
	return _mm512_reduce_add_epi32(t);
}

#include "../wide/screen_dots.h"

void avx512_screen_init(struct kernels *k)
{
	wide_screen_init(k);
}
