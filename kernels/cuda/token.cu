/*
 * What is done to whole tokens: embedding, norms, activations, sums.
 */
#include "norm.h"
#include "values.h"

KERNEL(cuda_embed, struct cuda_embed, 256, 1)
{
	uint32_t t = BLOCK_X;
	const uint8_t *row;
	float *x = a.x + t * a.x_stride;
	double pos;

	grid_next();
	grid_wait();
	row = a.w + (size_t)a.ids[t] * a.row_bytes;
	for (uint32_t i = THREAD; i < a.k; i += 256)
		x[i] = values_any(a.type, row, i) * a.scale;
	pos = (double)a.pos[t] / a.factor;
	for (uint32_t j = THREAD; j < a.half; j += 256) {
		double angle = pos * a.freq[j];

		if (a.divisor)
			angle /= (double)a.divisor[j];
		a.cosine[t * a.half + j] = (float)cos(angle);
		a.sine[t * a.half + j] = (float)sin(angle);
	}
}

KERNEL(cuda_norm, struct cuda_norm, NORM_THREADS, 4)
{
	SHARED(struct norm_space, space, 1);
	uint32_t t = BLOCK_X;
	struct norm_input in = {a.x + t * a.x_stride, a.norm, a.k, a.eps};
	struct pair inverse = {1, 0};
	float scale;

	grid_next();
	grid_wait();
	if (a.norm)
		inverse = norm_inverse(&in, space);
	/* y may be x: what is read again is read by the thread that wrote it */
	if (a.y && (a.norm || a.y != a.x)) {
		for (uint32_t i = 4 * THREAD; i < a.k; i += 4 * NORM_THREADS) {
			struct four v = norm_values(&in, i, inverse);

			UNROLL
			for (uint32_t j = 0; j < 4; j++)
				if (i + j < a.k)
					a.y[t * a.y_stride + i + j] = v.v[j];
		}
		in.x = a.y + t * a.y_stride;
		in.w = NULL;
	}
	if (!a.q)
		return;
	scale = norm_scale(&in, inverse, space);
	norm_round(&in, inverse, scale, (uint32_t)a.q_stride, (uint32_t *)(a.q + t * a.q_stride),
	           space);
	block_sync();
	if (THREAD == 0) {
		a.q_scale[t] = scale;
		a.q_sum[t] = norm_sum(space);
	}
}

KERNEL(cuda_act, struct cuda_act, 256, 1)
{
	uint32_t i = BLOCK_X * 256 + THREAD, t = BLOCK_Y;
	float *g = a.g + t * a.g_stride + i;

	grid_next();
	grid_wait();
	if (i >= a.k)
		return;
	if (a.then == CUDA_SUM)
		*g += a.u[t * a.u_stride + i];
	else
		*g = act_float(a.then, *g, a.u[t * a.u_stride + i]);
}

KERNEL(cuda_widen, struct cuda_widen, 256, 1)
{
	uint32_t i = BLOCK_X * 256 + THREAD, r = BLOCK_Y;

	grid_next();
	grid_wait();
	for (; r < a.rows; r += 65535) /* the most that a grid has in y */
		if (i < a.k)
			a.y[r * a.y_stride + i] =
			    values_any(a.type, a.w + r * a.row_bytes, i) * a.scale;
}
