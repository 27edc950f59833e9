/*
 * 16 lanes of float32 (and what is needed around them) in two 256-bit registers.
 * kernels/wide/ is written in these terms; avx512/ and neon/ have the same names.
 */
#ifndef LANES_H
#define LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
	__m256 a, b;
} v16; /* 16 float32 */
typedef struct {
	__m256i a, b;
} i16;               /* 16 int32 */
typedef __m128i b16; /* 16 bytes */
typedef struct {
	__m256d a, b, c, d;
} w16; /* 16 float64 */

/* Registers allow tiles of this many queries, and of this many vectors of a row, in attention. */
#define TILE_Q 1
#define TILE_D 4

/* Rows and tokens whose sums a float product keeps in registers. */
#define TILE_ROWS   4
#define TILE_TOKENS 1

static inline v16 v16_of(__m256 a, __m256 b)
{
	v16 v = {a, b};

	return v;
}

static inline v16 v16_set(float f)
{
	return v16_of(_mm256_set1_ps(f), _mm256_set1_ps(f));
}

static inline v16 v16_zero(void)
{
	return v16_set(0);
}

static inline v16 v16_load(const float *p)
{
	return v16_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
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
	_mm256_storeu_ps(p, v.a);
	_mm256_storeu_ps(p + 8, v.b);
}

static inline void v16_store_n(float *p, v16 v, size_t n)
{
	float t[16];

	v16_store(t, v);
	memcpy(p, t, n * sizeof *t);
}

static inline v16 v16_add(v16 x, v16 y)
{
	return v16_of(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}

static inline v16 v16_sub(v16 x, v16 y)
{
	return v16_of(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}

static inline v16 v16_mul(v16 x, v16 y)
{
	return v16_of(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}

static inline v16 v16_div(v16 x, v16 y)
{
	return v16_of(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}

/* x * y + z, rounded once */
static inline v16 v16_fma(v16 x, v16 y, v16 z)
{
	return v16_of(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}

static inline v16 v16_min(v16 x, v16 y)
{
	return v16_of(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b));
}

static inline v16 v16_max(v16 x, v16 y)
{
	return v16_of(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}

static inline v16 v16_and(v16 x, v16 y)
{
	return v16_of(_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b));
}

static inline v16 v16_abs(v16 x)
{
	__m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));

	return v16_and(x, v16_of(m, m));
}

/* v where x >= limit, else 0 */
static inline v16 v16_where_ge(v16 x, v16 limit, v16 v)
{
	return v16_and(v16_of(_mm256_cmp_ps(x.a, limit.a, _CMP_GE_OQ),
	                      _mm256_cmp_ps(x.b, limit.b, _CMP_GE_OQ)),
	               v);
}

/* v in lanes lo..hi-1, else other; 0 <= lo, hi <= 16 */
static inline v16 v16_between(v16 v, size_t lo, size_t hi, v16 other)
{
	__m256i l = _mm256_set1_epi32((int)lo - 1), h = _mm256_set1_epi32((int)hi);
	__m256i ia = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	__m256i ib = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
	__m256i ma = _mm256_and_si256(_mm256_cmpgt_epi32(ia, l), _mm256_cmpgt_epi32(h, ia));
	__m256i mb = _mm256_and_si256(_mm256_cmpgt_epi32(ib, l), _mm256_cmpgt_epi32(h, ib));

	return v16_of(_mm256_blendv_ps(other.a, v.a, _mm256_castsi256_ps(ma)),
	              _mm256_blendv_ps(other.b, v.b, _mm256_castsi256_ps(mb)));
}

static inline __m256 pow2_8(__m256 n)
{
	__m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));

	return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

/* 2^n for integers n in the range of float32's exponents */
static inline v16 v16_pow2(v16 n)
{
	return v16_of(pow2_8(n.a), pow2_8(n.b));
}

/* l + 8, then + 4, + 2, + 1 */
static inline float v16_sum(v16 v)
{
	__m256 a = _mm256_add_ps(v.a, v.b);
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	__m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));

	return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

static inline __m256 quarters(v16 x, v16 y)
{
	__m256 p = _mm256_add_ps(x.a, x.b), q = _mm256_add_ps(y.a, y.b);

	return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20),
	                     _mm256_permute2f128_ps(p, q, 0x31));
}

