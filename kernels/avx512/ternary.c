/*
 * Ternary products with one token, rows read where they lie.
 *
 * Codes are used in place: w & 3, w & 12, w & 48, w & 192 times the activations of their part,
 * summed by vpdpbusd; each sum is 1, 4, 16 or 64 times what it should be, exactly.  Codes are 0..2
 * for -1..1, so the sum of the activations is subtracted at the end.  A lane of such a sum grows
 * by at most 4 * 192 * 128 a unit of 256 columns: 2^31 lies behind 5 million columns.
 *
 * Base 3: with r_0 the byte and r_(k+1) = 3 r_k mod 256, digit k is (3 r_k - r_(k+1)) / 256, so two
 * sums, of r_k x and of r_(k+1) x, give the product.  3 times such a lane grows by at most
 * 15 * 4 * 255 * 128 a unit: 2^31 lies behind 280 thousand columns.
 */
#include "avx512.h"

#include <immintrin.h>

#include "../scalar/scalar.h"
#include "codes.h"

/* Activations are dealt to parts in scratch: 256 or 320 bytes a unit. */
#define UNITS_MAX (KERNELS_SCRATCH / 320)

/* Four vectors by value and by name, not in an array: compilers keep these in registers. */
struct four {
	__m512i a, b, c, d;
};

/* Sums of the parts of w, from the lowest bits, times those of x. */
static inline struct four two_bits_add(struct four s, __m512i w, struct four x)
{
	__m512i a = _mm512_and_si512(w, _mm512_set1_epi8(3));
	__m512i b = _mm512_and_si512(w, _mm512_set1_epi8(12));
	__m512i c = _mm512_and_si512(w, _mm512_set1_epi8(48));
	__m512i d = _mm512_and_si512(w, _mm512_set1_epi8((char)192));

	s.a = _mm512_dpbusd_epi32(s.a, a, x.a);
	s.b = _mm512_dpbusd_epi32(s.b, b, x.b);
	s.c = _mm512_dpbusd_epi32(s.c, c, x.c);
	s.d = _mm512_dpbusd_epi32(s.d, d, x.d);
	return s;
}

static inline int32_t two_bits_sum(struct four s)
{
	__m512i low = _mm512_add_epi32(s.a, _mm512_srai_epi32(s.b, 2));
	__m512i high = _mm512_add_epi32(_mm512_srai_epi32(s.c, 4), _mm512_srai_epi32(s.d, 6));

	return _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
}

/* Loads once what several rows use: a compiler would read memory again for each. */
static inline __m512i load_once(const int8_t *p)
{
	__m512i v = _mm512_loadu_si512(p);

	__asm__("" : "+v"(v));
	return v;
}

/* The dealt activations of one unit, in the order of the bits from the lowest. */
static inline struct four load_parts(const int8_t *dealt, int top)
{
	return (struct four){
	    load_once(dealt + (top ? 192 : 0)), load_once(dealt + (top ? 128 : 64)),
	    load_once(dealt + (top ? 64 : 128)), load_once(dealt + (top ? 0 : 192))};
}

/* Digits of one unit. */
struct five {
	__m512i a, b, c, d, e;
};

static inline struct five load_digits(const int8_t *dealt)
{
	return (struct five){load_once(dealt), load_once(dealt + 64), load_once(dealt + 128),
	                     load_once(dealt + 192), load_once(dealt + 256)};
}

struct base3 {
	__m512i r, next; /* sums of r_k x and of r_(k+1) x */
	__m512i r2,
	    next2; /* the same of every other digit, so that sums wait less for each other */
};

static inline struct base3 base3_add(struct base3 s, __m512i r, struct five x)
{
	__m512i r1 = times3(r), r2 = times3(r1), r3 = times3(r2), r4 = times3(r3);

	s.r = _mm512_dpbusd_epi32(s.r, r, x.a);
	s.next = _mm512_dpbusd_epi32(s.next, r1, x.a);
	s.r2 = _mm512_dpbusd_epi32(s.r2, r1, x.b);
	s.next2 = _mm512_dpbusd_epi32(s.next2, r2, x.b);
	s.r = _mm512_dpbusd_epi32(s.r, r2, x.c);
	s.next = _mm512_dpbusd_epi32(s.next, r3, x.c);
	s.r2 = _mm512_dpbusd_epi32(s.r2, r3, x.d);
	s.next2 = _mm512_dpbusd_epi32(s.next2, r4, x.d);
	s.r = _mm512_dpbusd_epi32(s.r, r4, x.e);
	s.next = _mm512_dpbusd_epi32(s.next, times3(r4), x.e);
	return s;
}

