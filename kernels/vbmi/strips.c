/*
 * Products with weights in strips (../strips.h).
 *
 * With v = 81 d0 + m, m below 81: v - 81 wraps around where v is smaller, so two minima give m, and
 * v - m is 81 d0.  One permute of 128 bytes turns m into its four digits, two bits each, which are
 * used where they lie: each sum is 81, 1, 4, 16 or 64 times what it should be, exactly.  A lane of
 * such a sum grows by at most 4 * 192 * 128 a block: 2^31 lies behind 400 thousand columns.
 */
#include "vbmi.h"

#include <immintrin.h>
#include <string.h>

#include "../avx512/avx512.h"
#include "../avx512/codes.h"
#include "../avx512/lanes.h"
#include "../sets.h"
#include "../strips.h"

/* The digits of m from the lowest bits on. */
#define DIGITS(m)   ((m) / 27 | (m) / 9 % 3 << 2 | (m) / 3 % 3 << 4 | (m) % 3 << 6)
#define DIGITS3(m)  DIGITS(m), DIGITS((m) + 1), DIGITS((m) + 2)
#define DIGITS9(m)  DIGITS3(m), DIGITS3((m) + 3), DIGITS3((m) + 6)
#define DIGITS27(m) DIGITS9(m), DIGITS9((m) + 9), DIGITS9((m) + 18)

static const uint8_t digits_of[128]
    __attribute__((aligned(64))) = {DIGITS27(0), DIGITS27(27), DIGITS27(54)};

struct table {
	__m512i low, high;
};

static inline struct table load_table(void)
{
	struct table t = {_mm512_load_si512(digits_of), _mm512_load_si512(digits_of + 64)};

	return t;
}

/* A block: 81 d0, and the other digits in two bits each. */
struct digits {
	__m512i first, others;
};

static inline struct digits digits(__m512i v, const struct table *t)
{
	const __m512i first = _mm512_set1_epi8(81);
	__m512i m = _mm512_min_epu8(v, _mm512_sub_epi8(v, first));
	struct digits d;

	m = _mm512_min_epu8(m, _mm512_sub_epi8(m, first));
	d.first = _mm512_sub_epi8(v, m);
	d.others = _mm512_permutex2var_epi8(t->low, m, t->high);
	return d;
}

/* The code of digit j. */
static inline __m512i code(const struct digits *d, unsigned j)
{
	/* 81 and 162 begin with the bits of 1 and 2 */
	__m512i v = j ? _mm512_srli_epi32(d->others, 2 * (j - 1)) : _mm512_srli_epi32(d->first, 6);

	return _mm512_and_si512(v, _mm512_set1_epi8(3));
}

/* By value, not by address: compilers keep these in registers. */
struct sums {
	__m512i first, a, b, c, d;
};

static inline struct sums sums_add(struct sums s, const uint8_t *p, const int8_t *x,
                                   const struct table *t)
{
	struct digits w = digits(_mm512_loadu_si512(p), t);

	s.first = i16_add_fours(s.first, w.first, x);
	s.a = i16_add_fours(s.a, _mm512_and_si512(w.others, _mm512_set1_epi8(3)), x + 4);
	s.b = i16_add_fours(s.b, _mm512_and_si512(w.others, _mm512_set1_epi8(12)), x + 8);
	s.c = i16_add_fours(s.c, _mm512_and_si512(w.others, _mm512_set1_epi8(48)), x + 12);
	s.d = i16_add_fours(s.d, _mm512_and_si512(w.others, _mm512_set1_epi8((char)192)), x + 16);
	return s;
}

/* 1 / 81 modulo 2^32: the product with a multiple of 81 is the quotient. */
#define INVERSE_81 2014922929

static inline __m512i sums_total(struct sums s)
{
	__m512i first = _mm512_mullo_epi32(s.first, _mm512_set1_epi32(INVERSE_81));
	__m512i low = _mm512_add_epi32(s.a, _mm512_srai_epi32(s.b, 2));
	__m512i high = _mm512_add_epi32(_mm512_srai_epi32(s.c, 4), _mm512_srai_epi32(s.d, 6));

	return _mm512_add_epi32(first, _mm512_add_epi32(low, high));
}

/* Where results of a token go, and how. */
struct to {
	float *y;
	float hi, lo; /* kernel_factor */
	int32_t sum;
};