/* out[i] = v16_sum of the i-th, all four at once */
static inline void v16_sums4(float *out, v16 a, v16 b, v16 c, v16 d)
{
	__m256 ac = quarters(a, c), bd = quarters(b, d);
	__m256 t = _mm256_add_ps(_mm256_shuffle_ps(ac, bd, 0x44), _mm256_shuffle_ps(ac, bd, 0xee));

	t = _mm256_add_ps(_mm256_shuffle_ps(t, t, 0x88), _mm256_shuffle_ps(t, t, 0xdd));
	_mm_storeu_ps(out, _mm_movelh_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1)));
}

static inline float v16_largest(v16 v)
{
	__m256 a = _mm256_max_ps(v.a, v.b);
	__m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	__m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));

	return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

static inline v16 v16_f16(const uint8_t *p)
{
	return v16_of(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
	              _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 16))));
}

static inline void v16_to_f16(uint8_t *p, v16 v)
{
	_mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
	_mm_storeu_si128((__m128i *)(void *)(p + 16),
	                 _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}

static inline __m256 bf16_8(const uint8_t *p)
{
	__m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);

	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline v16 v16_bf16(const uint8_t *p)
{
	return v16_of(bf16_8(p), bf16_8(p + 16));
}

static inline i16 i16_of(__m256i a, __m256i b)
{
	i16 v = {a, b};

	return v;
}

/* Rounds to nearest even integers. */
static inline i16 i16_round(v16 v)
{
	return i16_of(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b));
}

static inline i16 i16_zero(void)
{
	return i16_of(_mm256_setzero_si256(), _mm256_setzero_si256());
}

static inline i16 i16_add(i16 x, i16 y)
{
	return i16_of(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}

static inline int32_t i16_sum(i16 v)
{
	__m256i a = _mm256_add_epi32(v.a, v.b);
	__m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));

	b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}

/* The low bytes, limited to -128..127. */
static inline b16 i16_to_i8(i16 v)
{
	__m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);

	return _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
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
	return v16_of(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)),
	              _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(b, b))));
}

static inline v16 v16_i8(b16 b)
{
	return v16_of(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
	              _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(b, b))));
}

static inline w16 w16_zero(void)
{
	__m256d z = _mm256_setzero_pd();
	w16 r = {z, z, z, z};

	return r;
}

static inline __m256d add_square(__m256d s, __m128 v)
{
	__m256d d = _mm256_cvtps_pd(v);

	return _mm256_fmadd_pd(d, d, s);
}

/* s + v * v; the square of a float32 is exact in float64. */
static inline w16 w16_add_square(w16 s, v16 v)
{
	w16 r = {add_square(s.a, _mm256_castps256_ps128(v.a)),
	         add_square(s.b, _mm256_extractf128_ps(v.a, 1)),
	         add_square(s.c, _mm256_castps256_ps128(v.b)),
	         add_square(s.d, _mm256_extractf128_ps(v.b, 1))};

	return r;
}

static inline __m128 scaled4(__m128 x, __m256d s, __m128 w)
{
	__m256d v = _mm256_mul_pd(_mm256_cvtps_pd(x), s);

	return _mm256_cvtpd_ps(_mm256_mul_pd(v, _mm256_cvtps_pd(w)));
}

static inline __m256 scaled8(__m256 x, __m256d s, __m256 w)
{
	__m128 a = scaled4(_mm256_castps256_ps128(x), s, _mm256_castps256_ps128(w));
	__m128 b = scaled4(_mm256_extractf128_ps(x, 1), s, _mm256_extractf128_ps(w, 1));

	return _mm256_insertf128_ps(_mm256_castps128_ps256(a), b, 1);
}

/* x * s * w in float64, rounded once to float32 */
static inline v16 v16_scaled(v16 x, double s, v16 w)
{
	__m256d f = _mm256_set1_pd(s);

	return v16_of(scaled8(x.a, f, w.a), scaled8(x.b, f, w.b));
}

static inline double w16_sum(w16 s)
{
	__m256d a = _mm256_add_pd(_mm256_add_pd(s.a, s.c), _mm256_add_pd(s.b, s.d));
	__m128d c = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));

	return _mm_cvtsd_f64(_mm_add_sd(c, _mm_unpackhi_pd(c, c)));
}

/* Into the second cache: the first one has no room for what is used much later. */
static inline void fetch(const void *p)
{
	_mm_prefetch((const char *)p, _MM_HINT_T1);
}

#endif
