/*
 * The screen of the output head (lib/head.h): rows of 6 bits and their products.
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

static void screen_row(const float *w, size_t k, uint8_t *row, float *scale, float *lost,
                       float *norm)
{
	float max = largest(w, k), s = max / (255.0f * SCREEN_MOST);
	float per_unit = max > 0 ? 255.0f / max : 0;
	double miss[16] = {0}, all[16] = {0};
	uint8_t code[SCREEN_GROUP], *factor = row + screen_factors(k);

	memset(factor, 0, screen_row_bytes(k) - screen_factors(k));
	for (size_t g = 0; g < k; g += SCREEN_GROUP, row += SCREEN_GROUP_BYTES) {
		memset(code, 32, sizeof code);
		for (size_t b = g; b < k && b < g + SCREEN_GROUP; b += SCREEN_BLOCK) {
			size_t end = b + SCREEN_BLOCK < k ? b + SCREEN_BLOCK : k;
			float m = screen_factor(largest(w + b, end - b), per_unit);
			float unit = s * m, inv = unit > 0 ? 1.0f / unit : 0;

			factor[b / SCREEN_BLOCK] = (uint8_t)m;
			for (size_t i = b; i < end; i++) {
				float n = (w[i] * inv + 12582912.0f) - 12582912.0f; /* to even */

				n = fminf(fmaxf(n, -SCREEN_MOST), SCREEN_MOST);
				float d = w[i] - n * unit;
				code[i - g] = (uint8_t)(32 + (int)n);
				miss[i % 16] += (double)d * (double)d;
				all[i % 16] += (double)w[i] * (double)w[i];
			}
		}
		screen_pack(row, code);
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

static float screen_dot(const uint8_t *row, size_t k, const struct kernel_screened *x)
{
	const uint8_t *factor = row + screen_factors(k);
	float sum[16] = {0};

	for (size_t b = 0; b < screen_padded(k) / SCREEN_BLOCK; b++)
		for (size_t l = 0; l < 16; l++) {
			int32_t t = 0;

			for (size_t i = b * SCREEN_BLOCK + 4 * l, end = i + 4; i < end; i++)
				t += (screen_code(row, i) - 32) * (256 * x->high[i] + x->low[i]);
			sum[l] = fmaf((float)t, (float)factor[b], sum[l]);
		}
	for (int step = 8; step; step /= 2)
		for (int l = 0; l < step; l++)
			sum[l] += sum[l + step];
	return sum[0];
}

static void screen_dots(const uint8_t *rows, size_t n, size_t k, const struct kernel_screened *x,
                        float *out)
{
	for (size_t r = 0; r < n; r++)
		out[r] = screen_dot(rows + r * screen_row_bytes(k), k, x);
}

void scalar_screen_init(struct kernels *k)
{
	k->screen_row = screen_row;
	k->screen_dots = screen_dots;
}
