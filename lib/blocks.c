/* Block types: one function writes one block; the loops are at the end. */
#include "blocks.h"

#include <math.h>
#include <string.h>

#include "half.h"
#include "kernels.h"

/* Scale and minimum of sub-block j of Q4_K: 6 bits each, packed in 12 bytes. */
static void put_k_scales(uint8_t *s, int j, int sc, int m)
{
	if (j < 4) {
		s[j] = (uint8_t)(s[j] | sc);
		s[j + 4] = (uint8_t)(s[j + 4] | m);
	} else {
		s[j + 4] = (uint8_t)((sc & 15) | (m & 15) << 4);
		s[j - 4] = (uint8_t)(s[j - 4] | sc >> 4 << 6);
		s[j] = (uint8_t)(s[j] | m >> 4 << 6);
	}
}

/* Rounded to the nearest integer, ties to even, by adding 1.5 * 2^23: what is behind the point
 * falls off.  x must be a number. */
static int nearest(float x, float low, float high)
{
	float above = x > low ? x : low, in = above < high ? above : high;

	return (int)((in + 0x1.8p23f) - 0x1.8p23f);
}

/* The value of largest magnitude, with its sign. */
static float extreme(const float *x, int n)
{
	float best = 0;

	for (int i = 0; i < n; i++)
		if (fabsf(x[i]) > fabsf(best))
			best = x[i];
	return best;
}

/* 0 where 1 / d is infinite: no product with it is NaN. */
static float inverse(float d)
{
	return fabsf(d) > 0x1p-126f ? 1 / d : 0;
}

/* An F16 scale that is infinite would make the block one of NaN: the largest finite one is kept. */
static uint16_t put_scale(uint8_t *y, float d)
{
	uint16_t h = half_from_f32(d);

	if ((h & 0x7fffu) == 0x7c00u)
		h--;
	half_put(y, h);
	return h;
}

static void put_q8_0(uint8_t *y, const float *x)
{
	float id = inverse(half_to_f32(put_scale(y, fabsf(extreme(x, 32)) / 127)));

	for (int i = 0; i < 32; i++)
		y[2 + i] = (uint8_t)nearest(x[i] * id, -127, 127);
}

static void put_q4_0(uint8_t *y, const float *x)
{
	float id = inverse(half_to_f32(put_scale(y, extreme(x, 32) / -8)));

	for (int i = 0; i < 16; i++)
		y[2 + i] = (uint8_t)((nearest(x[i] * id, -8, 7) + 8) |
		                     (nearest(x[i + 16] * id, -8, 7) + 8) << 4);
}

/* Four values side by side: the searches below try many scales. */
typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_mask __attribute__((vector_size(16)));

static quad quad_pick(quad_mask m, quad yes, quad no)
{
	return (quad)(((quad_mask)yes & m) | ((quad_mask)no & ~m));
}

static quad quad_nearest(quad x, float low, float high)
{
	const quad shift = {0x1.8p23f, 0x1.8p23f, 0x1.8p23f, 0x1.8p23f};
	quad lows = {low, low, low, low}, highs = {high, high, high, high};

	x = quad_pick(x < lows, lows, x);
	x = quad_pick(x > highs, highs, x);
	return (x + shift) - shift;
}

static float quad_sum(quad v)
{
	return (v[0] + v[1]) + (v[2] + v[3]);
}

/* The scale d for which 16 values are nearest to d * (-32..31): least squares for the codes that a
 * few starting scales give. */
static float fit_q6(const float *x)
{
	float most = extreme(x, 16), by = inverse(most), best_d = 0, best_gain = -1;
	quad v[4];

	if (by == 0)
		return 0;
	memcpy(v, x, sizeof v);
	for (int k = -4; k <= 4; k++) {
		float id = (-32 + 0.25f * (float)k) * by, xq, qq;
		quad ids = {id, id, id, id}, xqs = {0}, qqs = {0};

		for (int i = 0; i < 4; i++) {
			quad q = quad_nearest(v[i] * ids, -32, 31);

			xqs += v[i] * q;
			qqs += q * q;
		}
		xq = quad_sum(xqs);
		qq = quad_sum(qqs);
		/* The squared error of the best scale xq / qq is sum(x^2) - xq^2 / qq. */
		if (qq > 0 && xq * xq > best_gain * qq) {
			best_gain = xq * xq / qq;
			best_d = xq / qq;
		}
	}
	return best_d;
}

static void put_q6_k(uint8_t *y, const float *x)
{
	float sub[16], most;
	int8_t *sc = (int8_t *)y + 192;

	memset(y, 0, 210);
	for (int s = 0; s < 16; s++)
		sub[s] = fit_q6(x + 16 * s);
	most = extreme(sub, 16);
	float d = half_to_f32(put_scale(y + 208, most / -128)), id = inverse(d);
	for (int s = 0; s < 16; s++) {
		sc[s] = (int8_t)nearest(sub[s] * id, -128, 127);
		sub[s] = inverse(d * (float)sc[s]);
	}
	for (int i = 0; i < 256; i++) {
		int n = i / 128, l = i % 32, quarter = i / 32 % 4;
		int code = nearest(x[i] * sub[i / 16], -32, 31) + 32;
		uint8_t *low = y + 64 * n + l + (quarter & 1) * 32, *high = y + 128 + 32 * n + l;

		*low = (uint8_t)(*low | (code & 15) << quarter / 2 * 4);
		*high = (uint8_t)(*high | code >> 4 << 2 * quarter);
	}
}

