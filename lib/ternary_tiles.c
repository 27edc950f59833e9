/*
 * TL1 and TL2: bytes in the order in which lookup kernels walk through tiles of BM rows by BY
 * columns, inside them groups of bm rows.  A band of BM rows is contiguous in each region. Drawn in
 * ternary-formats.md 2 and 3; the digits of a byte's index are named as there.
 */
#include "ternary_codec.h"

#include <string.h>

/* A region of nibble pairs, of a matrix of its own: cols columns from col0 on. */
struct region {
	uint64_t cols, col0;
	uint64_t tile_rows, tile_cols; /* BM, BY */
	uint64_t step_rows, step_cols; /* bm, by */
	unsigned per;                  /* weights in a nibble: 2 or 3 */
	int swap;                      /* groups of 8 rows in the order 0, 2, 1, 3 */
};

/* Where one is in a band of a region: the digits of a byte's index, and the index. */
struct walk {
	uint64_t kb, mj, kj, inner; /* digits from the outermost; inner counts bytes of a step */
	uint64_t p;
};

/* Row and column of byte `inner` of a step: TL1 has 16 rows side by side, then columns, then
 * the other rows; TL2 has 32 rows. */
static void locate(const struct region *g, const struct walk *w, uint64_t *r, uint64_t *c)
{
	uint64_t row = w->inner, quad = 0;

	if (!g->swap) {
		uint64_t quads = g->step_cols / 4;

		quad = row / 16 % quads;
		row = row / (16 * quads) * 16 + row % 16;
	} else {
		static const uint8_t order[4] = {0, 2, 1, 3};

		row = order[row / 8] * 8u + row % 8;
	}
	*r = w->mj * g->step_rows + row;
	*c = g->col0 + w->kb * g->tile_cols + w->kj * g->step_cols + 4 * quad;
}

static int next(const struct region *g, struct walk *w)
{
	uint64_t inner = g->step_rows * g->step_cols / (2 * g->per);

	w->p++;
	if (++w->inner < inner)
		return 1;
	w->inner = 0;
	if (++w->kj < g->tile_cols / g->step_cols)
		return 1;
	w->kj = 0;
	if (++w->mj < g->tile_rows / g->step_rows)
		return 1;
	w->mj = 0;
	return ++w->kb < g->cols / g->tile_cols;
}

static int nibble2(const int8_t *q)
{
	return 3 * q[0] + q[1] + 4;
}

static int nibble3(const int8_t *q)
{
	int v = 9 * q[0] + 3 * q[1] + q[2];

	return v < 0 ? -v : v;
}

static void put_region(const struct region *g, uint64_t stride, const int8_t *q, uint8_t *y)
{
	struct walk w = {0};
	uint64_t r, c;

	do {
		locate(g, &w, &r, &c);
		const int8_t *a = q + r * stride + c, *b = a + g->per;
		int hi = g->per == 2 ? nibble2(a) : nibble3(a);
		int lo = g->per == 2 ? nibble2(b) : nibble3(b);

		y[w.p] = (uint8_t)(hi << 4 | lo);
	} while (next(g, &w));
}

/* 0, or 1 with the place of a nibble that is out of range. */
static int get_region(const struct region *g, uint64_t stride, const uint8_t *x, int8_t *q,
                      uint64_t *row, uint64_t *col, int *code)
{
	struct walk w = {0};
	uint64_t r, c;
	int limit = g->per == 2 ? 8 : 13;

	do {
		locate(g, &w, &r, &c);
		for (unsigned h = 0; h < 2; h++) {
			int8_t *a = q + r * stride + c + h * g->per;
			int v = h ? x[w.p] & 15 : x[w.p] >> 4;

			if (v > limit) {
				*row = r;
				*col = c + h * g->per;
				*code = v;
				return 1;
			}
			if (g->per == 2) {
				a[0] = (int8_t)(v / 3 - 1);
				a[1] = (int8_t)(v % 3 - 1);
			} else {
				a[0] = (int8_t)((v + 13) / 9 - 1);
				a[1] = (int8_t)((v + 13) / 3 % 3 - 1);
				a[2] = (int8_t)((v + 13) % 3 - 1);
			}
		}
	} while (next(g, &w));
	return 0;
}

static struct region tl1_region(const struct ternary *t)
{
	return (struct region){
	    t->cols, 0, t->tile.rows, t->tile.cols, t->tile.step, 256 / t->tile.step, 2, 0};
}

int ternary_unpack_tl1(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	struct region g = tl1_region(t);
	uint64_t r, c;
	int code;

	(void)scales;
	for (uint64_t i = 0; i < n; i += t->tile.rows)
		if (get_region(&g, t->cols, in[0] + i * t->cols / 4, q + i * t->cols, &r, &c,
		               &code))
			return ternary_bad_code(t, row + i + r, c, code, e);
	return 0;
}

