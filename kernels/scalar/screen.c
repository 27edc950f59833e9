/*
 * The screen of the output head (../screen.h): rows to 6 bits, and products of strips.
 */
#include "scalar.h"

#include <math.h>
#include <string.h>

#include "../screen.h"

static float largest(const float *w, size_t n)
{
	float max = 0;

	for (size_t i = 0; i < n; i++)
		max = fmaxf(max, fabsf(w[i]));
	return max;
}

static void screen_row(const float *w, size_t k, uint8_t *codes, uint8_t *factors, float *scale,
                       float lost[2], float *norm)
{
	float max = largest(w, k), s = max / (255.0f * SCREEN_MOST);
	float per_unit = max > 0 ? 255.0f / max : 0;
	double miss[16] = {0}, rough[16] = {0}, all[16] = {0};

	memset(codes, 32, screen_padded(k));
	for (size_t b = 0; b < k; b += SCREEN_BLOCK) {
		size_t end = b + SCREEN_BLOCK < k ? b + SCREEN_BLOCK : k;
		float m = screen_factor(largest(w + b, end - b), per_unit);
		float unit = s * m, inv = unit > 0 ? 1.0f / unit : 0;

		factors[b / SCREEN_BLOCK] = (uint8_t)m;
		for (size_t i = b; i < end; i++) {
			float n = (w[i] * inv + 12582912.0f) - 12582912.0f; /* to even */

			n = fminf(fmaxf(n, -SCREEN_MOST), SCREEN_MOST);
			float d = w[i] - n * unit;
			codes[i] = (uint8_t)(32 + (int)n);
			miss[i % 16] += (double)d * (double)d;
			int upper = (32 + (int)n) >> 1; /* the code without its last bit */
			d = w[i] - (2 * (float)upper - 31.5f) * unit;
			rough[i % 16] += (double)d * (double)d;
			all[i % 16] += (double)w[i] * (double)w[i];
		}
	}
	for (int step = 8; step; step /= 2)
		for (int l = 0; l < step; l++) {
			miss[l] += miss[l + step];
			rough[l] += rough[l + step];
			all[l] += all[l + step];
		}
	*scale = s;
	lost[0] = (float)sqrt(miss[0]);
	lost[1] = (float)sqrt(rough[0]);
	*norm = (float)sqrt(all[0]);
}

/* Row r of a strip. */
static float screen_dot(const uint8_t *strip, size_t r, size_t k, const struct kernel_screened *x)
{
	const uint8_t *factors = strip + screen_factors(k);
	float sum = 0;

	for (size_t b = 0; b < screen_blocks(k); b++) {
		int32_t t = 0;

		for (size_t i = b * SCREEN_BLOCK; i < (b + 1) * SCREEN_BLOCK; i++)
			t += (4 * screen_upper(strip, r, i) - 63) * (256 * x->high[i] + x->low[i]);
		sum = fmaf((float)t, (float)factors[b * SCREEN_ROWS + r], sum);
	}
	return sum;
}

static void screen_dots(const uint8_t *strips, size_t n, size_t k, const struct kernel_screened *x,
                        float *out)
{
	for (size_t r = 0; r < n * SCREEN_ROWS; r++)
		out[r] = screen_dot(strips + r / SCREEN_ROWS * screen_strip_bytes(k),
		                    r % SCREEN_ROWS, k, x);
}

static float screen_last(const uint8_t *last, size_t k, const struct kernel_screened *x)
{
	const uint8_t *factors = last + screen_bits(k);
	float sum[4] = {0};

	for (size_t b = 0; b < screen_blocks(k); b++) {
		int32_t t = 0;

		for (size_t i = b * SCREEN_BLOCK; i < (b + 1) * SCREEN_BLOCK; i++)
			t += (last[i / 8] >> i % 8 & 1 ? 1 : -1) * (256 * x->high[i] + x->low[i]);
		sum[b % 4] = fmaf((float)t, (float)factors[b], sum[b % 4]);
	}
	return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

void scalar_screen_init(struct kernels *k)
{
	k->screen_row = screen_row;
	k->screen_dots = screen_dots;
	k->screen_last = screen_last;
}
