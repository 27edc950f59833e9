/*
 * Rows of the output head to 6 bits, with what is lost: scalar/screen.c in 16 lanes.
 * Included by a set's wide.c behind its lanes.h.
 */
#ifndef WIDE_SCREEN_H
#define WIDE_SCREEN_H

#include <math.h>

#include "../kernels.h"
#include "../screen.h"
#include "vector.h"

struct losses {
	w16 miss, rough, all;
};

/* At most SCREEN_BLOCK values to codes. */
static inline void screen_block(uint8_t *code, const float *w, size_t n, float unit,
                                struct losses *l)
{
	v16 inv = v16_set(unit > 0 ? 1.0f / unit : 0), magic = v16_set(12582912.0f);
	v16 most = v16_set(SCREEN_MOST), least = v16_set(-SCREEN_MOST);

	for (size_t i = 0; i < n; i += 16) {
		v16 x = i + 16 <= n ? v16_load(w + i) : v16_load_n(w + i, n - i);
		v16 q = v16_sub(v16_add(v16_mul(x, inv), magic), magic);

		q = v16_min(v16_max(q, least), most);
		b16_store(code + i, i16_to_i8(i16_round(v16_add(q, v16_set(32)))));
		l->miss = w16_add_square(l->miss, v16_sub(x, v16_mul(q, v16_set(unit))));
		/* with the last bit of the code, 32 + q, counted as a half */
		q = v16_sub(v16_mul(v16_add(q, v16_set(32)), v16_set(0.5f)), v16_set(0.25f));
		q = v16_sub(v16_add(q, magic), magic);
		q = v16_sub(v16_add(q, q), v16_set(31.5f));
		q = v16_sub(x, v16_mul(q, v16_set(unit)));
		if (i + 16 > n)
			q = v16_between(q, 0, n - i, v16_zero());
		l->rough = w16_add_square(l->rough, q);
		l->all = w16_add_square(l->all, x);
	}
}

static void screen_row(const float *w, size_t k, uint8_t *codes, uint8_t *factors, float *scale,
                       float lost[2], float *norm)
{
	float max = largest_abs(w, k), s = max / (255.0f * SCREEN_MOST);
	float per_unit = max > 0 ? 255.0f / max : 0;
	struct losses l = {w16_zero(), w16_zero(), w16_zero()};

	for (size_t b = 0; b < k; b += SCREEN_BLOCK) {
		size_t n = b + SCREEN_BLOCK < k ? SCREEN_BLOCK : k - b;
		float m = screen_factor(largest_abs(w + b, n), per_unit);

		factors[b / SCREEN_BLOCK] = (uint8_t)m;
		screen_block(codes + b, w + b, n, s * m, &l);
	}
	memset(codes + k, 32, screen_padded(k) - k);
	*scale = s;
	lost[0] = (float)sqrt(w16_sum(l.miss));
	lost[1] = (float)sqrt(w16_sum(l.rough));
	*norm = (float)sqrt(w16_sum(l.all));
}

#endif
