/*
 * Ternary products with NEON's dot product: sdot adds four products in 32 bits.
 */
#include "neon.h"

#include <arm_neon.h>
#include <string.h>

typedef uint8x16x2_t v32;
typedef int32x4x2_t sums;

static inline v32 v32_load(const uint8_t *p)
{
	v32 r = {{vld1q_u8(p), vld1q_u8(p + 16)}};

	return r;
}

/* n < 32 bytes, then zeros. */
static inline v32 v32_load_n(const uint8_t *p, size_t n)
{
	uint8_t t[32] = {0};

	memcpy(t, p, n);
	return v32_load(t);
}

/* Bits 2 l and 2 l + 1 of each byte. */
static inline v32 v32_part(v32 w, int l)
{
	int8x16_t n = vdupq_n_s8((int8_t)(-2 * l));
	uint8x16_t three = vdupq_n_u8(3);
	v32 r = {{vandq_u8(vshlq_u8(w.val[0], n), three), vandq_u8(vshlq_u8(w.val[1], n), three)}};

	return r;
}

static inline uint8x16_t times3(uint8x16_t r)
{
	return vaddq_u8(vaddq_u8(r, r), r);
}

static inline v32 v32_times3(v32 r)
{
	v32 s = {{times3(r.val[0]), times3(r.val[1])}};

	return s;
}

/* 3 r / 256: whether r is at least 86, plus whether it is at least 171; true is -1. */
static inline uint8x16_t digit(uint8x16_t r)
{
	uint8x16_t both = vaddq_u8(vcgeq_u8(r, vdupq_n_u8(86)), vcgeq_u8(r, vdupq_n_u8(171)));

	return vsubq_u8(vdupq_n_u8(0), both);
}

static inline v32 v32_digit(v32 r)
{
	v32 s = {{digit(r.val[0]), digit(r.val[1])}};

	return s;
}

static inline sums sums_zero(void)
{
	sums s = {{vdupq_n_s32(0), vdupq_n_s32(0)}};

	return s;
}

static inline sums sums_add(sums s, v32 codes, v32 x)
{
	for (int i = 0; i < 2; i++)
		s.val[i] = vdotq_s32(s.val[i], vreinterpretq_s8_u8(codes.val[i]),
		                     vreinterpretq_s8_u8(x.val[i]));
	return s;
}

static inline sums sums_unit_end(sums s)
{
	return s;
}

static inline int32_t sums_total(sums s)
{
	return vaddvq_s32(vaddq_s32(s.val[0], s.val[1]));
}

#include "../wide/ternary.h"

void neon_ternary_init(struct kernels *k)
{
	wide_ternary_init(k);
}
