/*
 * Products of float and block types: sixteen lanes a row, several rows and tokens at a time so that
 * inputs and weights are used more than once.
 */
#include "dense.h"

#define DENSE_THREADS (DENSE_GROUPS * DENSE_LANES)

/* Rows first .. of R rows a group of lanes, tokens from t0 on; R and T are constants. */
#define DENSE_RUN(name, R, T)                                                                      \
	DEVICE void name(const struct cuda_dense *a, uint32_t type)                                \
	{                                                                                          \
		uint32_t first = (BLOCK_X * DENSE_GROUPS + THREAD / DENSE_LANES) * R;              \
		uint32_t t0 = BLOCK_Y * T, lane = THREAD % DENSE_LANES;                            \
		float sum[R][T];                                                                   \
                                                                                                   \
		UNROLL                                                                             \
		for (uint32_t i = 0; i < R * T; i++)                                               \
			sum[i / T][i % T] = 0;                                                     \
		for (uint32_t c = lane; c < a->k; c += DENSE_LANES) {                              \
			float w[R];                                                                \
                                                                                                   \
			UNROLL                                                                     \
			for (uint32_t r = 0; r < R; r++)                                           \
				w[r] = values_at(type,                                             \
				                 a->w + (size_t)dense_at(first + r, a->rows) *     \
				                            a->row_bytes,                          \
				                 c);                                               \
			UNROLL                                                                     \
			for (uint32_t t = 0; t < T; t++) {                                         \
				float x = a->x[dense_at(t0 + t, a->n) * a->x_stride + c];          \
                                                                                                   \
				UNROLL                                                             \
				for (uint32_t r = 0; r < R; r++)                                   \
					sum[r][t] += w[r] * x;                                     \
			}                                                                          \
		}                                                                                  \
		UNROLL                                                                             \
		for (uint32_t r = 0; r < R; r++)                                                   \
			UNROLL                                                                     \
		for (uint32_t t = 0; t < T; t++)                                                   \
			dense_put(a, first + r, t0 + t, dense_sum(sum[r][t]));                     \
	}

/* What is not there is read as the last. */
DEVICE uint32_t dense_at(uint32_t i, uint32_t n)
{
	return i < n ? i : n - 1;
}

DEVICE void dense_put(const struct cuda_dense *a, uint32_t row, uint32_t t, float sum)
{
	float *y = a->y + t * a->y_stride + row;

	if (THREAD % DENSE_LANES || row >= a->rows || t >= a->n)
		return;
	if (a->then == CUDA_SUM)
		*y += sum * a->scale;
	else
		*y = sum * a->scale;
}

DENSE_RUN(dense_one, DENSE_ROWS, 1)
DENSE_RUN(dense_some, DENSE_SOME, DENSE_TOKENS)

KERNEL(cuda_dense, struct cuda_dense, DENSE_THREADS, 4)
{
	grid_next();
	grid_wait();
	if (a.type == DTYPE_F16)
		a.n == 1 ? dense_one(&a, DTYPE_F16) : dense_some(&a, DTYPE_F16);
	else if (a.type == DTYPE_BF16)
		a.n == 1 ? dense_one(&a, DTYPE_BF16) : dense_some(&a, DTYPE_BF16);
	else if (a.type == DTYPE_Q8_0)
		a.n == 1 ? dense_one(&a, DTYPE_Q8_0) : dense_some(&a, DTYPE_Q8_0);
	else if (a.type == DTYPE_Q6_K)
		a.n == 1 ? dense_one(&a, DTYPE_Q6_K) : dense_some(&a, DTYPE_Q6_K);
	else
		a.n == 1 ? dense_one(&a, a.type) : dense_some(&a, a.type);
}
