/*
 * Products of the head's screen: codes as they are, unsigned, and what their offset of 32 adds
 * taken off lane by lane.
 */
#include "avx512.h"

#include <immintrin.h>

#include "../screen.h"
#include "lanes.h"

/* Adds the products of 64 codes and the values at i to 16 lanes, times the factor. */
static inline v16 add_block(v16 sum, __m512i code, const struct kernel_screened *x, size_t i,
                            float factor)
{
	__m512i t =
	    _mm512_dpbusd_epi32(_mm512_setzero_si512(), code, _mm512_loadu_si512(x->high + i));

	t = _mm512_dpbusd_epi32(_mm512_slli_epi32(t, 8), code, _mm512_loadu_si512(x->low + i));
	t = _mm512_sub_epi32(t, _mm512_loadu_si512(x->excess + i / 4));
	return v16_fma(_mm512_cvtepi32_ps(t), v16_set(factor), sum);
}

/* (low & 15) | (high & ~15) */
static inline __m512i joined(__m512i low, __m512i high)
{
	return _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), low, high, 0xca);
}

/* The codes of a group. */
static inline void unpack(const uint8_t *p, __m512i code[4])
{
	__m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(p + 64);
	__m512i c = _mm512_loadu_si512(p + 128), bits = _mm512_set1_epi8(0x33);
	/* bits 4 and 5 for one block, 0 and 1 for another, zeros above either */
	__m512i even = _mm512_and_si512(c, bits);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi16(c, 2), bits);

	code[0] = joined(a, _mm512_slli_epi16(even, 4));
	code[1] = joined(_mm512_srli_epi16(a, 4), _mm512_slli_epi16(odd, 4));
	code[2] = joined(b, even);
	code[3] = joined(_mm512_srli_epi16(b, 4), odd);
}

/* Blocks whose factors are made floats at a time. */
#define FACTORS 64

static inline void floats(float *to, const uint8_t *m, size_t n)
{
	for (size_t i = 0; i < n; i += 16)
		v16_store(to + i, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(b16_load(m + i))));
}

/* Row by row, in the order of memory, so that the CPU fetches ahead by itself. */
static void screen_dots(const uint8_t *rows, size_t n, size_t k, const struct kernel_screened *x,
                        float *out)
{
	const size_t bytes = screen_row_bytes(k), factors = screen_factors(k);
	float m[FACTORS];

	for (size_t r = 0; r < n; r++, rows += bytes) {
		v16 sum = v16_zero();

		for (size_t g = 0; g < screen_padded(k) / SCREEN_GROUP; g++) {
			__m512i code[4];
			size_t at = 4 * g % FACTORS;

			if (!at)
				floats(m, rows + factors + 4 * g, FACTORS);
			unpack(rows + g * SCREEN_GROUP_BYTES, code);
			for (size_t b = 0; b < 4; b++)
				sum = add_block(sum, code[b], x, g * SCREEN_GROUP + b * 64,
				                m[at + b]);
		}
		out[r] = v16_sum(sum);
	}
}

void avx512_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
