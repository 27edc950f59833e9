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

/* Rows that are multiplied together lie far apart, so that each is a long stream of its own. */
#define ROWS 4

/* ROWS rows, gap bytes apart: sums with h and with l, of rows with 128 added. */
static inline void four_rows(const int8_t *rows, size_t gap, size_t stride, const int8_t *x,
                             int32_t out[ROWS][2])
{
	__m512i flip = _mm512_set1_epi8((char)0x80), s[ROWS][2];

	for (size_t r = 0; r < ROWS; r++)
		s[r][0] = s[r][1] = _mm512_setzero_si512();
	for (size_t i = 0; i < stride; i += 64) {
		__m512i h = _mm512_loadu_si512(x + i), l = _mm512_loadu_si512(x + stride + i);

		for (size_t r = 0; r < ROWS; r++) {
			const int8_t *at = rows + r * gap + i;
			__m512i w = _mm512_xor_si512(_mm512_loadu_si512(at), flip);

			_mm_prefetch((const char *)at + 1024, _MM_HINT_T0);
			s[r][0] = _mm512_dpbusd_epi32(s[r][0], w, h);
			s[r][1] = _mm512_dpbusd_epi32(s[r][1], w, l);
		}
	}
	for (size_t r = 0; r < ROWS; r++) {
		out[r][0] = _mm512_reduce_add_epi32(s[r][0]);
		out[r][1] = _mm512_reduce_add_epi32(s[r][1]);
	}
}

static void screen_dots(const int8_t *rows, size_t stride, size_t n, const int8_t *x, int32_t *out)
{
	int32_t high = 128 * sum_of(x, stride), low = 128 * sum_of(x + stride, stride);
	int32_t dots[ROWS][2];
	size_t apart = n / ROWS;

	for (size_t r = 0; r < apart; r++) {
		four_rows(rows + r * stride, apart * stride, stride, x, dots);
		for (size_t i = 0; i < ROWS; i++) {
			out[2 * (r + i * apart)] = dots[i][0] - high;
			out[2 * (r + i * apart) + 1] = dots[i][1] - low;
		}
	}
	for (size_t r = apart * ROWS; r < n; r++) {
		four_rows(rows + r * stride, 0, stride, x, dots);
		out[2 * r] = dots[0][0] - high;
		out[2 * r + 1] = dots[0][1] - low;
	}
}

void avx512_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
