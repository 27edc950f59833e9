/*
 * RMS norm and rounding to int8 by one block of NORM_THREADS, of one token.
 */
#ifndef CUDA_NORM_H
#define CUDA_NORM_H

#include "numbers.h"

#define NORM_THREADS 256u
#define NORM_WARPS   (NORM_THREADS / 32u)

struct norm_space {
	struct pair square[NORM_WARPS];
	float max[NORM_WARPS];
	int32_t sum[NORM_WARPS];
};

/* The input of a norm: x (k), 16-byte aligned, and w (k) or NULL. */
struct norm_input {
	const float *x, *w;
	uint32_t k;
	float eps;
};

struct four {
	float v[4];
};

/* Values i..i + 3 of p, zeros from k on. */
DEVICE struct four four_load(const float *p, uint32_t i, uint32_t k)
{
	struct four f;

	if (i + 4 <= k) {
		struct words w = load_words(p + i);

		UNROLL
		for (uint32_t j = 0; j < 4; j++)
			f.v[j] = bits_float(w.w[j]);
		return f;
	}
	UNROLL
	for (uint32_t j = 0; j < 4; j++)
		f.v[j] = i + j < k ? p[i + j] : 0.0f;
	return f;
}

/* 1 / sqrt(mean of squares + eps), for all threads. */
DEVICE struct pair norm_inverse(const struct norm_input *in, struct norm_space *s)
{
	struct pair sum = {0, 0};

	for (uint32_t i = 4 * THREAD; i < in->k; i += 4 * NORM_THREADS) {
		struct four x = four_load(in->x, i, in->k);

		UNROLL
		for (uint32_t j = 0; j < 4; j++)
			sum = pair_add_square(sum, x.v[j]);
	}
	UNROLL
	for (int step = 16; step; step /= 2)
		sum = pair_add(sum, warp_xor_f32(sum.hi, step), warp_xor_f32(sum.lo, step));
	if (LANE == 0)
		s->square[WARP] = sum;
	block_sync();
	sum = s->square[0];
	UNROLL
	for (uint32_t w = 1; w < NORM_WARPS; w++)
		sum = pair_add(sum, s->square[w].hi, s->square[w].lo);
	sum = pair_times(sum, pair_quotient(1.0f, (float)in->k));
	return pair_inverse_root(pair_add(sum, in->eps, 0));
}

DEVICE struct four norm_values(const struct norm_input *in, uint32_t i, struct pair inverse)
{
	struct four x = four_load(in->x, i, in->k);

	if (in->w) {
		struct four w = four_load(in->w, i, in->k);

		UNROLL
		for (uint32_t j = 0; j < 4; j++)
			x.v[j] = pair_scale(x.v[j], w.v[j], inverse);
	}
	return x;
}

/* 127 / max|value|, for all threads. */
DEVICE float norm_scale(const struct norm_input *in, struct pair inverse, struct norm_space *s)
{
	float max = 0;

	for (uint32_t i = 4 * THREAD; i < in->k; i += 4 * NORM_THREADS) {
		struct four y = norm_values(in, i, inverse);

		UNROLL
		for (uint32_t j = 0; j < 4; j++)
			max = fmaxf(max, fabsf(y.v[j]));
	}
	UNROLL
	for (int step = 16; step; step /= 2)
		max = fmaxf(max, warp_xor_f32(max, step));
	if (LANE == 0)
		s->max[WARP] = max;
	block_sync();
	UNROLL
	for (uint32_t w = 0; w < NORM_WARPS; w++)
		max = fmaxf(max, s->max[w]);
	/* the floor of the rule is the double 1e-5; a quotient of floats is the same by way of
	 * float64 */
	return max > 1e-5f ? 127.0f / max : 127.0e5f;
}

/* Writes words of q, zeros up to `padded` columns; *sum: of all, valid for all threads after their
 * next block_sync when they add up s->sum.  y: (k) or NULL. */
DEVICE void norm_round(const struct norm_input *in, struct pair inverse, float scale,
                       uint32_t padded, uint32_t *q, struct norm_space *s)
{
	int32_t sum = 0;

	for (uint32_t i = 4 * THREAD; i < padded; i += 4 * NORM_THREADS) {
		struct four y = norm_values(in, i, inverse);
		uint32_t word = 0;

		UNROLL
		for (uint32_t j = 0; j < 4; j++) {
			float v = rintf(y.v[j] * scale);
			int32_t n = (int32_t)(v > 127.0f ? 127.0f : v < -128.0f ? -128.0f : v);

			sum += n;
			word |= ((uint32_t)n & 255u) << 8 * j;
		}
		q[i / 4] = word;
	}
	UNROLL
	for (int step = 16; step; step /= 2)
		sum += warp_xor_i32(sum, step);
	if (LANE == 0)
		s->sum[WARP] = sum;
}

DEVICE int32_t norm_sum(const struct norm_space *s)
{
	int32_t sum = 0;

	UNROLL
	for (uint32_t w = 0; w < NORM_WARPS; w++)
		sum += s->sum[w];
	return sum;
}

#endif
