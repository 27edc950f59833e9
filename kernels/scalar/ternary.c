/*
 * Products of ternary rows with int8 activations.
 *
 * A row is a sequence of blocks with a scale d each.  Blocks with d = 0 count for nothing;
 * neighbours with the same d form a run (in files made from ternary weights that is the whole row),
 * and a run is summed in integers.  So
 *
 *	y = kernel_rescale(sum over runs, ascending, of (float)(integer dot of the run) * d, ...)
 *
 * where I2_S has d = 1 everywhere.  A code is taken for the number code - 1 even where it is 3.
 * Exact while a run has fewer than 2^23 columns.
 */
#include "scalar.h"

#include <string.h>

#include "../load.h"

/* Blocks of a row: values each, bytes each, how codes are unpacked to -1..2, where d lies. */
struct layout {
	size_t values, bytes;
	void (*unpack)(int8_t *q, const uint8_t *block);
	size_t d_at; /* offset of the binary16 d in a block */
	enum { D_NONE, D_BLOCK, D_ROW_F16, D_ROW_F32 } d;
	size_t prefix; /* bytes in front of the row */
};

static void unpack_i2_s(int8_t *q, const uint8_t *b)
{
	for (size_t l = 0; l < 4; l++)
		for (size_t i = 0; i < 32; i++)
			q[32 * l + i] = (int8_t)((b[i] >> (6 - 2 * l) & 3) - 1);
}

static void unpack_tq2_0(int8_t *q, const uint8_t *b)
{
	for (size_t h = 0; h < 2; h++)
		for (size_t l = 0; l < 4; l++)
			for (size_t i = 0; i < 32; i++)
				q[128 * h + 32 * l + i] =
				    (int8_t)((b[32 * h + i] >> 2 * l & 3) - 1);
}

/* digits base-3 digits of each of n bytes, the first one n values apart from the second. */
static void unpack_base3(int8_t *q, const uint8_t *b, size_t n, size_t digits)
{
	for (size_t i = 0; i < n; i++) {
		unsigned v = b[i];

		for (size_t k = 0; k < digits; k++) {
			q[n * k + i] = (int8_t)((int)(v * 3 >> 8) - 1);
			v = v * 3 & 255;
		}
	}
}

static void unpack_tq1_0(int8_t *q, const uint8_t *b)
{
	unpack_base3(q, b, 32, 5);
	unpack_base3(q + 160, b + 32, 16, 5);
	unpack_base3(q + 240, b + 48, 4, 4);
}

static void unpack_iq2_bn(int8_t *q, const uint8_t *b)
{
	for (size_t l = 0; l < 4; l++)
		for (size_t i = 0; i < 16; i++)
			q[16 * l + i] = (int8_t)((b[i] >> 2 * l & 3) - 1);
}

/* Digit j of a byte whose first element is the least significant one. */
static int8_t low_first(uint8_t b, size_t j)
{
	static const uint8_t power[5] = {81, 27, 9, 3, 1};

	return (int8_t)(((uint8_t)(b * power[j]) * 3 >> 8) - 1);
}

static void unpack_iq1_bn(int8_t *q, const uint8_t *b)
{
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < 15; k++)
			q[16 * i + k] = low_first(b[3 * i + k / 5], k % 5);
		q[16 * i + 15] = low_first(b[12], i);
	}
}

static const struct layout i2_s = {128, 32, unpack_i2_s, 0, D_NONE, 0};
static const struct layout tq1_0 = {256, 54, unpack_tq1_0, 52, D_BLOCK, 0};
static const struct layout tq2_0 = {256, 66, unpack_tq2_0, 64, D_BLOCK, 0};
static const struct layout iq1_bn = {64, 13, unpack_iq1_bn, 0, D_ROW_F16, 2};
static const struct layout iq2_bn = {64, 16, unpack_iq2_bn, 0, D_ROW_F32, 4};

static const struct layout *layout_of(enum dtype t)
{
	switch (t) {
	case DTYPE_TQ1_0:
		return &tq1_0;
	case DTYPE_TQ2_0:
		return &tq2_0;
	case DTYPE_IQ1_BN:
		return &iq1_bn;
	case DTYPE_IQ2_BN:
		return &iq2_bn;
	default:
		return &i2_s;
	}
}

