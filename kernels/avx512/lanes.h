/*
 * 16 lanes of float32 (and what is needed around them) in one 512-bit register.
 * kernels/wide/ is written in these terms; avx2/ and neon/ have the same names.
 */
#ifndef LANES_H
#define LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m512 v16;  /* 16 float32 */
typedef __m512i i16; /* 16 int32 */
typedef __m128i b16; /* 16 bytes */
typedef struct {
	__m512d a, b;
} w16; /* 16 float64 */

/* Registers allow tiles of this many queries, and of this many vectors of a row, in attention. */
#define TILE_Q 4
#define TILE_D 4

/* Rows and tokens whose sums a float product keeps in registers. */
#define TILE_ROWS   4
#define TILE_TOKENS 4

static inline __mmask16 first(size_t n)
{
	return (__mmask16)((1u << n) - 1);
}

static inline v16 v16_zero(void)
{
	return _mm512_setzero_ps();
}

static inline v16 v16_set(float f)
{
	return _mm512_set1_ps(f);
}

static inline v16 v16_load(const float *p)
{
	return _mm512_loadu_ps(p);
}

/* n < 16 values, then zeros. */
static inline v16 v16_load_n(const float *p, size_t n)
{
	return _mm512_maskz_loadu_ps(first(n), p);
}

static inline void v16_store(float *p, v16 v)
{
	_mm512_storeu_ps(p, v);
}

static inline void v16_store_n(float *p, v16 v, size_t n)
{
	_mm512_mask_storeu_ps(p, first(n), v);
}

static inline v16 v16_add(v16 a, v16 b)
{
	return _mm512_add_ps(a, b);
}

static inline v16 v16_sub(v16 a, v16 b)
{
	return _mm512_sub_ps(a, b);
}

static inline v16 v16_mul(v16 a, v16 b)
{
	return _mm512_mul_ps(a, b);
}

static inline v16 v16_div(v16 a, v16 b)
{
	return _mm512_div_ps(a, b);
}

/* a * b + c, rounded once */
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
	return _mm512_fmadd_ps(a, b, c);
}

static inline v16 v16_min(v16 a, v16 b)
{
	return _mm512_min_ps(a, b);
}

static inline v16 v16_max(v16 a, v16 b)
{
	return _mm512_max_ps(a, b);
}

static inline v16 v16_abs(v16 a)
{
	return _mm512_abs_ps(a);
}

/* v where x >= limit, else 0 */
static inline v16 v16_where_ge(v16 x, v16 limit, v16 v)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), v);
}

/* v in lanes lo..hi-1, else other; 0 <= lo, hi <= 16 */
static inline v16 v16_between(v16 v, size_t lo, size_t hi, v16 other)
{
	return _mm512_mask_mov_ps(other, (__mmask16)(first(hi) & ~first(lo)), v);
}

/* 2^n for integers n in the range of float32's exponents */
static inline v16 v16_pow2(v16 n)
{
	__m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));

	return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}

/* l + 8, then + 4, + 2, + 1 */
static inline float v16_sum(v16 v)
{
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	__m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));

	return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

static inline __m512 halves(v16 a, v16 b)
{
	return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

/* out[i] = v16_sum of the i-th, all four at once */
static inline void v16_sums4(float *out, v16 a, v16 b, v16 c, v16 d)
{
	__m512 ab = halves(a, b), cd = halves(c, d);
	__m512 q =
	    _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));

	q = _mm512_add_ps(q, _mm512_permute_ps(q, 0x4e));
	q = _mm512_add_ps(q, _mm512_movehdup_ps(q));
	/* (compressing into memory is a hundred cycles on some CPUs) */
	q = _mm512_permutexvar_ps(_mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12)), q);
	_mm_storeu_ps(out, _mm512_castps512_ps128(q));
}

static inline float v16_largest(v16 v)
{
	return _mm512_reduce_max_ps(v);
}

