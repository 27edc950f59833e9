/*
 * Products of the head's screen: |x| times rows with the sign of x.  Rows hold -127..127, so a pair
 * of products is at most 2 * 128 * 127, which fits 16 bits.
 */
#include "avx2.h"
#include "bytes.h"

static inline __m256i add_product(__m256i sum, __m256i w, __m256i x)
{
	__m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));

	return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static void screen_dots(const int8_t *rows, size_t stride, size_t n, const int8_t *x, int32_t *out)
{
	const uint8_t *u = (const uint8_t *)x;

	for (size_t r = 0; r < n; r++, rows += stride) {
		__m256i a = _mm256_setzero_si256(), b = a;

		for (size_t i = 0; i < stride; i += 32) {
			__m256i w = v32_load((const uint8_t *)rows + i);

			_mm_prefetch((const char *)rows + i + 2048, _MM_HINT_T0);
			a = add_product(a, w, v32_load(u + i));
			b = add_product(b, w, v32_load(u + stride + i));
		}
		out[2 * r] = total(a);
		out[2 * r + 1] = total(b);
	}
}

void avx2_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
