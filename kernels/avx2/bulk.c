/*
 * Bulk passes for AVX2, eight floats or 32 bytes at a time.  Lanes of float64 sums: four registers
 * of four, value i in lane i % 16, so that each sum adds in the order of plain C.  Ends that fill
 * no step are left to plain C.
 */
#include "../bulk.h"

#include <immintrin.h>

#include "../../lib/half.h"

extern const struct bulk bulk_scalar;

static void read_f16(float *y, const uint8_t *x, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(y + i,
		                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + 2 * i))));
	bulk_scalar.read_f16(y + i, x + 2 * i, n - i);
}

static void read_bf16(float *y, const uint8_t *x, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		__m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + 2 * i)));

		_mm256_storeu_ps(y + i, _mm256_castsi256_ps(_mm256_slli_epi32(h, 16)));
	}
	bulk_scalar.read_bf16(y + i, x + 2 * i, n - i);
}

static void write_f16(uint8_t *y, const float *x, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm_storeu_si128(
		    (__m128i *)(y + 2 * i),
		    _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
	bulk_scalar.write_f16(y + 2 * i, x + i, n - i);
}

static void write_bf16(uint8_t *y, const float *x, size_t n)
{
	const __m256i half = _mm256_set1_epi32(0x7fff), one = _mm256_set1_epi32(1),
		      quiet = _mm256_set1_epi32(0x40);
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		__m256 f = _mm256_loadu_ps(x + i);
		__m256i u = _mm256_castps_si256(f), top = _mm256_srli_epi32(u, 16);
		__m256i near = _mm256_srli_epi32(
		    _mm256_add_epi32(u, _mm256_add_epi32(half, _mm256_and_si256(top, one))), 16);
		__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
		__m256i r = _mm256_blendv_epi8(near, _mm256_or_si256(top, quiet), nan);

		r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
		_mm_storeu_si128((__m128i *)(y + 2 * i), _mm256_castsi256_si128(r));
	}
	bulk_scalar.write_bf16(y + 2 * i, x + i, n - i);
}

static __m256d low(__m256 x)
{
	return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}

static __m256d high(__m256 x)
{
	return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

static __m256d square(__m256d x)
{
	return _mm256_mul_pd(x, x);
}

/* Sixteen lanes of sums, in memory and in registers. */
static void lanes_load(__m256d v[4], const double *lanes)
{
	for (int i = 0; i < 4; i++)
		v[i] = _mm256_loadu_pd(lanes + 4 * i);
}

static void lanes_store(double *lanes, const __m256d v[4])
{
	for (int i = 0; i < 4; i++)
		_mm256_storeu_pd(lanes + 4 * i, v[i]);
}

static uint32_t largest(__m256i v, int smallest)
{
	uint32_t a[8], best;

	_mm256_storeu_si256((__m256i *)a, v);
	best = a[0];
	for (int i = 1; i < 8; i++)
		best = (smallest ? a[i] < best : a[i] > best) ? a[i] : best;
	return best;
}

static void survey(struct bulk_survey *s, const float *x, size_t n)
{
	const __m256i mask = _mm256_set1_epi32(0x7fffffff), one = _mm256_set1_epi32(1);
	__m256i max = _mm256_set1_epi32((int)s->max_bits),
		min = _mm256_set1_epi32((int)(s->min_bits - 1));
	__m256d sum[4];
	uint64_t zeros = 0;
	size_t i = 0;

	if (s->min_bits == UINT32_MAX)
		min = _mm256_set1_epi32(-1);
	lanes_load(sum, s->abs);
	for (; i + 16 <= n; i += 16)
		for (int h = 0; h < 2; h++) {
			__m256i a = _mm256_and_si256(
			    _mm256_loadu_si256((const __m256i *)(x + i + 8 * h)), mask);
			__m256 f = _mm256_castsi256_ps(a);

			max = _mm256_max_epu32(max, a);
			min = _mm256_min_epu32(
			    min, _mm256_sub_epi32(a, one)); /* 0 becomes the largest */
			zeros += (unsigned)__builtin_popcount((unsigned)_mm256_movemask_ps(
			    _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, _mm256_setzero_si256()))));
			sum[2 * h] = _mm256_add_pd(sum[2 * h], low(f));
			sum[2 * h + 1] = _mm256_add_pd(sum[2 * h + 1], high(f));
		}
	lanes_store(s->abs, sum);
	s->max_bits = largest(max, 0);
	s->min_bits = largest(min, 1);
	s->min_bits += s->min_bits != UINT32_MAX;
	s->nonzero += i - zeros;
	bulk_scalar.survey(s, x + i, n - i);
}

