/*
 * The CUDA kernels on the host, where each thread of a block is a fiber (tests/cuda/emulate.h), and
 * the ways of weights to the device and back.
 */
#include "checks.h"

#include <stdlib.h>

#include "emulate.h"

static void *host_take(size_t bytes)
{
	return aligned_alloc(256, bytes);
}

static void host_copy(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

static int host_launch(const char *name, const struct cuda_shape *s, const void *args, size_t bytes)
{
	(void)bytes;
	if (!cuda_emulate(name, s->grid, s->block, s->shared, args))
		return 0;
	printf("# %s\n", emulate_why());
	return -1;
}

static const struct machine host = {host_take, free, host_copy, host_copy, host_launch};

/* ---- weights ---- */

/* A byte of base 3 as writers make it; there are others that read the same. */
static uint8_t base3(uint32_t v)
{
	return (uint8_t)((256 * v + 242) / 243);
}

/* Makes a row of random bytes one that a writer may have written. */
static void written(enum dtype t, uint8_t *row, size_t n)
{
	float d = 0.1f;

	for (size_t i = 0; i < n && (t == DTYPE_TQ1_0 || t == DTYPE_IQ1_BN); i++)
		row[i] = base3(row[i] % 243);
	for (size_t b = 0; t == DTYPE_TQ1_0 && b < n; b += 54) {
		for (size_t i = 48; i < 52; i++)
			row[b + i] = base3(any() % 81 * 3);
		memcpy(row + b + 52, "\x66\x2e", 2);
	}
	for (size_t b = 2; t == DTYPE_IQ1_BN && b < n; b += 13)
		row[b + 12] = base3(any() % 81);
	if (t == DTYPE_IQ1_BN)
		memcpy(row, "\x66\x2e", 2);
	if (t == DTYPE_IQ2_BN)
		memcpy(row, &d, 4);
}

static void round_trip(enum dtype t, int group, uint32_t rows, uint32_t cols)
{
	struct cuda_packing p;

	cuda_packing(&p, t, group, rows, cols, 0);
	size_t bytes = rows * p.row_bytes;
	uint8_t *data = malloc(bytes), *back = malloc(bytes), *packed = malloc(p.bytes);
	if (!data || !back || !packed)
		exit(2);
	random_rows(t, data, bytes);
	for (uint32_t r = 0; r < rows; r++)
		written(t, data + r * p.row_bytes, p.row_bytes);
	memset(back, 0, bytes);
	for (size_t b = 0; b < p.bands; b++) {
		uint8_t *codes = packed + b * p.band_bytes;
		float *d = p.row_d ? (float *)(void *)(packed + p.row_d) + 16 * b : NULL;
		uint16_t *block_d =
		    p.block_d ? (uint16_t *)(void *)(packed + p.block_d) + 16 * b * p.d_blocks
			      : NULL;

		cuda_pack(&p, b, data, codes, d, block_d);
		cuda_unpack(&p, b, back, codes, d, block_d);
	}
	CHECK(memcmp(data, back, bytes) == 0);
	free(data);
	free(back);
	free(packed);
}

static void weights_come_back_from_the_device_layout(void)
{
	round_trip(DTYPE_I2_S, 32, 37, 384);
	round_trip(DTYPE_I2_S, 16, 16, 192);
	round_trip(DTYPE_TQ2_0, 32, 5, 768);
	round_trip(DTYPE_TQ1_0, 32, 18, 512);
	round_trip(DTYPE_IQ2_BN, 32, 33, 64);
	round_trip(DTYPE_IQ1_BN, 32, 33, 320);
	CHECK(!cuda_packs(DTYPE_F16));
}

/* ---- kernels ---- */

static void threads_that_cannot_meet_are_reported(void)
{
	CHECK_INT(cuda_emulate("cuda_none", (uint32_t[]){1, 1, 1}, 32, 0, NULL), -1);
	CHECK_STR(emulate_why(), "cuda_none: no such kernel");
	CHECK_INT(cuda_emulate("cuda_norm", (uint32_t[]){1, 1, 1}, 33, 0, NULL), -1);
}

/* In any order of the threads: what lacks a barrier differs. */
static void in_orders(int (*check)(void))
{
	for (uint32_t order = 0; order < 3; order++) {
		emulate_order(order == 2 ? 12345 : order);
		CHECK_INT(check(), 0);
	}
	emulate_order(0);
}

#define KERNELS(what)                                                                              \
	static void what##_are_those_of_scalar(void)                                               \
	{                                                                                          \
		in_orders(check_##what);                                                           \
	}
KERNELS(products)
KERNELS(tokens)
KERNELS(dense)
KERNELS(attention)
KERNELS(prompts)
KERNELS(head)
KERNELS(probes)

int main(void)
{
	machine = &host;
	RUN(weights_come_back_from_the_device_layout);
	RUN(threads_that_cannot_meet_are_reported);
	if (getenv("VALGRIND")) {
		SKIP(kernels_are_those_of_scalar, "the emulation takes minutes under valgrind");
		return unit_end();
	}
	RUN(products_are_those_of_scalar);
	RUN(tokens_are_those_of_scalar);
	RUN(dense_are_those_of_scalar);
	RUN(attention_are_those_of_scalar);
	RUN(prompts_are_those_of_scalar);
	RUN(head_are_those_of_scalar);
	RUN(probes_are_those_of_scalar);
	return unit_end();
}
