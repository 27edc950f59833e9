/* What the device gives at best: a copy, and int8 products without memory. */
#include "grid.h"

KERNEL(cuda_probe_copy, struct cuda_probe, 256, 1)
{
	uint64_t step = (uint64_t)BLOCKS_X * 256 * 4, n = a.bytes / 16;

	for (uint64_t i = (uint64_t)BLOCK_X * 1024 + THREAD; i < n; i += step) {
		struct words w[4];

		UNROLL
		for (uint32_t j = 0; j < 4; j++)
			if (i + 256 * j < n)
				w[j] = load_once(a.from + (i + 256 * j) * 16);
		UNROLL
		for (uint32_t j = 0; j < 4; j++)
			if (i + 256 * j < n)
				store_words(a.to + (i + 256 * j) * 16, w[j]);
	}
}

#define PROBE_FLIGHT 8u /* products that do not wait for each other */

KERNEL(cuda_probe_int8, struct cuda_probe, 256, 1)
{
	int32_t c[PROBE_FLIGHT][4], sum = 0;
	uint32_t w[4] = {THREAD, THREAD + 1, THREAD + 2, THREAD + 3};

	UNROLL
	for (uint32_t i = 0; i < 4 * PROBE_FLIGHT; i++)
		c[i / 4][i % 4] = 0;
	UNROLL_ONCE
	for (uint32_t r = 0; r < a.rounds; r++) {
		UNROLL
		for (uint32_t i = 0; i < PROBE_FLIGHT; i++)
			mma_us(c[i], w, w[0] + i, w[1]);
	}
	UNROLL
	for (uint32_t i = 0; i < 4 * PROBE_FLIGHT; i++)
		sum ^= c[i / 4][i % 4];
	UNROLL
	for (int step = 16; step; step /= 2)
		sum ^= warp_xor_i32(sum, step);
	if (THREAD == 0)
		a.sink[BLOCK_X] = sum;
}
