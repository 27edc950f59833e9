/*
 * Products of the head's screen, row by row, for sets that do not keep factors as floats.  Included
 * behind lanes.h and what adds one block: block 0..3 of a group and the values at i, times factor:
 *
 *	v16 add_block(v16 sum, const uint8_t *group, int block, const struct kernel_screened *x,
 *	              size_t i, uint8_t factor)
 */
#ifndef WIDE_SCREEN_DOTS_H
#define WIDE_SCREEN_DOTS_H

static inline v16 add_group(v16 sum, const uint8_t *group, const struct kernel_screened *x,
                            size_t i, const uint8_t *factor)
{
	sum = add_block(sum, group, 0, x, i, factor[0]);
	sum = add_block(sum, group, 1, x, i + 64, factor[1]);
	sum = add_block(sum, group, 2, x, i + 128, factor[2]);
	return add_block(sum, group, 3, x, i + 192, factor[3]);
}

static void screen_dots(const uint8_t *rows, size_t n, size_t k, const struct kernel_screened *x,
                        float *out)
{
	for (size_t r = 0; r < n; r++, rows += screen_row_bytes(k)) {
		const uint8_t *factors = rows + screen_factors(k);
		v16 sum = v16_zero();

		for (size_t g = 0; g < screen_padded(k) / SCREEN_GROUP; g++)
			sum = add_group(sum, rows + g * SCREEN_GROUP_BYTES, x, g * SCREEN_GROUP,
			                factors + 4 * g);
		out[r] = v16_sum(sum);
	}
}

#endif