static inline int32_t base3_sum(struct base3 s)
{
	__m512i r = _mm512_add_epi32(s.r, s.r2), next = _mm512_add_epi32(s.next, s.next2);
	__m512i three = _mm512_add_epi32(_mm512_add_epi32(r, r), r);

	return _mm512_reduce_add_epi32(_mm512_srai_epi32(_mm512_sub_epi32(three, next), 8));
}

/* Rows that share the loads of the activations.  They lie far apart, so that each is a long stream.
 * They are fetched this far ahead into the second cache: nearer, or into the first one, disturbs
 * what the CPU fetches by itself; without, it follows the activations instead of long rows. */
#define ROWS        2
#define FETCH_AHEAD 4096

static inline void fetch_ahead(const uint8_t *p)
{
	_mm_prefetch((const char *)p + FETCH_AHEAD, _MM_HINT_T1);
}

/* Bits by which the d of a unit differs from that of the row's first unit. */
static inline unsigned unlike(const struct ternary_layout *l, const uint8_t *first,
                              const uint8_t *unit)
{
	return load_u16(first + l->d_at) ^ load_u16(unit + l->d_at);
}

/* ROWS rows, gap bytes apart, to integer dots (before the sum of x is subtracted).  Returns 0 when
 * units (a layout with a d for each) have more than one d: then the dots mean nothing. */
static inline int rows_two_bits(const struct ternary_layout *l, const uint8_t *p, size_t gap,
                                const int8_t *dealt, size_t k, int32_t dots[ROWS], int top,
                                int has_d)
{
	struct four s = {_mm512_setzero_si512()}, t = s, x;
	const uint8_t *first = p;
	unsigned differ = 0;
	size_t c = 0;

	p += l->prefix;
	for (; c + 256 <= k; c += 256, p += l->unit_bytes) {
		x = load_parts(dealt + c, top);
		fetch_ahead(p);
		fetch_ahead(p + gap);
		s = two_bits_add(s, _mm512_loadu_si512(p), x);
		t = two_bits_add(t, _mm512_loadu_si512(p + gap), x);
		if (has_d) { /* units that are no whole lines skip some */
			fetch_ahead(p + 64);
			fetch_ahead(p + gap + 64);
		}
		if (has_d)
			differ |= unlike(l, first, p) | unlike(l, first + gap, p + gap);
	}
	if (c < k) {
		__mmask64 bytes = (1ull << (k - c) / 4) - 1;

		x = load_parts(dealt + c, top);
		s = two_bits_add(s, _mm512_maskz_loadu_epi8(bytes, p), x);
		t = two_bits_add(t, _mm512_maskz_loadu_epi8(bytes, p + gap), x);
	}
	dots[0] = two_bits_sum(s);
	dots[1] = two_bits_sum(t);
	return !differ;
}

static int rows_base3(const struct ternary_layout *l, const uint8_t *p, size_t gap,
                      const int8_t *dealt, size_t k, int32_t dots[ROWS])
{
	struct base3 s = {_mm512_setzero_si512()}, t = s;
	__mmask64 bytes = bytes_of(l, 256);
	const uint8_t *first = p;
	unsigned differ = 0;

	for (size_t c = 0; c < k; c += 256, p += l->unit_bytes, dealt += 320) {
		struct five x = load_digits(dealt);

		fetch_ahead(p);
		fetch_ahead(p + gap);
		s = base3_add(s, _mm512_maskz_loadu_epi8(bytes, p), x);
		t = base3_add(t, _mm512_maskz_loadu_epi8(bytes, p + gap), x);
		differ |= unlike(l, first, p) | unlike(l, first + gap, p + gap);
	}
	dots[0] = base3_sum(s);
	dots[1] = base3_sum(t);
	return !differ;
}

/* The same for any layout; 0 also where a row's only d is 0. */
static int rows_dots(const struct ternary_layout *l, const uint8_t *p, size_t gap,
                     const int8_t *dealt, size_t k, int32_t dots[ROWS])
{
	if (l->d == D_UNIT &&
	    ((load_u16(p + l->d_at) & 0x7fff) == 0 || (load_u16(p + gap + l->d_at) & 0x7fff) == 0))
		return 0;
	if (!l->span)
		return rows_base3(l, p, gap, dealt, k, dots);
	if (l->top)
		return rows_two_bits(l, p, gap, dealt, k, dots, 1, 0);
	if (l->d == D_UNIT)
		return rows_two_bits(l, p, gap, dealt, k, dots, 0, 1);
	return rows_two_bits(l, p, gap, dealt, k, dots, 0, 0);
}