static inline v16 v16_f16(const uint8_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline void v16_to_f16(uint8_t *p, v16 v)
{
	_mm256_storeu_si256((__m256i *)(void *)p,
	                    _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline v16 v16_bf16(const uint8_t *p)
{
	__m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);

	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Rounds to nearest even integers. */
static inline i16 i16_round(v16 v)
{
	return _mm512_cvtps_epi32(v);
}

static inline i16 i16_zero(void)
{
	return _mm512_setzero_si512();
}

static inline i16 i16_add(i16 a, i16 b)
{
	return _mm512_add_epi32(a, b);
}

static inline int32_t i16_sum(i16 v)
{
	return _mm512_reduce_add_epi32(v);
}

/* The low bytes, limited to -128..127. */
static inline b16 i16_to_i8(i16 v)
{
	return _mm512_cvtsepi32_epi8(v);
}

static inline b16 b16_load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline void b16_store(void *p, b16 b)
{
	_mm_storeu_si128((__m128i *)p, b);
}

static inline b16 b16_set(int v)
{
	return _mm_set1_epi8((char)v);
}

static inline b16 b16_and(b16 a, b16 b)
{
	return _mm_and_si128(a, b);
}

static inline b16 b16_or(b16 a, b16 b)
{
	return _mm_or_si128(a, b);
}

/* Bytes shifted right by n bits; bits of the neighbour come in from above: mask them. */
static inline b16 b16_shr(b16 a, int n)
{
	return _mm_srli_epi16(a, n);
}

/* Bytes shifted left, bits of the neighbour come in from below. */
static inline b16 b16_shl(b16 a, int n)
{
	return _mm_slli_epi16(a, n);
}

static inline v16 v16_u8(b16 b)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(b));
}

static inline v16 v16_i8(b16 b)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(b));
}

static inline w16 w16_zero(void)
{
	w16 z = {_mm512_setzero_pd(), _mm512_setzero_pd()};

	return z;
}

/* s + v * v; the square of a float32 is exact in float64. */
static inline w16 w16_add_square(w16 s, v16 v)
{
	__m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
	__m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
	w16 r = {_mm512_fmadd_pd(a, a, s.a), _mm512_fmadd_pd(b, b, s.b)};

	return r;
}

/* x * s * w in float64, rounded once to float32 */
static inline v16 v16_scaled(v16 x, double s, v16 w)
{
	__m512d f = _mm512_set1_pd(s);
	__m512d a = _mm512_mul_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), f);
	__m512d b = _mm512_mul_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)), f);

	a = _mm512_mul_pd(a, _mm512_cvtps_pd(_mm512_castps512_ps256(w)));
	b = _mm512_mul_pd(b, _mm512_cvtps_pd(_mm512_extractf32x8_ps(w, 1)));
	return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)), _mm512_cvtpd_ps(b),
	                          1);
}

/* kernel_rescale of dot * d (one run: 0 is added, so that there is no -0) */
static inline v16 v16_rescale(v16 dot, v16 d, float hi, float lo)
{
	v16 acc = v16_add(v16_mul(dot, d), v16_zero());

	return v16_fma(acc, v16_set(hi), v16_mul(acc, v16_set(lo)));
}

/* acc + unsigned codes times the same four numbers in all lanes.  Written out, because compilers
 * copy sums to and fro. */
static inline i16 i16_add_fours(i16 acc, i16 codes, const int8_t *x)
{
	__asm__("vpdpbusd %2%{1to16%}, %1, %0"
	        : "+v"(acc)
	        : "v"(codes), "m"(*(const int32_t *)(const void *)x));
	return acc;
}

static inline double w16_sum(w16 s)
{
	__m512d a = _mm512_add_pd(s.a, s.b);
	__m256d b = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
	__m128d c = _mm_add_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));

	return _mm_cvtsd_f64(_mm_add_sd(c, _mm_unpackhi_pd(c, c)));
}

/* Into the second cache: the first one has no room for what is used much later. */
static inline void fetch(const void *p)
{
	_mm_prefetch((const char *)p, _MM_HINT_T1);
}

#endif
