/*
 * Layouts whose scales lie among the codes: blocks (TQ1_0, TQ2_0, Q2_0, PTQ1_0) and rows (IQ1_BN,
 * IQ2_BN).  Base-3 bytes hold five digits as a fraction of 256 (ceil(256 v / 243)), so that
 * multiplying by 3 brings the next digit out at the top.
 */
#include "ternary_codec.h"

#include <math.h>
#include <string.h>

#include "half.h"

static int bad_scale(const struct ternary *t, uint64_t row, uint64_t group, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "%s: row %llu, scale %llu is not finite",
	               ternary_name(t->kind), (unsigned long long)row, (unsigned long long)group);
}

static int any(const int8_t *q, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (q[i])
			return 1;
	return 0;
}

static uint8_t base3(int v)
{
	return (uint8_t)((v * 256 + 242) / 243);
}

/* What one block of a layout is to the loops below: its bytes, where its scale lies, its codes. */
struct block {
	unsigned cols, bytes, scale_at;
	int (*get)(int8_t *q, const uint8_t *x,
	           unsigned cols); /* -1, or the column of a bad code */
	void (*put)(uint8_t *y, const int8_t *q, unsigned cols);
};

static int unpack_blocks(const struct block *b, const struct ternary *t, uint64_t row, uint64_t n,
                         const uint8_t *x, int8_t *q, float *scales, struct err *e)
{
	uint64_t per_row = t->cols / b->cols;

	for (uint64_t i = 0; i < n * per_row; i++, x += b->bytes, q += b->cols) {
		float d = half_to_f32(half_get(x + b->scale_at));
		int bad = b->get(q, x, b->cols);

		if (!isfinite(d))
			return bad_scale(t, row + i / per_row, i % per_row, e);
		if (bad >= 0)
			return ternary_bad_code(t, row + i / per_row,
			                        i % per_row * b->cols + (uint64_t)bad, 3, e);
		if (d == 0)
			memset(q, 0, b->cols);
		if (scales)
			scales[i] = d;
	}
	return 0;
}

static void pack_blocks(const struct block *b, const struct ternary *t, uint64_t n, const int8_t *q,
                        const float *scales, uint8_t *y)
{
	uint64_t blocks = n * (t->cols / b->cols);

	for (uint64_t i = 0; i < blocks; i++, y += b->bytes, q += b->cols) {
		b->put(y, q, b->cols);
		half_put(y + b->scale_at, any(q, b->cols) ? half_from_f32(scales[i]) : 0);
	}
}

/* `digits` digits of `bytes` bytes: byte m, digit k is element stride * k + m. */
static void get_digits(int8_t *q, const uint8_t *x, int bytes, int digits, int stride)
{
	for (int m = 0; m < bytes; m++) {
		unsigned v = x[m];

		for (int k = 0; k < digits; k++, v = v * 3 & 255)
			q[stride * k + m] = (int8_t)((int)(v * 3 >> 8) - 1);
	}
}

static void put_digits(uint8_t *y, const int8_t *q, int bytes, int digits, int stride)
{
	for (int m = 0; m < bytes; m++) {
		int v = 0;

		for (int k = 0; k < 5; k++)
			v = v * 3 + (k < digits ? q[stride * k + m] + 1 : 0);
		y[m] = base3(v);
	}
}

static int get_tq1(int8_t *q, const uint8_t *x, unsigned cols)
{
	(void)cols;
	get_digits(q, x, 32, 5, 32);
	get_digits(q + 160, x + 32, 16, 5, 16);
	get_digits(q + 240, x + 48, 4, 4, 4);
	return -1;
}

static void put_tq1(uint8_t *y, const int8_t *q, unsigned cols)
{
	(void)cols;
	put_digits(y, q, 32, 5, 32);
	put_digits(y + 32, q + 160, 16, 5, 16);
	put_digits(y + 48, q + 240, 4, 4, 4);
}

static int get_ptq1(int8_t *q, const uint8_t *x, unsigned cols)
{
	(void)cols;
	get_digits(q, x, 16, 5, 16);
	get_digits(q + 80, x + 16, 8, 5, 8);
	get_digits(q + 120, x + 24, 2, 4, 2);
	return -1;
}

static void put_ptq1(uint8_t *y, const int8_t *q, unsigned cols)
{
	(void)cols;
	put_digits(y, q, 16, 5, 16);
	put_digits(y + 16, q + 80, 8, 5, 8);
	put_digits(y + 24, q + 120, 2, 4, 2);
}

/* The first column of q whose code is 3, or -1. */
static int first_bad(const int8_t *q, unsigned cols, int bad)
{
	const int8_t *at = bad ? memchr(q, 2, cols) : NULL;

	return at ? (int)(at - q) : -1;
}

static int get_tq2(int8_t *q, const uint8_t *x, unsigned cols)
{
	int bad = 0;

	for (int h = 0; h < 2; h++)
		for (int l = 0; l < 4; l++)
			for (int m = 0; m < 32; m++) {
				int c = x[32 * h + m] >> 2 * l & 3;

				bad |= c == 3;
				q[128 * h + 32 * l + m] = (int8_t)(c - 1);
			}
	return first_bad(q, cols, bad);
}

