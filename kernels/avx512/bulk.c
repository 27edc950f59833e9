/*
 * Bulk passes for AVX-512: those that are bound by arithmetic on floats, sixteen at a time.  Lanes
 * of float64 sums: two registers of eight, value i in lane i % 16.  The rest is as for AVX2.
 */
#include "../bulk.h"

#include <immintrin.h>

extern const struct bulk bulk_scalar, bulk_avx2;

static void avx2_read_bf16(float *y, const uint8_t *x, size_t n)
{
	bulk_avx2.read_bf16(y, x, n);
}

static void avx2_write_f16(uint8_t *y, const float *x, size_t n)
{
	bulk_avx2.write_f16(y, x, n);
}

static void avx2_write_bf16(uint8_t *y, const float *x, size_t n)
{
	bulk_avx2.write_bf16(y, x, n);
}

static void avx2_pack_i2s(uint8_t *y, const int8_t *q, size_t blocks)
{
	bulk_avx2.pack_i2s(y, q, blocks);
}

static int avx2_unpack_i2s(int8_t *q, const uint8_t *x, size_t blocks)
{
	return bulk_avx2.unpack_i2s(q, x, blocks);
}

static int avx2_unpack_plane(int8_t *q, const uint8_t *x, size_t n, int shift)
{
	return bulk_avx2.unpack_plane(q, x, n, shift);
}

static void avx2_pack_plane(uint8_t *y, const int8_t *q, size_t n, int shift)
{
	bulk_avx2.pack_plane(y, q, n, shift);
}

static void read_f16(float *y, const uint8_t *x, size_t n)
{
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
		_mm512_storeu_ps(y + i,
		                 _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + 2 * i))));
	bulk_scalar.read_f16(y + i, x + 2 * i, n - i);
}

static __m512d low(__m512 x)
{
	return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}

static __m512d high(__m512 x)
{
	return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

static __m512d add_square(__m512d sum, __m512d x)
{
	return _mm512_add_pd(sum, _mm512_mul_pd(x, x));
}

static void survey(struct bulk_survey *s, const float *x, size_t n)
{
	const __m512i mask = _mm512_set1_epi32(0x7fffffff), one = _mm512_set1_epi32(1);
	__m512i max = _mm512_set1_epi32((int)s->max_bits);
	__m512i min = _mm512_set1_epi32((int)(s->min_bits - (s->min_bits != UINT32_MAX)));
	__m512d a0 = _mm512_loadu_pd(s->abs), a1 = _mm512_loadu_pd(s->abs + 8);
	uint64_t nonzero = 0;
	uint32_t least;
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		__m512i a = _mm512_and_si512(_mm512_loadu_si512(x + i), mask);
		__m512 f = _mm512_castsi512_ps(a);

		max = _mm512_max_epu32(max, a);
		min = _mm512_min_epu32(min, _mm512_sub_epi32(a, one)); /* 0 becomes the largest */
		nonzero += (unsigned)__builtin_popcount(_mm512_test_epi32_mask(a, a));
		a0 = _mm512_add_pd(a0, low(f));
		a1 = _mm512_add_pd(a1, high(f));
	}
	_mm512_storeu_pd(s->abs, a0);
	_mm512_storeu_pd(s->abs + 8, a1);
	s->max_bits = _mm512_reduce_max_epu32(max);
	least = _mm512_reduce_min_epu32(min);
	s->min_bits = least + (least != UINT32_MAX);
	s->nonzero += nonzero;
	bulk_scalar.survey(s, x + i, n - i);
}

/* Registers of struct bulk_error. */
struct sums {
	__m512d xx0, xx1, dd0, dd1;
	__m512 max;
	double yy0; /* lane 0 of yy */
};

static struct sums sums_load(const struct bulk_error *s)
{
	return (struct sums){_mm512_loadu_pd(s->xx), _mm512_loadu_pd(s->xx + 8),
	                     _mm512_loadu_pd(s->dd), _mm512_loadu_pd(s->dd + 8),
	                     _mm512_set1_ps(s->max), s->yy[0]};
}

static void sums_store(struct bulk_error *s, const struct sums *r)
{
	_mm512_storeu_pd(s->xx, r->xx0);
	_mm512_storeu_pd(s->xx + 8, r->xx1);
	_mm512_storeu_pd(s->dd, r->dd0);
	_mm512_storeu_pd(s->dd + 8, r->dd1);
	s->max = _mm512_reduce_max_ps(r->max);
}

static void sums_add(struct sums *r, __m512 x, __m512 y)
{
	__m512 d = _mm512_sub_ps(x, y);

	r->xx0 = add_square(r->xx0, low(x));
	r->xx1 = add_square(r->xx1, high(x));
	r->dd0 = add_square(r->dd0, low(d));
	r->dd1 = add_square(r->dd1, high(d));
	/* The first operand counts unless it is smaller or not a number. */
	r->max = _mm512_max_ps(_mm512_abs_ps(d), r->max);
}