/* -1, 0 or 1 as 32-bit numbers. */
static __m256i round8(__m256 x, __m256 inverse)
{
	__m256 z = _mm256_mul_ps(x, inverse);
	__m256i above = _mm256_castps_si256(_mm256_cmp_ps(z, _mm256_set1_ps(0.5f), _CMP_GT_OQ));
	__m256i below = _mm256_castps_si256(_mm256_cmp_ps(z, _mm256_set1_ps(-0.5f), _CMP_LT_OQ));

	return _mm256_sub_epi32(below, above);
}

/* Registers of struct bulk_error. */
struct sums {
	__m256d xx[4], dd[4];
	__m256 max;
	double yy0; /* lane 0 of yy */
};

static void sums_load(struct sums *r, const struct bulk_error *s)
{
	lanes_load(r->xx, s->xx);
	lanes_load(r->dd, s->dd);
	r->max = _mm256_set1_ps(s->max);
	r->yy0 = s->yy[0];
}

static void sums_store(struct bulk_error *s, const struct sums *r)
{
	float m[8];

	lanes_store(s->xx, r->xx);
	lanes_store(s->dd, r->dd);
	_mm256_storeu_ps(m, r->max);
	for (int i = 0; i < 8; i++)
		s->max = m[i] > s->max ? m[i] : s->max;
}

static void sums_add(struct sums *r, int h, __m256 x, __m256 y)
{
	__m256 d = _mm256_sub_ps(x, y);

	r->xx[2 * h] = _mm256_add_pd(r->xx[2 * h], square(low(x)));
	r->xx[2 * h + 1] = _mm256_add_pd(r->xx[2 * h + 1], square(high(x)));
	r->dd[2 * h] = _mm256_add_pd(r->dd[2 * h], square(low(d)));
	r->dd[2 * h + 1] = _mm256_add_pd(r->dd[2 * h + 1], square(high(d)));
	/* The first operand counts unless it is smaller or not a number. */
	r->max = _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), d), r->max);
}

static void error(struct bulk_error *s, const float *x, const float *y, size_t n)
{
	struct sums r;
	__m256d yy[4];
	size_t i = 0;

	sums_load(&r, s);
	lanes_load(yy, s->yy);
	for (; i + 16 <= n; i += 16)
		for (int h = 0; h < 2; h++) {
			__m256 v = _mm256_loadu_ps(y + i + 8 * h);

			sums_add(&r, h, _mm256_loadu_ps(x + i + 8 * h), v);
			yy[2 * h] = _mm256_add_pd(yy[2 * h], square(low(v)));
			yy[2 * h + 1] = _mm256_add_pd(yy[2 * h + 1], square(high(v)));
		}
	lanes_store(s->yy, yy);
	sums_store(s, &r);
	bulk_scalar.error(s, x + i, y + i, n - i);
}

static void count(const int8_t *q, size_t n, struct bulk_count *c)
{
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(q + i));

		c->minus += (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(v));
		c->plus += (unsigned)__builtin_popcount(
		    (unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(v, _mm256_setzero_si256())));
	}
	bulk_scalar.count(q + i, n - i, c);
}

static void error_codes(struct bulk_error *s, const float *x, const int8_t *q, size_t n,
                        float scale)
{
	const __m256 by = _mm256_set1_ps(scale);
	struct bulk_count all = {0, 0};
	struct sums r;
	size_t i = 0;

	count(q, n, &all);
	sums_load(&r, s);
	for (; i + 16 <= n; i += 16)
		for (int h = 0; h < 2; h++) {
			__m256i c =
			    _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(q + i + 8 * h)));

			sums_add(&r, h, _mm256_loadu_ps(x + i + 8 * h),
			         _mm256_mul_ps(_mm256_cvtepi32_ps(c), by));
		}
	sums_store(s, &r);
	bulk_scalar.error_codes(s, x + i, q + i, n - i, scale);
	/* One sum for all codes: what the end added is taken anew. */
	s->yy[0] = r.yy0 + (double)(all.plus + all.minus) * ((double)scale * (double)scale);
}

/* Four registers of eight 32-bit codes as 32 bytes. */
static void store_codes(int8_t *q, const __m256i v[4])
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256i all =
	    _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));

	_mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(all, order));
}

static void codes(int8_t *q, const float *x, size_t n, float inverse)
{
	const __m256 by = _mm256_set1_ps(inverse);
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		__m256i v[4];

		for (int h = 0; h < 4; h++)
			v[h] = round8(_mm256_loadu_ps(x + i + 8 * h), by);
		store_codes(q + i, v);
	}
	bulk_scalar.codes(q + i, x + i, n - i, inverse);
}

