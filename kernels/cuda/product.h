/*
 * What the products of ternary matrices have in common: pairs of bands, and from integer sums to
 * outputs.
 */
#ifndef CUDA_PRODUCT_H
#define CUDA_PRODUCT_H

#include "numbers.h"

/* One output: the sum of code * input over a row, less that of the inputs, is the dot product. */
DEVICE float product_value(const struct cuda_part *p, uint32_t row, int32_t codes, int32_t inputs,
                           struct pair factor)
{
	float acc = (float)(codes - inputs);

	if (p->row_d)
		acc *= p->row_d[row];
	return rescale(acc, factor);
}

DEVICE void product_put(uint32_t then, float *y, float value)
{
	if (then == CUDA_SUM)
		*y += value;
	else
		*y = value;
}

/* The part by number, without indexing the parameters at run time; the first for none. */
DEVICE struct cuda_part product_part(const struct cuda_product *a, uint32_t n)
{
	if (n == 1)
		return a->part[1];
	return n == 2 ? a->part[2] : a->part[0];
}

/* Where a band begins; one that is not there is read as the first. */
DEVICE const uint8_t *product_codes(const struct cuda_product *a, struct layout_band b)
{
	size_t bytes = (size_t)layout_tiles(a->k) * TILE_BYTES;

	if (b.part == LAYOUT_NONE)
		return a->part[0].codes;
	return product_part(a, b.part).codes + b.band * bytes;
}

/* Field s of the codes in w. */
DEVICE uint32_t product_field(uint32_t w, uint32_t s)
{
	return w >> 2 * s & 0x03030303u;
}

#endif
