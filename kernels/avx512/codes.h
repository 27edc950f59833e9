/*
 * Codes of units in registers: see ../ternary.h for the layouts.
 */
#ifndef AVX512_CODES_H
#define AVX512_CODES_H

#include <immintrin.h>

#include "../ternary.h"

/* Bytes of a unit that hold codes, as a mask for loads; fewer in the last unit. */
static inline __mmask64 bytes_of(const struct ternary_layout *l, size_t columns)
{
	if (!l->span)
		return (1ull << 52) - 1;
	return columns >= 256 ? ~0ull : (1ull << columns / 4) - 1;
}

/* The digit that a byte begins with: 0, 1 or 2. */
static inline __m512i first_digit(__m512i r)
{
	__m512i one = _mm512_set1_epi8(1);
	__m512i v = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(r, _mm512_set1_epi8(86)), one);

	return _mm512_mask_add_epi8(v, _mm512_cmpge_epu8_mask(r, _mm512_set1_epi8((char)171)), v,
	                            one);
}

static inline __m512i times3(__m512i v)
{
	return _mm512_add_epi8(_mm512_add_epi8(v, v), v);
}

static inline __m512i times3_plus(__m512i v, __m512i w)
{
	return _mm512_add_epi8(times3(v), w);
}

/* seen, with bits set where a code is 3. */
static inline __m512i seen_three(__m512i seen, __m512i codes)
{
	/* seen | codes & codes >> 1 */
	return _mm512_ternarylogic_epi32(seen, codes, _mm512_srli_epi32(codes, 1), 0xf8);
}

/* Activations of a token in the order of the parts or digits: dealt_unit bytes a unit. */
static inline size_t dealt_unit(const struct ternary_layout *l)
{
	return l->span ? 256 : 320;
}

static inline void deal(const struct ternary_layout *l, const int8_t *x, size_t k, int8_t *out)
{
	for (size_t c = 0; c < k; c += 256) {
		if (l->span)
			ternary_deal(l, x + c, k - c < 256 ? k - c : 256, out + c);
		else
			ternary_deal3(x + c, out + c / 256 * 320);
	}
}

#endif
