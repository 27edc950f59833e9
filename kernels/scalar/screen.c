/*
 * The screen of the output head (lib/head.h): rows as int8 and their integer products.
 */
#include "scalar.h"

#include <math.h>

static void screen_row(const float *w, size_t k, int8_t *q, float *scale, float *lost, float *norm)
{
	float max = 0;
	double miss[16] = {0}, all[16] = {0};

	for (size_t i = 0; i < k; i++)
		max = fmaxf(max, fabsf(w[i]));
	float s = max / 127.0f, inv = max > 0 ? 127.0f / max : 0;
	for (size_t i = 0; i < k; i++) {
		float n = (w[i] * inv + 12582912.0f) - 12582912.0f; /* to nearest even */
		float d = w[i] - n * s;

		q[i] = (int8_t)n;
		miss[i % 16] += (double)d * (double)d;
		all[i % 16] += (double)w[i] * (double)w[i];
	}
	for (int step = 8; step; step /= 2)
		for (int l = 0; l < step; l++) {
			miss[l] += miss[l + step];
			all[l] += all[l + step];
		}
	*scale = s;
	*lost = (float)sqrt(miss[0]);
	*norm = (float)sqrt(all[0]);
}

static void screen_dots(const int8_t *rows, size_t stride, size_t n, const int8_t *x, int32_t *out)
{
	for (size_t r = 0; r < n; r++, rows += stride) {
		int32_t high = 0, low = 0;

		for (size_t i = 0; i < stride; i++) {
			high += rows[i] * x[i];
			low += rows[i] * x[stride + i];
		}
		out[2 * r] = high;
		out[2 * r + 1] = low;
	}
}

void scalar_screen_init(struct kernels *k)
{
	k->screen_row = screen_row;
	k->screen_dots = screen_dots;
}
