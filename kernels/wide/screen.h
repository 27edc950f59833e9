/*
 * Rows of the output head to int8, with what is lost: scalar/screen.c in 16 lanes.
 * Included by a set's wide.c behind its lanes.h.
 */
#ifndef WIDE_SCREEN_H
#define WIDE_SCREEN_H

#include <math.h>

#include "../kernels.h"
#include "vector.h"

static void screen_row(const float *w, size_t k, int8_t *q, float *scale, float *lost, float *norm)
{
	float max = largest_abs(w, k), s = max / 127.0f, inv = max > 0 ? 127.0f / max : 0;
	v16 magic = v16_set(12582912.0f);
	w16 miss = w16_zero(), all = w16_zero();

	for (size_t i = 0; i < k; i += 16) {
		v16 x = i + 16 <= k ? v16_load(w + i) : v16_load_n(w + i, k - i);
		v16 n = v16_sub(v16_add(v16_mul(x, v16_set(inv)), magic), magic);

		b16_store(q + i, i16_to_i8(i16_round(n)));
		miss = w16_add_square(miss, v16_sub(x, v16_mul(n, v16_set(s))));
		all = w16_add_square(all, x);
	}
	*scale = s;
	*lost = (float)sqrt(w16_sum(miss));
	*norm = (float)sqrt(w16_sum(all));
}

#endif
