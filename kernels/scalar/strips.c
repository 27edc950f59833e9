/*
 * Products with weights in strips, and strips made of I2_S: see ../strips.h.
 */
#include "scalar.h"

#include <string.h>

#include "../strips.h"

/* Digits from the last one on to codes: q[r][c]. */
static void unpack(int8_t q[STRIP_ROWS][STRIP_COLS], const uint8_t *block)
{
	for (size_t b = 0; b < STRIP_BLOCK; b++) {
		unsigned v = block[b];

		for (size_t d = STRIP_DIGITS; d--; v /= 3)
			q[b / 4][4 * d + b % 4] = (int8_t)((int)(v % 3) - 1);
	}
}

/* Tokens that one pass over a strip serves. */
#define TOKENS 32

static void one_strip(const uint8_t *strip, const struct kernel_input *x, size_t t0, size_t n,
                      int32_t sums[TOKENS][STRIP_ROWS])
{
	int8_t q[STRIP_ROWS][STRIP_COLS];

	memset(sums, 0, TOKENS * sizeof *sums);
	for (size_t c = 0; c < x->k; c += STRIP_COLS, strip += STRIP_BLOCK) {
		size_t columns = x->k - c < STRIP_COLS ? x->k - c : STRIP_COLS;

		unpack(q, strip);
		for (size_t t = 0; t < n; t++)
			for (size_t r = 0; r < STRIP_ROWS; r++)
				for (size_t i = 0; i < columns; i++)
					sums[t][r] += q[r][i] * x->q[(t0 + t) * x->stride + c + i];
	}
}

static void mul_strips(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                       size_t row1, float *y, size_t y_stride, void *scratch)
{
	int32_t sums[TOKENS][STRIP_ROWS];

	(void)scratch;
	for (size_t t0 = 0; t0 < x->n; t0 += TOKENS) {
		size_t n = x->n - t0 < TOKENS ? x->n - t0 : TOKENS;

		for (size_t r = row0; r < row1; r += STRIP_ROWS) {
			one_strip(w->data + strips_bytes(r, x->k), x, t0, n, sums);
			for (size_t t = 0; t < n; t++)
				for (size_t i = 0; i < STRIP_ROWS; i++)
					y[(t0 + t) * y_stride + r + i] = kernel_rescale(
					    (float)sums[t][i], w->scale, x->scale[t0 + t]);
		}
	}
}

static unsigned i2_s_code(const uint8_t *row, size_t c)
{
	return row[c / 128 * 32 + c % 32] >> (6 - 2 * (c % 128 / 32)) & 3;
}

static int pack_strips(const struct kernel_mat *w, size_t row0, size_t row1, uint8_t *out)
{
	unsigned three = 0;

	for (size_t r = row0; r < row1; r += STRIP_ROWS)
		for (size_t c = 0; c < w->cols; c += STRIP_COLS, out += STRIP_BLOCK)
			for (size_t b = 0; b < STRIP_BLOCK; b++) {
				const uint8_t *row = w->data + (r + b / 4) * w->row_bytes;
				unsigned v = 0;

				for (size_t at = c + b % 4; at < c + STRIP_COLS; at += 4) {
					unsigned code = at < w->cols ? i2_s_code(row, at) : 0;

					three |= code == 3;
					v = 3 * v + code;
				}
				out[b] = (uint8_t)v;
			}
	return three != 0;
}

void scalar_strips_init(struct kernels *k)
{
	k->mul_strips = mul_strips;
	k->pack_strips = pack_strips;
}