static void error(struct bulk_error *s, const float *x, const float *y, size_t n)
{
	__m512d yy0 = _mm512_loadu_pd(s->yy), yy1 = _mm512_loadu_pd(s->yy + 8);
	struct sums r = sums_load(s);
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		__m512 v = _mm512_loadu_ps(y + i);

		sums_add(&r, _mm512_loadu_ps(x + i), v);
		yy0 = add_square(yy0, low(v));
		yy1 = add_square(yy1, high(v));
	}
	_mm512_storeu_pd(s->yy, yy0);
	_mm512_storeu_pd(s->yy + 8, yy1);
	sums_store(s, &r);
	bulk_scalar.error(s, x + i, y + i, n - i);
}

static void count(const int8_t *q, size_t n, struct bulk_count *c)
{
	size_t i = 0;

	for (; i + 64 <= n; i += 64) {
		__m512i v = _mm512_loadu_si512(q + i);
		uint64_t below = _mm512_movepi8_mask(v), any = _mm512_test_epi8_mask(v, v);

		c->minus += (unsigned)__builtin_popcountll(below);
		c->plus += (unsigned)__builtin_popcountll(any & ~below);
	}
	bulk_scalar.count(q + i, n - i, c);
}

static void error_codes(struct bulk_error *s, const float *x, const int8_t *q, size_t n,
                        float scale)
{
	const __m512 by = _mm512_set1_ps(scale);
	struct sums r = sums_load(s);
	struct bulk_count all = {0, 0};
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		__m512i c = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(q + i)));

		sums_add(&r, _mm512_loadu_ps(x + i), _mm512_mul_ps(_mm512_cvtepi32_ps(c), by));
	}
	sums_store(s, &r);
	count(q, n, &all);
	bulk_scalar.error_codes(s, x + i, q + i, n - i, scale);
	/* One sum for all codes: what the end added is taken anew. */
	s->yy[0] = r.yy0 + (double)(all.plus + all.minus) * ((double)scale * (double)scale);
}

/* Sixteen codes: which are +1, which -1. */
static void store_codes(int8_t *q, __mmask16 plus, __mmask16 minus)
{
	_mm_storeu_si128((__m128i *)q, _mm_mask_set1_epi8(_mm_maskz_set1_epi8(plus, 1), minus, -1));
}

static void codes(int8_t *q, const float *x, size_t n, float inverse)
{
	const __m512 by = _mm512_set1_ps(inverse), half = _mm512_set1_ps(0.5f),
		     minus_half = _mm512_set1_ps(-0.5f);
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		__m512 z = _mm512_mul_ps(_mm512_loadu_ps(x + i), by);

		store_codes(q + i, _mm512_cmp_ps_mask(z, half, _CMP_GT_OQ),
		            _mm512_cmp_ps_mask(z, minus_half, _CMP_LT_OQ));
	}
	bulk_scalar.codes(q + i, x + i, n - i, inverse);
}

static void round_codes(int8_t *q, const float *x, size_t n, float inverse, float scale,
                        struct bulk_error *s, struct bulk_count *c)
{
	const __m512 by = _mm512_set1_ps(inverse), half = _mm512_set1_ps(0.5f),
		     minus_half = _mm512_set1_ps(-0.5f);
	const __m512 up = _mm512_set1_ps(scale), down = _mm512_set1_ps(-scale);
	struct bulk_count all = {0, 0};
	struct sums r = sums_load(s);
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		__m512 v = _mm512_loadu_ps(x + i), z = _mm512_mul_ps(v, by);
		__mmask16 plus = _mm512_cmp_ps_mask(z, half, _CMP_GT_OQ);
		__mmask16 minus = _mm512_cmp_ps_mask(z, minus_half, _CMP_LT_OQ);

		store_codes(q + i, plus, minus);
		sums_add(&r, v, _mm512_mask_mov_ps(_mm512_maskz_mov_ps(plus, up), minus, down));
		all.plus += (unsigned)__builtin_popcount(plus);
		all.minus += (unsigned)__builtin_popcount(minus);
	}
	sums_store(s, &r);
	bulk_scalar.round(q + i, x + i, n - i, inverse, scale, s, &all);
	s->yy[0] = r.yy0 + (double)(all.plus + all.minus) * ((double)scale * (double)scale);
	c->plus += all.plus;
	c->minus += all.minus;
}

const struct bulk bulk_avx512 = {
    .name = "avx512",
    .read_f16 = read_f16,
    .read_bf16 = avx2_read_bf16,
    .write_f16 = avx2_write_f16,
    .write_bf16 = avx2_write_bf16,
    .survey = survey,
    .codes = codes,
    .round = round_codes,
    .error = error,
    .error_codes = error_codes,
    .count = count,
    .pack_i2s = avx2_pack_i2s,
    .unpack_i2s = avx2_unpack_i2s,
    .unpack_plane = avx2_unpack_plane,
    .pack_plane = avx2_pack_plane,
};