static void put_tq2(uint8_t *y, const int8_t *q, unsigned cols)
{
	(void)cols;
	for (int h = 0; h < 2; h++, q += 128, y += 32)
		for (int m = 0; m < 32; m++)
			y[m] = (uint8_t)((q[m] + 1) | (q[m + 32] + 1) << 2 | (q[m + 64] + 1) << 4 |
			                 (q[m + 96] + 1) << 6);
}

static int get_q2(int8_t *q, const uint8_t *x, unsigned cols)
{
	int bad = 0;

	for (unsigned j = 0; j < cols; j++) {
		int c = x[2 + j / 4] >> 2 * (j % 4) & 3;

		bad |= c == 3;
		q[j] = (int8_t)(c - 1);
	}
	return first_bad(q, cols, bad);
}

static void put_q2(uint8_t *y, const int8_t *q, unsigned cols)
{
	for (unsigned j = 0; j < cols / 4; j++, q += 4)
		y[2 + j] =
		    (uint8_t)((q[0] + 1) | (q[1] + 1) << 2 | (q[2] + 1) << 4 | (q[3] + 1) << 6);
}

static const struct block tq1 = {256, 54, 52, get_tq1, put_tq1};
static const struct block tq2 = {256, 66, 64, get_tq2, put_tq2};
static const struct block ptq1 = {128, 28, 26, get_ptq1, put_ptq1};
static const struct block q2_64 = {64, 18, 0, get_q2, put_q2};
static const struct block q2_128 = {128, 34, 0, get_q2, put_q2};

int ternary_unpack_tq1(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	return unpack_blocks(&tq1, t, row, n, in[0], q, scales, e);
}

void ternary_pack_tq1(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	(void)row;
	pack_blocks(&tq1, t, n, q, scales, out[0]);
}

int ternary_unpack_tq2(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	return unpack_blocks(&tq2, t, row, n, in[0], q, scales, e);
}

void ternary_pack_tq2(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	(void)row;
	pack_blocks(&tq2, t, n, q, scales, out[0]);
}

int ternary_unpack_ptq1(const struct ternary *t, uint64_t row, uint64_t n,
                        const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                        struct err *e)
{
	return unpack_blocks(&ptq1, t, row, n, in[0], q, scales, e);
}

void ternary_pack_ptq1(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                       const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	(void)row;
	pack_blocks(&ptq1, t, n, q, scales, out[0]);
}

static const struct block *q2_block(const struct ternary *t)
{
	return t->kind == TERNARY_Q2_0 ? &q2_64 : &q2_128;
}

int ternary_unpack_q2(const struct ternary *t, uint64_t row, uint64_t n,
                      const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                      struct err *e)
{
	return unpack_blocks(q2_block(t), t, row, n, in[0], q, scales, e);
}

void ternary_pack_q2(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                     const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	(void)row;
	pack_blocks(q2_block(t), t, n, q, scales, out[0]);
}

/* 64 codes of IQ1_BN in 13 bytes: 5 digits each, the first one least significant; every sixteenth
 * code goes to the last byte. */
static void get_iq1(int8_t *q, const uint8_t *x)
{
	static const uint8_t bring[5] = {81, 27, 9, 3, 1};

	for (int i = 0; i < 4; i++, q += 16) {
		for (int j = 0; j < 15; j++)
			q[j] = (int8_t)(((x[3 * i + j / 5] * bring[j % 5] & 255) * 3 >> 8) - 1);
		q[15] = (int8_t)(((x[12] * bring[i] & 255) * 3 >> 8) - 1);
	}
}

static void put_iq1(uint8_t *y, const int8_t *q)
{
	static const int weight[5] = {1, 3, 9, 27, 81};
	int extra = 0;

	for (int i = 0; i < 4; i++, q += 16) {
		for (int k = 0; k < 3; k++) {
			int v = 0;

			for (int j = 0; j < 5; j++)
				v += (q[5 * k + j] + 1) * weight[j];
			y[3 * i + k] = base3(v);
		}
		extra += (q[15] + 1) * weight[i];
	}
	y[12] = base3(extra);
}

static int get_iq2(int8_t *q, const uint8_t *x)
{
	int bad = 0;

	for (int j = 0; j < 64; j++) {
		int c = x[j % 16] >> 2 * (j / 16) & 3;

		bad |= c == 3;
		q[j] = (int8_t)(c - 1);
	}
	return bad;
}

static void put_iq2(uint8_t *y, const int8_t *q)
{
	for (int j = 0; j < 16; j++)
		y[j] = (uint8_t)((q[j] + 1) | (q[j + 16] + 1) << 2 | (q[j + 32] + 1) << 4 |
		                 (q[j + 48] + 1) << 6);
}

/* A row without scale is one of zeros; the formats hold the code 2 there (|x| < 0 is never true).
 */
static const int8_t *zero_row(void)
{
	static const int8_t plus[64] = {
	    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	};

	return plus;
}