static void round_codes(int8_t *q, const float *x, size_t n, float inverse, float scale,
                        struct bulk_error *s, struct bulk_count *c)
{
	const __m256 by = _mm256_set1_ps(inverse), back = _mm256_set1_ps(scale);
	struct bulk_count all = {0, 0};
	struct sums r;
	size_t i = 0;

	sums_load(&r, s);
	for (; i + 32 <= n; i += 32) {
		__m256i v[4];

		for (int h = 0; h < 4; h++) {
			__m256 f = _mm256_loadu_ps(x + i + 8 * h);

			v[h] = round8(f, by);
			sums_add(&r, h % 2, f, _mm256_mul_ps(_mm256_cvtepi32_ps(v[h]), back));
		}
		store_codes(q + i, v);
	}
	sums_store(s, &r);
	count(q, i, &all);
	bulk_scalar.round(q + i, x + i, n - i, inverse, scale, s, &all);
	/* One sum for all codes: what the end added is taken anew. */
	s->yy[0] = r.yy0 + (double)(all.plus + all.minus) * ((double)scale * (double)scale);
	c->plus += all.plus;
	c->minus += all.minus;
}

static __m256i code(const int8_t *q)
{
	return _mm256_add_epi8(_mm256_loadu_si256((const __m256i *)q), _mm256_set1_epi8(1));
}

/* Codes are at most 2, so that shifts of 16-bit lanes carry nothing over. */
static void pack_i2s(uint8_t *y, const int8_t *q, size_t blocks)
{
	for (size_t b = 0; b < blocks; b++, q += 128, y += 32) {
		__m256i hi = _mm256_or_si256(_mm256_slli_epi16(code(q), 6),
		                             _mm256_slli_epi16(code(q + 32), 4));
		__m256i lo = _mm256_or_si256(_mm256_slli_epi16(code(q + 64), 2), code(q + 96));

		_mm256_storeu_si256((__m256i *)y, _mm256_or_si256(hi, lo));
	}
}

static __m256i decode(__m256i x)
{
	return _mm256_sub_epi8(_mm256_and_si256(x, _mm256_set1_epi8(3)), _mm256_set1_epi8(1));
}

/* Both bits of a code, in the lower one. */
static __m256i threes(__m256i x)
{
	return _mm256_and_si256(x, _mm256_srli_epi16(x, 1));
}

static int unpack_i2s(int8_t *q, const uint8_t *x, size_t blocks)
{
	__m256i bad = _mm256_setzero_si256();

	for (size_t b = 0; b < blocks; b++, q += 128, x += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)x);

		bad = _mm256_or_si256(bad, threes(v));
		_mm256_storeu_si256((__m256i *)q, decode(_mm256_srli_epi16(v, 6)));
		_mm256_storeu_si256((__m256i *)(q + 32), decode(_mm256_srli_epi16(v, 4)));
		_mm256_storeu_si256((__m256i *)(q + 64), decode(_mm256_srli_epi16(v, 2)));
		_mm256_storeu_si256((__m256i *)(q + 96), decode(v));
	}
	return !_mm256_testz_si256(bad, _mm256_set1_epi8(0x55));
}

static int unpack_plane(int8_t *q, const uint8_t *x, size_t n, int shift)
{
	const __m128i by = _mm_cvtsi32_si128(shift);
	__m256i bad = _mm256_setzero_si256();
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		__m256i v = _mm256_srl_epi16(_mm256_loadu_si256((const __m256i *)(x + i)), by);

		bad = _mm256_or_si256(bad, threes(v));
		_mm256_storeu_si256((__m256i *)(q + i), decode(v));
	}
	int rest = bulk_scalar.unpack_plane(q + i, x + i, n - i, shift);
	return rest | !_mm256_testz_si256(bad, _mm256_set1_epi8(1));
}

static void pack_plane(uint8_t *y, const int8_t *q, size_t n, int shift)
{
	const __m128i by = _mm_cvtsi32_si128(shift);
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(y + i));

		_mm256_storeu_si256((__m256i *)(y + i),
		                    _mm256_or_si256(v, _mm256_sll_epi16(code(q + i), by)));
	}
	bulk_scalar.pack_plane(y + i, q + i, n - i, shift);
}

const struct bulk bulk_avx2 = {
    .name = "avx2",
    .read_f16 = read_f16,
    .read_bf16 = read_bf16,
    .write_f16 = write_f16,
    .write_bf16 = write_bf16,
    .survey = survey,
    .codes = codes,
    .round = round_codes,
    .error = error,
    .error_codes = error_codes,
    .count = count,
    .pack_i2s = pack_i2s,
    .unpack_i2s = unpack_i2s,
    .unpack_plane = unpack_plane,
    .pack_plane = pack_plane,
};
