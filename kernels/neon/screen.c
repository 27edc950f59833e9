/*
 * Products of the head's screen with NEON's dot product.
 */
#include "neon.h"

#include <string.h>

#include "../screen.h"
#include "lanes.h"

static inline int8x16_t four_numbers(const int8_t *x)
{
	int32_t v;

	memcpy(&v, x, sizeof v);
	return vreinterpretq_s8_s32(vdupq_n_s32(v));
}

/* Value in each of 16 bytes whose bit is set, else 0. */
static inline uint8x16_t where_bit(const uint8_t *bits, uint8_t value)
{
	const uint8x8_t bit = vcreate_u8(0x8040201008040201);
	uint8x16_t all = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));

	return vandq_u8(vtstq_u8(all, vcombine_u8(bit, bit)), vdupq_n_u8(value));
}

/* 16 codes of vector j of a block, from the at-th on. */
static inline int8x16_t codes_of(const uint8_t *block, size_t j, size_t at)
{
	uint8x16_t four = vld1q_u8(block + j / 2 * 64 + at);

	four = j % 2 ? vshrq_n_u8(four, 4) : vandq_u8(four, vdupq_n_u8(15));
	return vreinterpretq_s8_u8(
	    vorrq_u8(four, where_bit(block + SCREEN_FIFTH + 8 * j + at / 8, 16)));
}

static inline v16 upper(const uint8_t *block, const int8_t *high, const int8_t *low, int32_t sum)
{
	int32x4_t h[4], l[4];
	v16 v;

	for (size_t n = 0; n < 4; n++)
		h[n] = l[n] = vdupq_n_s32(0);
	for (size_t j = 0; j < 16; j++) {
		int8x16_t x = four_numbers(high + 4 * j), y = four_numbers(low + 4 * j);

		for (size_t n = 0; n < 4; n++) {
			int8x16_t codes = codes_of(block, j, 16 * n);

			h[n] = vdotq_s32(h[n], codes, x);
			l[n] = vdotq_s32(l[n], codes, y);
		}
	}
	for (size_t n = 0; n < 4; n++) {
		int32x4_t all = vaddq_s32(vshlq_n_s32(h[n], 10), vshlq_n_s32(l[n], 2));

		v.val[n] = vcvtq_f32_s32(vsubq_s32(all, vdupq_n_s32(63 * sum)));
	}
	return v;
}

static inline int32_t last_bits(const uint8_t *last, const int8_t *high, const int8_t *low)
{
	int32x4_t h = vdupq_n_s32(0), l = h;

	for (size_t i = 0; i < 4; i++) {
		int8x16_t one = vreinterpretq_s8_u8(where_bit(last + 2 * i, 1));

		h = vdotq_s32(h, one, vld1q_s8(high + 16 * i));
		l = vdotq_s32(l, one, vld1q_s8(low + 16 * i));
	}
	return vaddvq_s32(vaddq_s32(vshlq_n_s32(h, 8), l));
}

#include "../wide/screen_dots.h"

void neon_screen_init(struct kernels *k)
{
	wide_screen_init(k);
}