/* Scale and minimum (>= 0, subtracted) of 32 values in 16 steps, fitted by turns: codes for the
 * line, then the line for the codes. */
static void fit_q4(const float *x, float *scale, float *min)
{
	float lo = 0, hi = 0;

	for (int i = 0; i < 32; i++) {
		lo = x[i] < lo ? x[i] : lo;
		hi = x[i] > hi ? x[i] : hi;
	}
	*scale = (hi - lo) / 15;
	*min = -lo;
	for (int turn = 0; turn < 4 && *scale > 0; turn++) {
		float by = inverse(*scale);
		quad bys = {by, by, by, by}, add = {*min, *min, *min, *min};
		quad q1s = {0}, q2s = {0}, x1s = {0}, xqs = {0};

		for (int i = 0; i < 32; i += 4) {
			quad v;

			memcpy(&v, x + i, sizeof v);
			quad q = quad_nearest((v + add) * bys, 0, 15);
			q1s += q;
			q2s += q * q;
			x1s += v;
			xqs += v * q;
		}
		double n = 32, q1 = (double)quad_sum(q1s), q2 = (double)quad_sum(q2s),
		       x1 = (double)quad_sum(x1s), xq = (double)quad_sum(xqs);
		double det = n * q2 - q1 * q1;
		if (det <= 0)
			return;
		double s = (n * xq - q1 * x1) / det, m = (q1 * xq - q2 * x1) / det;
		if (m < 0) { /* a minimum above zero cannot be stored */
			m = 0;
			s = xq / q2;
		}
		if (s <= 0)
			return;
		*scale = (float)s;
		*min = (float)m;
	}
}

static void put_q4_k(uint8_t *y, const float *x)
{
	float scale[8], min[8];

	memset(y, 0, 144);
	for (int j = 0; j < 8; j++)
		fit_q4(x + 32 * j, scale + j, min + j);
	float d = half_to_f32(put_scale(y, extreme(scale, 8) / 63));
	float dmin = half_to_f32(put_scale(y + 2, extreme(min, 8) / 63));
	for (int j = 0; j < 8; j++) {
		int sc = nearest(scale[j] * inverse(d), 0, 63),
		    m = nearest(min[j] * inverse(dmin), 0, 63);
		float s = inverse(d * (float)sc), lo = dmin * (float)m;

		put_k_scales(y + 4, j, sc, m);
		for (int i = 0; i < 32; i++) {
			int code = nearest((x[32 * j + i] + lo) * s, 0, 15);
			uint8_t *q = y + 16 + j / 2 * 32 + i;

			*q = (uint8_t)(*q | code << j % 2 * 4);
		}
	}
}

typedef void put_block(uint8_t *y, const float *x);

static put_block *const put[DTYPE_COUNT] = {
    [DTYPE_Q8_0] = put_q8_0,
    [DTYPE_Q4_0] = put_q4_0,
    [DTYPE_Q6_K] = put_q6_k,
    [DTYPE_Q4_K] = put_q4_k,
};

static int is_float(enum dtype t)
{
	return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16;
}

/* Reading is what kernels do too; plain C is exact on every machine. */
static void (*reader(enum dtype type))(float *, const uint8_t *, size_t)
{
	return dtype_get(type)->ternary ? NULL : kernels_get("scalar")->dequantize[type];
}

int blocks_readable(enum dtype type)
{
	return type == DTYPE_F64 || reader(type) != NULL;
}

int blocks_writable(enum dtype type)
{
	return is_float(type) || put[type];
}

static void read_f64(float *y, const uint8_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double d;

		memcpy(&d, x + 8 * i, sizeof d);
		y[i] = (float)d;
	}
}

void blocks_read(enum dtype type, float *y, const uint8_t *x, size_t n)
{
	if (type == DTYPE_F16)
		half_read_f16(y, x, n);
	else if (type == DTYPE_BF16)
		half_read_bf16(y, x, n);
	else if (type == DTYPE_F64)
		read_f64(y, x, n);
	else
		reader(type)(y, x, n);
}

void blocks_write(enum dtype type, uint8_t *y, const float *x, size_t n)
{
	const struct dtype_info *d = dtype_get(type);

	if (type == DTYPE_F32)
		memcpy(y, x, 4 * n);
	else if (type == DTYPE_F16)
		half_write_f16(y, x, n);
	else if (type == DTYPE_BF16)
		half_write_bf16(y, x, n);
	else
		for (size_t i = 0; i < n; i += d->block, y += d->block_bytes)
			put[type](y, x + i);
}
