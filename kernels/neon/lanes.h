/*
 * 16 lanes of float32 (and what is needed around them) in four 128-bit registers.
 * kernels/wide/ is written in these terms; avx2/ and avx512/ have the same names.
 */
#ifndef LANES_H
#define LANES_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float32x4x4_t v16; /* 16 float32 */
typedef int32x4x4_t i16;   /* 16 int32 */
typedef uint8x16_t b16;    /* 16 bytes */
typedef struct {
	float64x2_t v[8];
} w16; /* 16 float64 */

/* Registers allow tiles of this many queries, and of this many vectors of a row, in attention. */
#define TILE_Q 1
#define TILE_D 4

/* Rows and tokens whose sums a float product keeps in registers. */
#define TILE_ROWS   4
#define TILE_TOKENS 1

/* r: four registers, each by an expression in i. */
#define V16_EACH(expression)                                                                       \
	do {                                                                                       \
		for (int i = 0; i < 4; i++)                                                        \
			r.val[i] = (expression);                                                   \
	} while (0)

static inline v16 v16_set(float f)
{
	v16 r;

	V16_EACH(vdupq_n_f32(f));
	return r;
}

static inline v16 v16_zero(void)
{
	return v16_set(0);
}

static inline v16 v16_load(const float *p)
{
	v16 r;

	V16_EACH(vld1q_f32(p + 4 * i));
	return r;
}

/* n < 16 values, then zeros. */
static inline v16 v16_load_n(const float *p, size_t n)
{
	float t[16] = {0};

	memcpy(t, p, n * sizeof *t);
	return v16_load(t);
}

static inline void v16_store(float *p, v16 v)
{
	for (int i = 0; i < 4; i++)
		vst1q_f32(p + 4 * i, v.val[i]);
}

static inline void v16_store_n(float *p, v16 v, size_t n)
{
	float t[16];

	v16_store(t, v);
	memcpy(p, t, n * sizeof *t);
}

static inline v16 v16_add(v16 x, v16 y)
{
	v16 r;

	V16_EACH(vaddq_f32(x.val[i], y.val[i]));
	return r;
}

static inline v16 v16_sub(v16 x, v16 y)
{
	v16 r;

	V16_EACH(vsubq_f32(x.val[i], y.val[i]));
	return r;
}

static inline v16 v16_mul(v16 x, v16 y)
{
	v16 r;

	V16_EACH(vmulq_f32(x.val[i], y.val[i]));
	return r;
}

static inline v16 v16_div(v16 x, v16 y)
{
	v16 r;

	V16_EACH(vdivq_f32(x.val[i], y.val[i]));
	return r;
}

/* x * y + z, rounded once */
static inline v16 v16_fma(v16 x, v16 y, v16 z)
{
	v16 r;

	V16_EACH(vfmaq_f32(z.val[i], x.val[i], y.val[i]));
	return r;
}

static inline v16 v16_min(v16 x, v16 y)
{
	v16 r;

	V16_EACH(vminq_f32(x.val[i], y.val[i]));
	return r;
}

static inline v16 v16_max(v16 x, v16 y)
{
	v16 r;

	V16_EACH(vmaxq_f32(x.val[i], y.val[i]));
	return r;
}

static inline v16 v16_abs(v16 x)
{
	v16 r;

	V16_EACH(vabsq_f32(x.val[i]));
	return r;
}

/* v where x >= limit, else 0 */
static inline v16 v16_where_ge(v16 x, v16 limit, v16 v)
{
	v16 r;

	V16_EACH(vbslq_f32(vcgeq_f32(x.val[i], limit.val[i]), v.val[i], vdupq_n_f32(0)));
	return r;
}

/* v in lanes lo..hi-1, else other; 0 <= lo, hi <= 16 */
static inline v16 v16_between(v16 v, size_t lo, size_t hi, v16 other)
{
	float t[16], o[16];

	v16_store(t, v);
	v16_store(o, other);
	for (size_t l = lo; l < hi; l++)
		o[l] = t[l];
	return v16_load(o);
}

/* 2^n for integers n in the range of float32's exponents */
static inline v16 v16_pow2(v16 n)
{
	int32x4_t bias = vdupq_n_s32(127);
	v16 r;

	V16_EACH(vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.val[i]), bias), 23)));
	return r;
}

/* The four sums l + 8, then + 4. */
static inline float32x4_t quarter(v16 v)
{
	return vaddq_f32(vaddq_f32(v.val[0], v.val[2]), vaddq_f32(v.val[1], v.val[3]));
}

/* l + 8, then + 4, + 2, + 1 */
static inline float v16_sum(v16 v)
{
	float32x4_t q = quarter(v);
	float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));

	return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}

/* The sums l + 2 of two quarters. */
static inline float32x4_t pairs(float32x4_t x, float32x4_t y)
{
	return vaddq_f32(vcombine_f32(vget_low_f32(x), vget_low_f32(y)),
	                 vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
}

/* out[i] = v16_sum of the i-th, all four at once */
static inline void v16_sums4(float *out, v16 a, v16 b, v16 c, v16 d)
{
	vst1q_f32(out, vpaddq_f32(pairs(quarter(a), quarter(b)), pairs(quarter(c), quarter(d))));
}

static inline float v16_largest(v16 v)
{
	return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.val[0], v.val[1]), vmaxq_f32(v.val[2], v.val[3])));
}

static inline v16 v16_f16(const uint8_t *p)
{
	v16 r;

	V16_EACH(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p + 8 * i))));
	return r;
}

