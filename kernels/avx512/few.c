/*
 * Ternary products with a few tokens: codes of four rows are unpacked in registers, one part of a
 * unit after the other, and multiplied with up to five tokens.  A panel (see panel.c) would cost
 * more than it saves.
 */
#include "avx512.h"

#include <immintrin.h>

#include "codes.h"

#define ROWS   4
#define TOKENS 5

/* Up to so many tokens; digits take longer to unpack, which a panel does once. */
#define PAYS       32
#define PAYS_BASE3 12

/* Four neighbouring rows, of which the last is there again where there are fewer. */
struct rows {
	const uint8_t *p[ROWS]; /* the first unit */
	float d[ROWS];
	size_t n;
};

/* How far ahead of their use weights are fetched. */
#define FETCH_AHEAD 8192

/* Sums of the lanes of four registers. */
static inline __m128i sums4(__m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
	__m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
	__m512i all =
	    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
	__m256i half =
	    _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* dots[t] of the rows with n tokens, whose dealt activations lie step bytes apart. */
static inline __attribute__((always_inline)) void tile(const struct ternary_layout *l,
                                                       const struct rows *rows, size_t k,
                                                       const int8_t *x, size_t step, size_t n,
                                                       __m128i *dots)
{
	const __m512i three = _mm512_set1_epi8(3);
	const unsigned parts = l->span ? 4 : 5;
	const uint8_t *p = rows->p[0];
	ptrdiff_t at[ROWS]; /* from the first row */
	__m512i acc[TOKENS][ROWS], w[ROWS], c[ROWS];

#pragma GCC unroll 8
	for (size_t r = 0; r < ROWS; r++)
		at[r] = rows->p[r] - p;
#pragma GCC unroll 8
	for (size_t t = 0; t < n; t++)
#pragma GCC unroll 8
		for (size_t r = 0; r < ROWS; r++)
			acc[t][r] = _mm512_setzero_si512();
	for (size_t u = 0; u < k; u += 256, p += l->unit_bytes) {
		__mmask64 bytes = bytes_of(l, k - u);

#pragma GCC unroll 8
		for (size_t r = 0; r < ROWS; r++) {
			w[r] = _mm512_maskz_loadu_epi8(bytes, p + at[r]);
			_mm_prefetch((const char *)p + at[r] + FETCH_AHEAD, _MM_HINT_T1);
		}
#pragma GCC unroll 8
		for (unsigned i = 0; i < parts; i++, x += 64) {
#pragma GCC unroll 8
			for (size_t r = 0; r < ROWS; r++) {
				if (!l->span) {
					c[r] = first_digit(w[r]);
					w[r] = times3(w[r]);
					continue;
				}
				c[r] = _mm512_srli_epi32(w[r], 2 * (l->top ? 3 - i : i));
				c[r] = _mm512_and_si512(c[r], three);
			}
#pragma GCC unroll 8
			for (size_t t = 0; t < n; t++) {
				__m512i v = _mm512_loadu_si512(x + t * step);

#pragma GCC unroll 8
				for (size_t r = 0; r < ROWS; r++)
					acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], c[r], v);
			}
		}
	}
#pragma GCC unroll 8
	for (size_t t = 0; t < n; t++)
		dots[t] = sums4(acc[t][0], acc[t][1], acc[t][2], acc[t][3]);
}

#define DEFINE_TILES(NAME, LAYOUT)                                                                 \
	static void NAME(const struct rows *rows, size_t k, const int8_t *x, size_t step,          \
	                 size_t n, __m128i *dots)                                                  \
	{                                                                                          \
		if (n == 2)                                                                        \
			tile(LAYOUT, rows, k, x, step, 2, dots);                                   \
		else if (n == 3)                                                                   \
			tile(LAYOUT, rows, k, x, step, 3, dots);                                   \
		else if (n == 4)                                                                   \
			tile(LAYOUT, rows, k, x, step, 4, dots);                                   \
		else                                                                               \
			tile(LAYOUT, rows, k, x, step, 5, dots);                                   \
	}

