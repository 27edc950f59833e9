/*
 * Dot products of float and block types in the order of kernels/scalar: column c belongs to lane
 * c mod 16, lanes add rounded products in ascending order, then lane l + 8, + 4, + 2, + 1.  Sixteen
 * threads are those lanes.
 */
#ifndef CUDA_DENSE_H
#define CUDA_DENSE_H

#include "values.h"

/* The lanes' sums, for all of them. */
DEVICE float dense_sum(float lane)
{
	UNROLL
	for (int step = 8; step; step /= 2)
		lane += warp_xor_f32(lane, step);
	return lane;
}

/* This lane's share of one row and one input. */
DEVICE float dense_lane(uint32_t type, const uint8_t *row, const float *x, uint32_t k)
{
	float sum = 0;

	for (uint32_t c = LANE % DENSE_LANES; c < k; c += DENSE_LANES)
		sum += values_at(type, row, c) * x[c];
	return sum;
}

#endif
