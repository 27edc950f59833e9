/*
 * What is done to one vector of activations.  Sums of squares are exact products added in
 * float64 in 16 lanes; everything else is element by element.
 */
#include "scalar.h"

#include <math.h>

#include "../load.h"

float scalar_exp(float x)
{
	if (!(x >= -87.0f))
		return 0.0f;
	x = x < 88.0f ? x : 88.0f;
	/* adding 1.5 * 2^23 rounds to an integer; ln 2 in two parts, the first one short */
	float n = (x * 0x1.715476p0f + 12582912.0f) - 12582912.0f;
	float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
	float p = 0x1.6c16c2p-10f; /* Taylor: 1/720, 1/120, ...: |r| <= 0.35 */
	p = p * r + 0x1.111112p-7f;
	p = p * r + 0x1.555556p-5f;
	p = p * r + 0x1.555556p-3f;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	return p * half_bits_f32((uint32_t)((int32_t)n + 127) << 23);
}

static double sum16(double lane[16])
{
	for (int step = 8; step; step /= 2)
		for (int l = 0; l < step; l++)
			lane[l] += lane[l + step];
	return lane[0];
}

static void rms_norm(float *y, const float *x, const float *w, size_t n, float eps)
{
	double lane[16] = {0};

	for (size_t i = 0; i < n; i++)
		lane[i % 16] += (double)x[i] * (double)x[i];
	double inv = 1.0 / sqrt(sum16(lane) / (double)n + (double)eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)x[i] * inv * (double)w[i]);
}

static void rotate(float *a, float *b, float cos, float sin)
{
	float x = *a, y = *b;

	*a = x * cos - y * sin;
	*b = x * sin + y * cos;
}

static void rope(float *x, const float *cos, const float *sin, size_t half, int neox)
{
	for (size_t j = 0; j < half; j++) {
		if (neox)
			rotate(&x[j], &x[j + half], cos[j], sin[j]);
		else
			rotate(&x[2 * j], &x[2 * j + 1], cos[j], sin[j]);
	}
}

static void add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void relu2_mul(float *g, const float *u, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float v = g[i] > 0 ? g[i] : 0.0f;

		g[i] = v * v * u[i];
	}
}

static void silu_mul(float *g, const float *u, size_t n)
{
	for (size_t i = 0; i < n; i++)
		g[i] = g[i] / (1.0f + scalar_exp(-g[i])) * u[i];
}

void scalar_vector_init(struct kernels *k)
{
	k->rms_norm = rms_norm;
	k->rope = rope;
	k->add = add;
	k->relu2_mul = relu2_mul;
	k->silu_mul = silu_mul;
}