/* The integer dot of one unit, less the sum of its activations. */
static int32_t unit_dot(const struct ternary_layout *l, const uint8_t *unit, size_t columns,
                        const int8_t *dealt, int32_t sum)
{
	__m512i w = _mm512_maskz_loadu_epi8(bytes_of(l, columns), unit);
	struct four none = {_mm512_setzero_si512()};
	struct base3 no_digits = {_mm512_setzero_si512()};

	if (!l->span)
		return base3_sum(base3_add(no_digits, w, load_digits(dealt))) - sum;
	return two_bits_sum(two_bits_add(none, w, load_parts(dealt, l->top))) - sum;
}

/* One row of any runs with one token: the rule of scalar/ternary.c. */
static float row_runs(const struct ternary_layout *l, const uint8_t *row, size_t k,
                      const int8_t *dealt, const int32_t *sum256)
{
	size_t step = dealt_unit(l);
	float acc = 0, run_d = 0;
	int32_t run = 0;

	for (size_t u = 0; u < ternary_units(k); u++) {
		float d = ternary_d(l, row, u);

		if (l->d == D_UNIT && d == 0.0f)
			continue;
		if (half_f32_bits(d) != half_f32_bits(run_d)) {
			acc += (float)run * run_d;
			run = 0;
		}
		run_d = d;
		run += unit_dot(l, row + l->prefix + u * l->unit_bytes, k - 256 * u,
		                dealt + u * step, sum256[u]);
	}
	return acc + (float)run * run_d;
}

/* One row of any runs with all tokens. */
static void mul_row(const struct kernel_mat *w, const struct kernel_input *x, size_t row, float *y,
                    size_t y_stride, void *scratch)
{
	const struct ternary_layout *l = ternary_layout(w->type);

	for (size_t t = 0; t < x->n; t++) {
		deal(l, x->q + t * x->stride, x->k, scratch);
		float acc = row_runs(l, w->data + row * w->row_bytes, x->k, scratch,
		                     x->sum256 + t * x->stride256);

		y[t * y_stride + row] = kernel_rescale(acc, w->scale, x->scale[t]);
	}
}

void avx512_mul_others(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                       size_t row1, float *y, size_t y_stride, void *scratch)
{
	const struct ternary_layout *l = ternary_layout(w->type);

	for (size_t r = row0; l->d == D_UNIT && r < row1; r++) {
		if (ternary_is_run(l, w->data + r * w->row_bytes, x->k))
			continue;
		if (ternary_units(x->k) > UNITS_MAX)
			scalar_mul_ternary(w, x, r, r + 1, y, y_stride, scratch);
		else
			mul_row(w, x, r, y, y_stride, scratch);
	}
}

void avx512_mul_one(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                    size_t row1, float *y, size_t y_stride, void *scratch)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	size_t apart = (row1 - row0) / ROWS, gap = apart * w->row_bytes;
	int32_t dots[ROWS];
	float hi, lo;

	if (ternary_units(x->k) > UNITS_MAX) {
		scalar_mul_ternary(w, x, row0, row1, y, y_stride, scratch);
		return;
	}
	kernel_factor(w->scale, x->scale[0], &hi, &lo);
	deal(l, x->q, x->k, scratch);
	for (size_t r = row0; r < row0 + apart; r++) {
		const uint8_t *p = w->data + r * w->row_bytes;
		int runs = rows_dots(l, p, gap, scratch, x->k, dots);

		for (size_t i = 0; i < ROWS; i++, p += gap) {
			float acc = runs ? 0.0f + (float)(dots[i] - x->sum[0]) * ternary_d(l, p, 0)
			                 : row_runs(l, p, x->k, scratch, x->sum256);

			y[r + i * apart] = fmaf(acc, hi, acc * lo);
		}
	}
	for (size_t r = row0 + ROWS * apart; r < row1; r++) {
		float acc = row_runs(l, w->data + r * w->row_bytes, x->k, scratch, x->sum256);

		y[r] = fmaf(acc, hi, acc * lo);
	}
}