static inline void store(const struct to *to, size_t row, __m512i sums)
{
	v16 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, _mm512_set1_epi32(to->sum)));

	v16_store(to->y + row, v16_rescale(v, v16_set(1), to->hi, to->lo));
}

/* Strip by strip in the order of memory, which the CPU fetches ahead by itself. */
static void one_token(const uint8_t *p, size_t n, const int8_t *x, size_t cols, const struct to *to,
                      size_t row)
{
	const struct sums none = {_mm512_setzero_si512()};
	const struct table table = load_table();

	for (size_t i = 0; i < n; i++) {
		struct sums s = none;

		for (size_t c = 0; c < cols; c += STRIP_COLS, p += STRIP_BLOCK)
			s = sums_add(s, p, x + c, &table);
		store(to, row + i * STRIP_ROWS, sums_total(s));
	}
}

/* Tokens of a tile, whose sums stay in registers with two strips. */
#define TOKENS 5

/* Up to so many tokens this is faster than panels. */
#define PAYS 32

/* sums[t][s] of two strips, gap bytes apart, with n tokens. */
static inline __attribute__((always_inline)) void
tile(const uint8_t *p, size_t gap, const int8_t *x, size_t cols, size_t n, __m512i sums[TOKENS][2])
{
	const struct table table = load_table();
	__m512i acc[TOKENS][2];

#pragma GCC unroll 8
	for (size_t t = 0; t < n; t++)
		acc[t][0] = acc[t][1] = _mm512_setzero_si512();
	for (size_t c = 0; c < cols; c += STRIP_COLS, p += STRIP_BLOCK, x += n * STRIP_COLS) {
#pragma GCC unroll 2
		for (size_t s = 0; s < 2; s++) {
			struct digits w = digits(_mm512_loadu_si512(p + s * gap), &table);

#pragma GCC unroll 8
			for (unsigned j = 0; j < STRIP_DIGITS; j++) {
				__m512i one = code(&w, j);

#pragma GCC unroll 8
				for (size_t t = 0; t < n; t++)
					acc[t][s] = i16_add_fours(acc[t][s], one,
					                          x + t * STRIP_COLS + 4 * j);
			}
		}
	}
#pragma GCC unroll 8
	for (size_t t = 0; t < n; t++) {
		sums[t][0] = acc[t][0];
		sums[t][1] = acc[t][1];
	}
}

static void tiles(const uint8_t *p, size_t gap, const int8_t *x, size_t cols, size_t n,
                  __m512i sums[TOKENS][2])
{
	switch (n) {
	case 2:
		tile(p, gap, x, cols, 2, sums);
		break;
	case 3:
		tile(p, gap, x, cols, 3, sums);
		break;
	case 4:
		tile(p, gap, x, cols, 4, sums);
		break;
	default:
		tile(p, gap, x, cols, 5, sums);
	}
}

/* Tokens of the next tile where so many are left: tiles of about the same size. */
static size_t tile_of(size_t left)
{
	size_t count = (left + TOKENS - 1) / TOKENS;

	return (left + count - 1) / count;
}

/* Activations in the order of their use, for each tile: 20 columns of each of its tokens, the next
 * 20, up to the end of the last block, where zeros stand behind the last column. */
static void deal_tiles(int8_t *out, const struct kernel_input *x, size_t cols)
{
	for (size_t t = 0, n; t < x->n; t += n, out += n * cols) {
		n = tile_of(x->n - t);
		for (size_t i = 0; i < n; i++) {
			const int8_t *from = x->q + (t + i) * x->stride;
			int8_t *to = out + i * STRIP_COLS;
			size_t c = 0;

			for (; c + STRIP_COLS <= x->k; c += STRIP_COLS, to += n * STRIP_COLS)
				memcpy(to, from + c, STRIP_COLS);
			if (c < x->k) {
				memset(to, 0, STRIP_COLS);
				memcpy(to, from + c, x->k - c);
			}
		}
	}
}

/* n strips with a few tokens; where their number is odd, the middle one is computed twice. */
static void few_tokens(const uint8_t *p, size_t n, size_t strip, const int8_t *x, size_t cols,
                       const struct to *to, size_t tokens, size_t row)
{
	size_t half = (n + 1) / 2, second = n / 2;
	__m512i sums[TOKENS][2];

	for (size_t i = 0; i < half; i++, p += strip)
		for (size_t t = 0, here; t < tokens; t += here) {
			here = tile_of(tokens - t);
			tiles(p, second * strip, x + t * cols, cols, here, sums);
			for (size_t j = t; j < t + here; j++) {
				store(to + j, row + i * STRIP_ROWS, sums[j - t][0]);
				store(to + j, row + (second + i) * STRIP_ROWS, sums[j - t][1]);
			}
		}
}

