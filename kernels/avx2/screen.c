/*
 * Products of the head's screen: codes as they are, unsigned, and what their offset of 32 adds
 * taken off lane by lane.  A pair of products is at most 2 * 63 * 128, which fits 16 bits.
 */
#include "avx2.h"
#include "bytes.h"

#include "../screen.h"
#include "lanes.h"

static inline __m256i products(__m256i code, const int8_t *x)
{
	__m256i pairs = _mm256_maddubs_epi16(code, v32_load((const uint8_t *)x));

	return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* Adds the products of 32 codes and the values at i to 8 lanes, times the factor. */
static inline __m256 add_half(__m256 sum, __m256i code, const struct kernel_screened *x, size_t i,
                              __m256 factor)
{
	__m256i t = _mm256_add_epi32(_mm256_slli_epi32(products(code, x->high + i), 8),
	                             products(code, x->low + i));

	t = _mm256_sub_epi32(t, v32_load((const uint8_t *)(x->excess + i / 4)));
	return _mm256_fmadd_ps(_mm256_cvtepi32_ps(t), factor, sum);
}

/* 32 codes from 32 bytes of the planes, of which shifts bring the bits to their places. */
static inline __m256i joined(__m256i low, __m256i high)
{
	return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
	                       _mm256_and_si256(high, _mm256_set1_epi8(48)));
}

/* Block 0..3 of a group. */
static inline v16 add_block(v16 sum, const uint8_t *group, int block,
                            const struct kernel_screened *x, size_t i, uint8_t factor)
{
	const uint8_t *p = group + block / 2 * 64;
	__m256 m = _mm256_set1_ps((float)factor);
	__m256i code[2];

	for (int h = 0; h < 2; h++) {
		__m256i low = v32_load(p + 32 * h), high = v32_load(group + 128 + 32 * h);

		if (block % 2)
			low = _mm256_srli_epi16(low, 4);
		high = block == 0   ? _mm256_slli_epi16(high, 4)
		       : block == 1 ? _mm256_slli_epi16(high, 2)
		       : block == 3 ? _mm256_srli_epi16(high, 2)
		                    : high;
		code[h] = joined(low, high);
	}
	sum.a = add_half(sum.a, code[0], x, i, m);
	sum.b = add_half(sum.b, code[1], x, i + 32, m);
	return sum;
}

#include "../wide/screen_dots.h"

void avx2_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
