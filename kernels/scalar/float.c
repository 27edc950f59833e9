/*
 * Products of float and block types with float32 activations.
 *
 * Columns are dealt to 16 lanes, c to lane c mod 16; each lane adds its rounded products in
 * ascending order, starting from 0; the lanes are added as scalar_sum16 says; the sum is
 * multiplied by w.scale.  All sets follow this order, so that they agree in every bit.
 */
#include "scalar.h"

#include <string.h>

float scalar_sum16(float lane[16])
{
	for (int step = 8; step; step /= 2)
		for (int l = 0; l < step; l++)
			lane[l] += lane[l + step];
	return lane[0];
}

/* Columns decoded at a time: a multiple of every block. */
#define CHUNK  256
#define TOKENS 16

static void one_row(const struct kernel_mat *w, size_t row, const struct kernel_input *x, size_t t0,
                    size_t n, const struct kernels *k, float lanes[TOKENS][16])
{
	const struct dtype_info *type = dtype_get(w->type);
	const uint8_t *p = w->data + row * w->row_bytes;
	float v[CHUNK];

	memset(lanes, 0, TOKENS * sizeof *lanes);
	for (size_t c = 0; c < x->k; c += CHUNK, p += CHUNK / type->block * type->block_bytes) {
		size_t m = x->k - c < CHUNK ? x->k - c : CHUNK;

		k->dequantize[w->type](v, p, m);
		for (size_t t = 0; t < n; t++) {
			const float *f = x->f + (t0 + t) * x->stride + c;

			for (size_t i = 0; i < m; i++)
				lanes[t][i % 16] += v[i] * f[i];
		}
	}
}

static void mul(const struct kernel_mat *w, const struct kernel_input *x, size_t row0, size_t row1,
                float *y, size_t y_stride, void *scratch)
{
	struct kernels k = {0};
	float lanes[TOKENS][16];

	(void)scratch;
	scalar_decode_init(&k);
	for (size_t t0 = 0; t0 < x->n; t0 += TOKENS) {
		size_t n = x->n - t0 < TOKENS ? x->n - t0 : TOKENS;

		for (size_t r = row0; r < row1; r++) {
			one_row(w, r, x, t0, n, &k, lanes);
			for (size_t t = 0; t < n; t++)
				y[(t0 + t) * y_stride + r] = scalar_sum16(lanes[t]) * w->scale;
		}
	}
}

void scalar_float_init(struct kernels *k)
{
	static const enum dtype types[] = {DTYPE_F32,    DTYPE_F16,      DTYPE_BF16, DTYPE_Q8_0,
	                                   DTYPE_Q4_0,   DTYPE_Q4_1,     DTYPE_Q5_0, DTYPE_Q5_1,
	                                   DTYPE_IQ4_NL, DTYPE_Q4_K,     DTYPE_Q5_K, DTYPE_Q6_K,
	                                   DTYPE_Q2_0,   DTYPE_Q2_0_G128};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		k->mul[types[i]] = mul;
}