void vbmi_mul_strips(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                     size_t row1, float *y, size_t y_stride, void *scratch)
{
	size_t cols = strip_bytes(x->k) / STRIP_BLOCK * STRIP_COLS, strip = strip_bytes(x->k);
	const uint8_t *p = w->data + strips_bytes(row0, x->k);
	size_t n = (row1 - row0) / STRIP_ROWS;
	struct to to[PAYS];

	if (x->n > PAYS || x->n * cols > KERNELS_SCRATCH) {
		avx512_mul_panels(w, x, row0, row1, y, y_stride, scratch, vbmi_unpack);
		return;
	}
	for (size_t t = 0; t < x->n; t++) {
		to[t].y = y + t * y_stride;
		to[t].sum = x->sum[t];
		kernel_factor(w->scale, x->scale[t], &to[t].hi, &to[t].lo);
	}
	deal_tiles(scratch, x, cols);
	if (x->n == 1)
		one_token(p, n, scratch, cols, to, row0);
	else if (n)
		few_tokens(p, n, strip, scratch, cols, to, x->n, row0);
}

void vbmi_unpack(const struct kernel_mat *w, size_t k, size_t row, size_t rows, size_t c,
                 uint8_t panel[4096])
{
	const struct table table = load_table();
	size_t columns = k - c < 256 ? k - c : 256, g = c / 4, end = (c + columns) / 4;
	const uint8_t *p = w->data + strips_bytes(row, k) + g / STRIP_DIGITS * STRIP_BLOCK;

	if (row >= rows || columns < 256)
		memset(panel, 0, 4096);
	if (row >= rows)
		return;
	for (size_t j = g % STRIP_DIGITS; g < end; j = 0, p += STRIP_BLOCK) {
		struct digits d = digits(_mm512_loadu_si512(p), &table);
		__m512i v[STRIP_DIGITS] = {code(&d, 0), code(&d, 1), code(&d, 2), code(&d, 3),
		                           code(&d, 4)};

		for (; j < STRIP_DIGITS && g < end; j++, g++, panel += 64)
			_mm512_storeu_si512(panel, v[j]);
	}
}

/* Columns that are packed at a time: whole blocks and whole windows of avx512_unpack. */
#define PACKED (256 * STRIP_DIGITS)

/* 16 rows of I2_S.  Bits of the result are set where a code is 3. */
static __m512i pack_strip(const struct kernel_mat *w, size_t row, uint8_t *out)
{
	uint8_t codes[16 * PACKED];
	__m512i three = _mm512_setzero_si512();

	for (size_t c = 0; c < w->cols; c += PACKED) {
		size_t left = w->cols - c, columns = left < PACKED ? left : PACKED;

		for (size_t u = 0; u < PACKED; u += 256)
			if (u < columns)
				avx512_unpack(w, w->cols, row, w->rows, c + u, codes + 16 * u);
			else
				memset(codes + 16 * u, 0, 4096);
		for (size_t i = 0; i < columns; i += STRIP_COLS, out += STRIP_BLOCK) {
			__m512i v = _mm512_setzero_si512();

			for (size_t j = 0; j < STRIP_DIGITS; j++) {
				__m512i one = _mm512_loadu_si512(codes + 16 * i + 64 * j);

				three = seen_three(three, one);
				v = times3_plus(v, one);
			}
			_mm512_storeu_si512(out, v);
		}
	}
	return three;
}

static int pack_strips(const struct kernel_mat *w, size_t row0, size_t row1, uint8_t *out)
{
	__m512i three = _mm512_setzero_si512();

	for (size_t r = row0; r < row1; r += STRIP_ROWS, out += strip_bytes(w->cols))
		three = _mm512_or_si512(three, pack_strip(w, r, out));
	return _mm512_test_epi32_mask(three, three) != 0;
}

void kernels_vbmi(struct kernels *k)
{
	k->mul_strips = vbmi_mul_strips;
	k->pack_strips = pack_strips;
}