DEFINE_TILES(tiles_i2_s, &layout_i2_s)
DEFINE_TILES(tiles_tq1_0, &layout_tq1_0)
DEFINE_TILES(tiles_tq2_0, &layout_tq2_0)
DEFINE_TILES(tiles_iq2_bn, &layout_iq2_bn)

static void tiles(enum dtype type, const struct rows *rows, size_t k, const int8_t *x, size_t step,
                  size_t n, __m128i *dots)
{
	switch (type) {
	case DTYPE_TQ1_0:
		tiles_tq1_0(rows, k, x, step, n, dots);
		break;
	case DTYPE_TQ2_0:
		tiles_tq2_0(rows, k, x, step, n, dots);
		break;
	case DTYPE_IQ2_BN:
		tiles_iq2_bn(rows, k, x, step, n, dots);
		break;
	default:
		tiles_i2_s(rows, k, x, step, n, dots);
	}
}

/* What turns sums of a token into results. */
struct factor {
	float hi, lo; /* kernel_factor */
	int32_t sum;
};

static inline void store(const struct factor *f, __m128i dot, const struct rows *rows, float *y)
{
	__m128 v = _mm_cvtepi32_ps(_mm_sub_epi32(dot, _mm_set1_epi32(f->sum)));

	/* 0 is added, so that there is no -0 */
	v = _mm_add_ps(_mm_mul_ps(v, _mm_loadu_ps(rows->d)), _mm_setzero_ps());
	v = _mm_fmadd_ps(v, _mm_set1_ps(f->hi), _mm_mul_ps(v, _mm_set1_ps(f->lo)));
	_mm_mask_storeu_ps(y, (__mmask8)((1u << rows->n) - 1), v);
}

/* The rows from row on, at most most of them. */
static struct rows rows_from(const struct kernel_mat *w, size_t k, size_t row, size_t most)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	struct rows rows = {.d = {0}};

	rows.n = ternary_runs(w, k, row, most < ROWS ? most : ROWS, rows.d);
	for (size_t r = 0; r < ROWS && rows.n; r++)
		rows.p[r] =
		    w->data + (row + (r < rows.n ? r : rows.n - 1)) * w->row_bytes + l->prefix;
	return rows;
}

size_t avx512_few(const struct kernel_mat *w, size_t k)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	size_t room = KERNELS_SCRATCH / (ternary_units(k) * dealt_unit(l));
	size_t pays = l->span ? PAYS : PAYS_BASE3;

	return room < pays ? room : pays;
}

void avx512_mul_few(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                    size_t row1, float *y, size_t y_stride, void *scratch)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	size_t step = ternary_units(x->k) * dealt_unit(l), n;
	int8_t *dealt = scratch;
	__m128i dots[TOKENS];
	struct factor factor[PAYS];
	struct rows rows;

	for (size_t t = 0; t < x->n; t++) {
		kernel_factor(w->scale, x->scale[t], &factor[t].hi, &factor[t].lo);
		factor[t].sum = x->sum[t];
		deal(l, x->q + t * x->stride, x->k, dealt + t * step);
	}
	for (size_t r = row0; r < row1; r += rows.n ? rows.n : 1) {
		rows = rows_from(w, x->k, r, row1 - r);
		for (size_t t = 0; t < x->n && rows.n; t += n) {
			/* tiles of about the same size */
			size_t left = x->n - t, count = (left + TOKENS - 1) / TOKENS;

			n = (left + count - 1) / count;
			tiles(w->type, &rows, x->k, dealt + t * step, step, n, dots);
			for (size_t i = 0; i < n; i++)
				store(&factor[t + i], dots[i], &rows, y + (t + i) * y_stride + r);
		}
	}
	avx512_mul_others(w, x, row0, row1, y, y_stride, scratch);
}