static float row_d(const struct layout *l, const uint8_t *row)
{
	if (l->d == D_ROW_F16)
		return load_f16(row);
	if (l->d == D_ROW_F32)
		return half_bits_f32(load_u32(row));
	return 1.0f;
}

static int32_t dot(const int8_t *a, const int8_t *b, size_t n)
{
	int32_t s = 0;

	for (size_t i = 0; i < n; i++)
		s += a[i] * b[i];
	return s;
}

/* Tokens that one pass over a row serves. */
#define TOKENS 32

struct sums {
	int32_t run[TOKENS];
	float acc[TOKENS];
	float d; /* of the run */
};

static void end_run(struct sums *s, size_t n)
{
	for (size_t t = 0; t < n; t++) {
		s->acc[t] += (float)s->run[t] * s->d;
		s->run[t] = 0;
	}
}

static void one_row(const struct layout *l, const uint8_t *row, const struct kernel_input *x,
                    size_t t0, size_t n, struct sums *s)
{
	const uint8_t *block = row + l->prefix;
	int8_t q[256];

	memset(s, 0, sizeof *s);
	s->d = row_d(l, row);
	for (size_t c = 0; c < x->k; c += l->values, block += l->bytes) {
		if (l->d == D_BLOCK) {
			float d = load_f16(block + l->d_at);

			if (d == 0.0f)
				continue;
			if (half_f32_bits(d) != half_f32_bits(s->d))
				end_run(s, n);
			s->d = d;
		}
		l->unpack(q, block);
		for (size_t t = 0; t < n; t++)
			s->run[t] += dot(q, x->q + (t0 + t) * x->stride + c, l->values);
	}
	end_run(s, n);
}

void scalar_mul_ternary(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                        size_t row1, float *y, size_t y_stride, void *scratch)
{
	const struct layout *l = layout_of(w->type);
	struct sums s;

	(void)scratch;
	for (size_t t0 = 0; t0 < x->n; t0 += TOKENS) {
		size_t n = x->n - t0 < TOKENS ? x->n - t0 : TOKENS;

		for (size_t r = row0; r < row1; r++) {
			one_row(l, w->data + r * w->row_bytes, x, t0, n, &s);
			for (size_t t = 0; t < n; t++)
				y[(t0 + t) * y_stride + r] =
				    kernel_rescale(s.acc[t], w->scale, x->scale[t0 + t]);
		}
	}
}

static void values(const struct layout *l, float *y, const uint8_t *row, size_t k)
{
	const uint8_t *block = row + l->prefix;
	float d = row_d(l, row);
	int8_t q[256];

	for (size_t c = 0; c < k; c += l->values, block += l->bytes) {
		if (l->d == D_BLOCK)
			d = load_f16(block + l->d_at);
		l->unpack(q, block);
		for (size_t i = 0; i < l->values; i++)
			y[c + i] = (float)q[i] * d;
	}
}

static void values_i2_s(float *y, const uint8_t *row, size_t k)
{
	values(&i2_s, y, row, k);
}

static void values_tq1_0(float *y, const uint8_t *row, size_t k)
{
	values(&tq1_0, y, row, k);
}

static void values_tq2_0(float *y, const uint8_t *row, size_t k)
{
	values(&tq2_0, y, row, k);
}

static void values_iq1_bn(float *y, const uint8_t *row, size_t k)
{
	values(&iq1_bn, y, row, k);
}

static void values_iq2_bn(float *y, const uint8_t *row, size_t k)
{
	values(&iq2_bn, y, row, k);
}

void scalar_ternary_init(struct kernels *k)
{
	static const enum dtype types[] = {DTYPE_I2_S, DTYPE_TQ1_0, DTYPE_TQ2_0, DTYPE_IQ1_BN,
	                                   DTYPE_IQ2_BN};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		k->mul[types[i]] = scalar_mul_ternary;
	k->dequantize[DTYPE_I2_S] = values_i2_s;
	k->dequantize[DTYPE_TQ1_0] = values_tq1_0;
	k->dequantize[DTYPE_TQ2_0] = values_tq2_0;
	k->dequantize[DTYPE_IQ1_BN] = values_iq1_bn;
	k->dequantize[DTYPE_IQ2_BN] = values_iq2_bn;
}
