/*
 * Products of float and block types for many tokens, on tensor cores: blocks of 64 rows and 64
 * tokens.  Inputs, scaled by a power of two for each token, are split in two binary16 numbers,
 * weights too where they are not F16: sums are right to about 2^-20 of the largest product.
 */
#include "values.h"

#define MANY_STEP   32u /* columns at a time */
#define MANY_STRIDE (MANY_STEP + 8u)
/* Weights are made this much larger, so that what is missing to them is no subnormal number; below
 * 1024 they fit. */
#define MANY_SCALE 64.0f

struct many_space {
	uint32_t w[2][MANY_ROWS * MANY_STRIDE / 2]; /* high and low parts, two columns a word */
	uint32_t x[2][MANY_TOKENS * MANY_STRIDE / 2];
	float scale[MANY_TOKENS]; /* of inputs: a power of two */
};

DEVICE void many_split(float a, float b, uint32_t *high, uint32_t *low)
{
	uint16_t ha = float_half(a), hb = float_half(b);

	*high = (uint32_t)ha | (uint32_t)hb << 16;
	*low = (uint32_t)float_half(a - half_float(ha)) | (uint32_t)float_half(b - half_float(hb))
	                                                      << 16;
}

/* For each token a power of two by which its values come to lie below 2. */
DEVICE void many_scales(const struct cuda_dense *a, uint32_t t0, struct many_space *s)
{
	for (uint32_t t = WARP; t < MANY_TOKENS; t += MANY_THREADS / 32) {
		const float *x = a->x + (size_t)(t0 + t) * a->x_stride;
		float max = 0;

		for (uint32_t c = LANE; t0 + t < a->n && c < a->k; c += 32)
			max = fmaxf(max, fabsf(x[c]));
		UNROLL
		for (int step = 16; step; step /= 2)
			max = fmaxf(max, warp_xor_f32(max, step));
		/* 2^-exponent, where neither it nor its inverse is subnormal */
		uint32_t e = float_bits(max) >> 23;
		e = e < 2 ? 2 : e > 252 ? 252 : e;
		if (LANE == 0)
			s->scale[t] = bits_float((254 - e) << 23);
	}
}

DEVICE void many_fetch(const struct cuda_dense *a, uint32_t type, uint32_t r0, uint32_t t0,
                       uint32_t c0, struct many_space *s)
{
	float large = type == DTYPE_F16 ? 1.0f : MANY_SCALE;

	UNROLL
	for (uint32_t i = THREAD; i < MANY_ROWS * MANY_STEP / 2; i += MANY_THREADS) {
		uint32_t r = i / (MANY_STEP / 2), c = i % (MANY_STEP / 2) * 2;
		uint32_t at = (r * MANY_STRIDE + c) / 2;
		const uint8_t *row = a->w + (size_t)(r0 + r) * a->row_bytes;
		int there = r0 + r < a->rows;
		float one = there && c0 + c < a->k ? values_at(type, row, c0 + c) : 0.0f;
		float two = there && c0 + c + 1 < a->k ? values_at(type, row, c0 + c + 1) : 0.0f;

		many_split(one * large, two * large, &s->w[0][at], &s->w[1][at]);
	}
	UNROLL
	for (uint32_t i = THREAD; i < MANY_TOKENS * MANY_STEP / 2; i += MANY_THREADS) {
		uint32_t t = i / (MANY_STEP / 2), c = i % (MANY_STEP / 2) * 2;
		uint32_t at = (t * MANY_STRIDE + c) / 2;
		const float *x = a->x + (size_t)(t0 + t) * a->x_stride + c0 + c;
		int there = t0 + t < a->n;

		many_split(there && c0 + c < a->k ? x[0] * s->scale[t] : 0.0f,
		           there && c0 + c + 1 < a->k ? x[1] * s->scale[t] : 0.0f, &s->x[0][at],
		           &s->x[1][at]);
	}
}

/* This warp's 32 rows and 32 tokens. */
DEVICE void many_step(uint32_t type, const struct many_space *s, uint32_t rows, uint32_t tokens,
                      float c[2][4][4])
{
	uint32_t g = LANE / 4, t = LANE % 4;

	UNROLL
	for (uint32_t k = 0; k < MANY_STEP; k += 16) {
		uint32_t w[2][2][4];

		UNROLL
		for (uint32_t i = 0; i < 16; i++) {
			uint32_t part = i / 8, m = i / 4 % 2, r = i % 4;

			w[part][m][r] =
			    s->w[part][((rows + 16 * m + g + 8 * (r % 2)) * MANY_STRIDE + k +
			                8 * (r / 2)) /
			                   2 +
			               t];
		}
		UNROLL
		for (uint32_t n = 0; n < 4; n++) {
			uint32_t at = ((tokens + 8 * n + g) * MANY_STRIDE + k) / 2 + t;

			UNROLL
			for (uint32_t m = 0; m < 2; m++) {
				mma_half(c[m][n], w[0][m], s->x[1][at], s->x[1][at + 4]);
				if (type != DTYPE_F16)
					mma_half(c[m][n], w[1][m], s->x[0][at], s->x[0][at + 4]);
				mma_half(c[m][n], w[0][m], s->x[0][at], s->x[0][at + 4]);
			}
		}
	}
}

DEVICE void many_run(const struct cuda_dense *a, uint32_t type, struct many_space *s)
{
	uint32_t r0 = BLOCK_X * MANY_ROWS, t0 = BLOCK_Y * MANY_TOKENS;
	uint32_t rows = WARP % 2 * 32, tokens = WARP / 2 * 32;
	float c[2][4][4], scale = a->scale / (type == DTYPE_F16 ? 1.0f : MANY_SCALE);

	UNROLL
	for (uint32_t i = 0; i < 32; i++)
		c[i / 16][i / 4 % 4][i % 4] = 0;
	many_scales(a, t0, s);
	for (uint32_t k = 0; k < a->k; k += MANY_STEP) {
		block_sync();
		many_fetch(a, type, r0, t0, k, s);
		block_sync();
		many_step(type, s, rows, tokens, c);
	}
	UNROLL
	for (uint32_t i = 0; i < 32; i++) {
		uint32_t m = i / 16, n = i / 4 % 4, r = i % 4;
		uint32_t row = r0 + rows + 16 * m + LANE / 4 + 8 * (r / 2);
		uint32_t t = tokens + 8 * n + LANE % 4 * 2 + r % 2;
		float *y = a->y + (size_t)(t0 + t) * a->y_stride + row;

		if (row >= a->rows || t0 + t >= a->n)
			continue;
		float value = c[m][n][r] * scale / s->scale[t];
		*y = a->then == CUDA_SUM ? *y + value : value;
	}
}

KERNEL(cuda_dense_many, struct cuda_dense, MANY_THREADS, 4)
{
	SHARED(struct many_space, s, 1);

	grid_next();
	grid_wait();
	if (a.type == DTYPE_F16)
		many_run(&a, DTYPE_F16, s);
	else if (a.type == DTYPE_BF16)
		many_run(&a, DTYPE_BF16, s);
	else
		many_run(&a, a.type, s);
}
