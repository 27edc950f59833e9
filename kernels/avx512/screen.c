/*
 * Products of the head's screen: rows with 128 added, so that they are unsigned, less 128 times the
 * sum of x.
 */
#include "avx512.h"

#include <immintrin.h>

static int32_t sum_of(const int8_t *x, size_t n)
{
	int32_t s = 0;

	for (size_t i = 0; i < n; i++)
		s += x[i];
	return s;
}

static void screen_dots(const int8_t *rows, size_t stride, size_t n, const int8_t *x, int32_t *out)
{
	__m512i flip = _mm512_set1_epi8((char)0x80);
	int32_t high = 128 * sum_of(x, stride), low = 128 * sum_of(x + stride, stride);

	for (size_t r = 0; r < n; r++, rows += stride) {
		__m512i a = _mm512_setzero_si512(), b = a;

		for (size_t i = 0; i < stride; i += 64) {
			__m512i w = _mm512_xor_si512(_mm512_loadu_si512(rows + i), flip);

			_mm_prefetch((const char *)rows + i + 2048, _MM_HINT_T0);
			a = _mm512_dpbusd_epi32(a, w, _mm512_loadu_si512(x + i));
			b = _mm512_dpbusd_epi32(b, w, _mm512_loadu_si512(x + stride + i));
		}
		out[2 * r] = _mm512_reduce_add_epi32(a) - high;
		out[2 * r + 1] = _mm512_reduce_add_epi32(b) - low;
	}
}

void avx512_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