static inline void v16_to_f16(uint8_t *p, v16 v)
{
	for (int i = 0; i < 4; i++)
		vst1_u8(p + 8 * i, vreinterpret_u8_f16(vcvt_f16_f32(v.val[i])));
}

static inline v16 v16_bf16(const uint8_t *p)
{
	v16 r;

	V16_EACH(vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p + 8 * i)), 16)));
	return r;
}

/* Rounds to nearest even integers. */
static inline i16 i16_round(v16 v)
{
	i16 r;

	V16_EACH(vcvtnq_s32_f32(v.val[i]));
	return r;
}

static inline i16 i16_zero(void)
{
	i16 r;

	V16_EACH(vdupq_n_s32(0));
	return r;
}

static inline i16 i16_add(i16 x, i16 y)
{
	i16 r;

	V16_EACH(vaddq_s32(x.val[i], y.val[i]));
	return r;
}

static inline int32_t i16_sum(i16 v)
{
	return vaddvq_s32(vaddq_s32(vaddq_s32(v.val[0], v.val[1]), vaddq_s32(v.val[2], v.val[3])));
}

/* The low bytes, limited to -128..127. */
static inline b16 i16_to_i8(i16 v)
{
	int16x8_t a = vcombine_s16(vqmovn_s32(v.val[0]), vqmovn_s32(v.val[1]));
	int16x8_t b = vcombine_s16(vqmovn_s32(v.val[2]), vqmovn_s32(v.val[3]));

	return vreinterpretq_u8_s8(vcombine_s8(vqmovn_s16(a), vqmovn_s16(b)));
}

static inline b16 b16_load(const uint8_t *p)
{
	return vld1q_u8(p);
}

static inline void b16_store(void *p, b16 b)
{
	vst1q_u8(p, b);
}

static inline b16 b16_set(int v)
{
	return vdupq_n_u8((uint8_t)v);
}

static inline b16 b16_and(b16 a, b16 b)
{
	return vandq_u8(a, b);
}

static inline b16 b16_or(b16 a, b16 b)
{
	return vorrq_u8(a, b);
}

/* Bytes shifted right by n bits. */
static inline b16 b16_shr(b16 a, int n)
{
	return vshlq_u8(a, vdupq_n_s8((int8_t)-n));
}

/* Bytes shifted left by n bits. */
static inline b16 b16_shl(b16 a, int n)
{
	return vshlq_u8(a, vdupq_n_s8((int8_t)n));
}

static inline v16 v16_u8(b16 b)
{
	uint16x8_t l = vmovl_u8(vget_low_u8(b)), h = vmovl_u8(vget_high_u8(b));
	v16 r = {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(l))),
	          vcvtq_f32_u32(vmovl_u16(vget_high_u16(l))),
	          vcvtq_f32_u32(vmovl_u16(vget_low_u16(h))),
	          vcvtq_f32_u32(vmovl_u16(vget_high_u16(h)))}};

	return r;
}

static inline v16 v16_i8(b16 b)
{
	int8x16_t s = vreinterpretq_s8_u8(b);
	int16x8_t l = vmovl_s8(vget_low_s8(s)), h = vmovl_s8(vget_high_s8(s));
	v16 r = {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(l))),
	          vcvtq_f32_s32(vmovl_s16(vget_high_s16(l))),
	          vcvtq_f32_s32(vmovl_s16(vget_low_s16(h))),
	          vcvtq_f32_s32(vmovl_s16(vget_high_s16(h)))}};

	return r;
}

static inline w16 w16_zero(void)
{
	w16 r;

	for (int i = 0; i < 8; i++)
		r.v[i] = vdupq_n_f64(0);
	return r;
}

/* s + v * v; the square of a float32 is exact in float64. */
static inline w16 w16_add_square(w16 s, v16 v)
{
	for (int i = 0; i < 4; i++) {
		float64x2_t l = vcvt_f64_f32(vget_low_f32(v.val[i]));
		float64x2_t h = vcvt_high_f64_f32(v.val[i]);

		s.v[2 * i] = vfmaq_f64(s.v[2 * i], l, l);
		s.v[2 * i + 1] = vfmaq_f64(s.v[2 * i + 1], h, h);
	}
	return s;
}

static inline float32x2_t scaled2(float32x2_t x, float64x2_t s, float32x2_t w)
{
	return vcvt_f32_f64(vmulq_f64(vmulq_f64(vcvt_f64_f32(x), s), vcvt_f64_f32(w)));
}

/* x * s * w in float64, rounded once to float32 */
static inline v16 v16_scaled(v16 x, double s, v16 w)
{
	float64x2_t f = vdupq_n_f64(s);
	v16 r;

	V16_EACH(vcombine_f32(scaled2(vget_low_f32(x.val[i]), f, vget_low_f32(w.val[i])),
	                      scaled2(vget_high_f32(x.val[i]), f, vget_high_f32(w.val[i]))));
	return r;
}

static inline double w16_sum(w16 s)
{
	float64x2_t q[4];

	for (int i = 0; i < 4; i++)
		q[i] = vaddq_f64(s.v[i], s.v[i + 4]);
	float64x2_t d = vaddq_f64(vaddq_f64(q[0], q[2]), vaddq_f64(q[1], q[3]));
	return vgetq_lane_f64(d, 0) + vgetq_lane_f64(d, 1);
}

static inline void fetch(const void *p)
{
	__builtin_prefetch(p);
}

#endif