static int row_done(const struct ternary *t, uint64_t row, uint64_t i, float d, int8_t *q, int bad,
                    float *scales, struct err *e)
{
	if (!isfinite(d))
		return bad_scale(t, row + i, 0, e);
	if (bad)
		return ternary_bad_code(
		    t, row + i, (uint64_t)((int8_t *)memchr(q, 2, (size_t)t->cols) - q), 3, e);
	if (d == 0)
		memset(q, 0, (size_t)t->cols);
	if (scales)
		scales[i] = d;
	return 0;
}

int ternary_unpack_iq1(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	const uint8_t *x = in[0];

	for (uint64_t i = 0; i < n; i++, q += t->cols) {
		float d = half_to_f32(half_get(x));

		x += 2;
		for (uint64_t c = 0; c < t->cols; c += 64, x += 13)
			get_iq1(q + c, x);
		if (row_done(t, row, i, d, q, 0, scales, e))
			return -1;
	}
	return 0;
}

void ternary_pack_iq1(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	uint8_t *y = out[0];

	(void)row;
	for (uint64_t i = 0; i < n; i++, q += t->cols) {
		int has = any(q, t->cols);

		half_put(y, has ? half_from_f32(scales[i]) : 0);
		y += 2;
		for (uint64_t c = 0; c < t->cols; c += 64, y += 13)
			put_iq1(y, has ? q + c : zero_row());
	}
}

int ternary_unpack_iq2(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	const uint8_t *x = in[0];

	for (uint64_t i = 0; i < n; i++, q += t->cols) {
		float d;
		int bad = 0;

		memcpy(&d, x, sizeof d);
		x += sizeof d;
		for (uint64_t c = 0; c < t->cols; c += 64, x += 16)
			bad |= get_iq2(q + c, x);
		if (row_done(t, row, i, d, q, bad, scales, e))
			return -1;
	}
	return 0;
}

void ternary_pack_iq2(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	uint8_t *y = out[0];

	(void)row;
	for (uint64_t i = 0; i < n; i++, q += t->cols) {
		int has = any(q, t->cols);
		float d = has ? scales[i] : 0;

		memcpy(y, &d, sizeof d);
		y += sizeof d;
		for (uint64_t c = 0; c < t->cols; c += 64, y += 16)
			put_iq2(y, has ? q + c : zero_row());
	}
}

/* Bits 2t + 1 : 2t of byte 16 l + 4 k + i of a block of four rows are bits 2l + 1 : 2l of byte i +
 * 4t of row k's own 16 bytes: the code of column 16 l + 4 t + i. */
static int get_r4(int8_t *q, uint64_t stride, const uint8_t *x)
{
	int bad = 0;

	for (int j = 0; j < 256; j++) {
		int l = j / 64, k = j / 16 % 4, tt = j / 4 % 4, i = j % 4;
		int c = x[16 * l + 4 * k + i] >> 2 * tt & 3;

		bad |= c == 3;
		q[(uint64_t)k * stride + (uint64_t)(16 * l + 4 * tt + i)] = (int8_t)(c - 1);
	}
	return bad;
}

static void put_r4(uint8_t *y, const int8_t *const q[4])
{
	memset(y, 0, 64);
	for (int j = 0; j < 256; j++) {
		int l = j / 64, k = j / 16 % 4, tt = j / 4 % 4, i = j % 4;

		y[16 * l + 4 * k + i] =
		    (uint8_t)(y[16 * l + 4 * k + i] | (q[k][16 * l + 4 * tt + i] + 1) << 2 * tt);
	}
}

int ternary_unpack_iq2_r4(const struct ternary *t, uint64_t row, uint64_t n,
                          const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                          struct err *e)
{
	const uint8_t *x = in[0];

	for (uint64_t i = 0; i < n; i += 4, q += 4 * t->cols) {
		float d[4];
		int bad = 0;

		memcpy(d, x, sizeof d);
		x += sizeof d;
		for (uint64_t c = 0; c < t->cols; c += 64, x += 64)
			bad |= get_r4(q + c, t->cols, x);
		for (uint64_t k = 0; k < 4; k++) {
			int8_t *qk = q + k * t->cols;
			int here = bad && memchr(qk, 2, (size_t)t->cols);

			if (row_done(t, row, i + k, d[k], qk, here, scales, e))
				return -1;
		}
	}
	return 0;
}

void ternary_pack_iq2_r4(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                         const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	uint8_t *y = out[0];

	(void)row;
	for (uint64_t i = 0; i < n; i += 4, q += 4 * t->cols) {
		float d[4];
		int has[4];

		for (uint64_t k = 0; k < 4; k++) {
			has[k] = any(q + k * t->cols, t->cols);
			d[k] = has[k] ? scales[i + k] : 0;
		}
		memcpy(y, d, sizeof d);
		y += sizeof d;
		for (uint64_t c = 0; c < t->cols; c += 64, y += 64) {
			const int8_t *rows[4];

			for (uint64_t k = 0; k < 4; k++)
				rows[k] = has[k] ? q + k * t->cols + c : zero_row();
			put_r4(y, rows);
		}
	}
}