void ternary_pack_tl1(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	struct region g = tl1_region(t);

	(void)row, (void)scales;
	for (uint64_t i = 0; i < n; i += t->tile.rows)
		put_region(&g, t->cols, q + i * t->cols, out[0] + i * t->cols / 4);
}

static struct region tl2_threes(const struct ternary *t)
{
	return (struct region){
	    t->cols - t->cols % t->tile.cols, 0, t->tile.rows, t->tile.cols, 32, 6, 3, 1};
}

static struct region tl2_twos(const struct ternary *t)
{
	uint64_t two = t->cols % t->tile.cols;

	return (struct region){two, t->cols - two, t->tile.rows, 32, 32, 4, 2, 1};
}

/* Sign words of a band, 16 for 24 columns of 32 rows: the bit of triple i, counted as bits lie. */
struct sign {
	uint64_t row, col; /* of the triple, in the band */
	uint64_t byte;
	int bit;
};

static struct sign sign_at(const struct ternary *t, uint64_t i)
{
	uint64_t blocks = t->tile.cols / 24, groups = t->tile.rows / 32;
	uint64_t bit = i % 16, r = i / 16 % 16, kc = i / 256 % blocks,
		 mj = i / 256 / blocks % groups, kb = i / 256 / blocks / groups;
	struct sign s;

	s.row = mj * 32 + bit % 2 * 16 + r;
	s.col = kb * t->tile.cols + kc * 24 + bit / 2 * 3;
	s.byte = i / 16 * 2 + (bit < 8); /* little-endian words, the first bit on top */
	s.bit = 7 - (int)(bit % 8);
	return s;
}

static void put_signs(const struct ternary *t, const int8_t *q, uint8_t *y)
{
	uint64_t n = (t->cols - t->cols % t->tile.cols) / 3 * t->tile.rows;

	memset(y, 0, (size_t)(n / 8));
	for (uint64_t i = 0; i < n; i++) {
		struct sign s = sign_at(t, i);
		const int8_t *a = q + s.row * t->cols + s.col;

		y[s.byte] = (uint8_t)(y[s.byte] | (9 * a[0] + 3 * a[1] + a[2] < 0) << s.bit);
	}
}

static int get_signs(const struct ternary *t, const uint8_t *x, int8_t *q, uint64_t *row,
                     uint64_t *col)
{
	uint64_t n = (t->cols - t->cols % t->tile.cols) / 3 * t->tile.rows;

	for (uint64_t i = 0; i < n; i++) {
		struct sign s = sign_at(t, i);
		int8_t *a = q + s.row * t->cols + s.col;

		if (!(x[s.byte] >> s.bit & 1))
			continue;
		if (!a[0] && !a[1] && !a[2]) {
			*row = s.row;
			*col = s.col;
			return 1;
		}
		for (int j = 0; j < 3; j++)
			a[j] = (int8_t)-a[j];
	}
	return 0;
}

static int unpack_tl2_band(const struct ternary *t, uint64_t row,
                           const uint8_t *const in[TERNARY_SPANS], int8_t *q, struct err *e)
{
	struct region three = tl2_threes(t), two = tl2_twos(t);
	uint64_t r, c;
	int code;

	if (get_region(&three, t->cols, in[0], q, &r, &c, &code) ||
	    (two.cols && get_region(&two, t->cols, in[2], q, &r, &c, &code)))
		return ternary_bad_code(t, row + r, c, code, e);
	if (get_signs(t, in[1], q, &r, &c))
		return err_set(e, ERR_TROUBLE, "tl2: row %llu, column %llu: zero with a sign",
		               (unsigned long long)(row + r), (unsigned long long)c);
	return 0;
}

int ternary_unpack_tl2(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	uint64_t two = t->cols % t->tile.cols, three = t->cols - two;

	(void)scales;
	for (uint64_t i = 0; i < n; i += t->tile.rows) {
		const uint8_t *at[TERNARY_SPANS] = {in[0] + i * three / 6, in[1] + i * three / 24,
		                                    two ? in[2] + i * two / 4 : NULL};

		if (unpack_tl2_band(t, row + i, at, q + i * t->cols, e))
			return -1;
	}
	return 0;
}

void ternary_pack_tl2(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	struct region three = tl2_threes(t), two = tl2_twos(t);

	(void)row, (void)scales;
	for (uint64_t i = 0; i < n; i += t->tile.rows, q += t->tile.rows * t->cols) {
		if (out[0])
			put_region(&three, t->cols, q, out[0] + i * three.cols / 6);
		if (out[1])
			put_signs(t, q, out[1] + i * three.cols / 24);
		if (out[2] && two.cols)
			put_region(&two, t->cols, q, out[2] + i * two.cols / 4);
	}
}
