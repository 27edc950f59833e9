/*
 * Products of the head's screen with NEON's dot product.
 */
#include "neon.h"

#include <arm_neon.h>

static void screen_dots(const int8_t *rows, size_t stride, size_t n, const int8_t *x, int32_t *out)
{
	for (size_t r = 0; r < n; r++, rows += stride) {
		int32x4_t a = vdupq_n_s32(0), b = a;

		for (size_t i = 0; i < stride; i += 16) {
			int8x16_t w = vld1q_s8(rows + i);

			a = vdotq_s32(a, w, vld1q_s8(x + i));
			b = vdotq_s32(b, w, vld1q_s8(x + stride + i));
		}
		out[2 * r] = vaddvq_s32(a);
		out[2 * r + 1] = vaddvq_s32(b);
	}
}

void neon_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
