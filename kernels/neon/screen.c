/*
 * Products of the head's screen with NEON's dot product.
 */
#include "neon.h"

#include "../screen.h"
#include "lanes.h"

/* 16 codes less 32 of block 0..3 of a group. */
static inline int8x16_t values(const uint8_t *group, int block, int at)
{
	uint8x16_t low = vld1q_u8(group + block / 2 * 64 + at), high = vld1q_u8(group + 128 + at);

	if (block % 2)
		low = vshrq_n_u8(low, 4);
	high = block == 0   ? vshlq_n_u8(high, 4)
	       : block == 1 ? vshlq_n_u8(high, 2)
	       : block == 3 ? vshrq_n_u8(high, 2)
	                    : high;
	uint8x16_t code = vorrq_u8(vandq_u8(low, vdupq_n_u8(15)), vandq_u8(high, vdupq_n_u8(48)));
	return vsubq_s8(vreinterpretq_s8_u8(code), vdupq_n_s8(32));
}

static inline v16 add_block(v16 sum, const uint8_t *group, int block,
                            const struct kernel_screened *x, size_t i, uint8_t factor)
{
	for (int n = 0; n < 4; n++) {
		int8x16_t v = values(group, block, 16 * n);
		int32x4_t t = vdotq_s32(vdupq_n_s32(0), v, vld1q_s8(x->high + i + 16 * (size_t)n));

		t = vdotq_s32(vshlq_n_s32(t, 8), v, vld1q_s8(x->low + i + 16 * (size_t)n));
		sum.val[n] = vfmaq_n_f32(sum.val[n], vcvtq_f32_s32(t), (float)factor);
	}
	return sum;
}

#include "../wide/screen_dots.h"

void neon_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
}
