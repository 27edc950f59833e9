/*
 * Products of the head's screen: rows with 128 added, so that they are unsigned, less 128 times the
 * sum of x.
 */
#include "avx512.h"

#include <immintrin.h>

/* 128 times the sum of n values, a multiple of 64. */
static int32_t excess(const int8_t *x, size_t n)
{
	__m512i s = _mm512_setzero_si512(), by = _mm512_set1_epi8((char)128);

	for (size_t i = 0; i < n; i += 64)
		s = _mm512_dpbusd_epi32(s, by, _mm512_loadu_si512(x + i));
	return _mm512_reduce_add_epi32(s);
}

/* Row by row, in the order of memory, so that the CPU fetches ahead by itself. */
static void screen_dots(const int8_t *rows, size_t stride, size_t n, const int8_t *x, int32_t *out)
{
	const __m512i flip = _mm512_set1_epi8((char)0x80);
	int32_t high = excess(x, stride), low = excess(x + stride, stride);

	for (size_t r = 0; r < n; r++, rows += stride) {
		__m512i h = _mm512_setzero_si512(), l = h;

		for (size_t i = 0; i < stride; i += 64) {
			__m512i w = _mm512_xor_si512(_mm512_loadu_si512(rows + i), flip);

			h = _mm512_dpbusd_epi32(h, w, _mm512_loadu_si512(x + i));
			l = _mm512_dpbusd_epi32(l, w, _mm512_loadu_si512(x + stride + i));
		}
		out[2 * r] = _mm512_reduce_add_epi32(h) - high;
		out[2 * r + 1] = _mm512_reduce_add_epi32(l) - low;
	}
}

void avx512_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
