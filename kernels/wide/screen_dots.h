/*
 * Products of the head's screen.  Included behind lanes.h and what multiplies a block:
 *
 *	upper(block, h, l, sum)  of a strip: 4 times the upper bits, less 63, times 256 h + l,
 *	                         added as integers, then float32 (v16, a lane per row)
 *	last_bits(last, h, l)    of a row: the sum of those whose bit is set (int32_t)
 */
#ifndef WIDE_SCREEN_DOTS_H
#define WIDE_SCREEN_DOTS_H

#include <math.h>

static inline v16 strip_dots(const uint8_t *strip, size_t k, const struct kernel_screened *x)
{
	const uint8_t *factors = strip + screen_factors(k);
	v16 sum = v16_zero();

	for (size_t b = 0, c = 0; b < screen_blocks(k); b++, c += SCREEN_BLOCK) {
		v16 dots =
		    upper(strip + b * SCREEN_BLOCK_BYTES, x->high + c, x->low + c, x->sum[b]);

		sum = v16_fma(dots, v16_u8(b16_load(factors + b * SCREEN_ROWS)), sum);
	}
	return sum;
}

static void screen_dots(const uint8_t *strips, size_t n, size_t k, const struct kernel_screened *x,
                        float *out)
{
	for (size_t i = 0; i < n; i++)
		v16_store(out + i * SCREEN_ROWS,
		          strip_dots(strips + i * screen_strip_bytes(k), k, x));
}

static float screen_last(const uint8_t *last, size_t k, const struct kernel_screened *x)
{
	const uint8_t *factors = last + screen_bits(k);
	float sum[4] = {0}; /* four, which wait less for each other */

	for (size_t b = 0, c = 0; b < screen_blocks(k); b++, c += SCREEN_BLOCK) {
		int32_t t = 2 * last_bits(last + 8 * b, x->high + c, x->low + c) - x->sum[b];

		sum[b % 4] = fmaf((float)t, (float)factors[b], sum[b % 4]);
	}
	return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

static void wide_screen_init(struct kernels *k)
{
	k->screen_dots = screen_dots;
	k->screen_last = screen_last;
}

#endif
