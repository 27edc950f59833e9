/*
 * The machine of kernels/cuda/grid.h on the host: the kernels compiled as C, each thread of a block
 * a fiber, blocks one after the other.  A warp runs until all of it waits for its block, so what
 * lacks a barrier shows: emulate_order turns the order of warps and lanes around.
 */
#ifndef EMULATE_H
#define EMULATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <math.h>

#include "cuda/layout.h"
#include "half.h"

/* Runs the kernel called name for a grid of blocks.  0; -1 when there is no such kernel, or when
 * threads wait for each other in ways that would hang or are undefined; emulate_why tells. */
int cuda_emulate(const char *name, const uint32_t grid[3], uint32_t block, uint32_t shared,
                 const void *args);
const char *emulate_why(void);

/* 0: warps, and lanes in them, in ascending order, the default; 1: descending; else shuffled by
 * seed. */
void emulate_order(uint32_t seed);

/* ---- what grid.h wants ---- */

#define DEVICE static inline __attribute__((always_inline, unused))
#define UNROLL
#define UNROLL_ONCE

#define KERNEL(name, type, threads, blocks)                                                        \
	static void name(const type a);                                                            \
	void emulate_##name(const void *args);                                                     \
	void emulate_##name(const void *args)                                                      \
	{                                                                                          \
		name(*(const type *)args);                                                         \
	}                                                                                          \
	static void name(const type a)
#define SHARED(type, name, n) static type name[n]
#define SHARED_ALL(name)      uint8_t *const name = emulate_shared

extern uint8_t *emulate_shared;
extern uint32_t emulate_thread, emulate_threads, emulate_block[3], emulate_blocks[3];

#define THREAD   emulate_thread
#define THREADS  emulate_threads
#define BLOCK_X  emulate_block[0]
#define BLOCK_Y  emulate_block[1]
#define BLOCK_Z  emulate_block[2]
#define BLOCKS_X emulate_blocks[0]

/* Words that the lanes of this thread's warp see of each other: each passes n <= 8, and gets all
 * (32, 8) of them; valid until its next call but one. */
typedef const uint32_t emulate_seen[8];
emulate_seen *emulate_exchange(const uint32_t *words, int n);
void block_sync(void);
void warp_sync(void);

DEVICE float bits_float(uint32_t u)
{
	return half_bits_f32(u);
}

DEVICE uint32_t float_bits(float f)
{
	return half_f32_bits(f);
}

DEVICE int32_t warp_from_i32(int32_t v, int from)
{
	return (int32_t)emulate_exchange((const uint32_t *)&v, 1)[from][0];
}

DEVICE int32_t warp_xor_i32(int32_t v, int mask)
{
	uint32_t lane = emulate_thread % 32;

	return (int32_t)emulate_exchange((const uint32_t *)&v, 1)[lane ^ (uint32_t)mask][0];
}

DEVICE float warp_xor_f32(float v, int mask)
{
	return bits_float((uint32_t)warp_xor_i32((int32_t)float_bits(v), mask));
}

DEVICE int warp_any(int v)
{
	uint32_t u = v != 0, any = 0;
	emulate_seen *all = emulate_exchange(&u, 1);

	for (int l = 0; l < 32; l++)
		any |= all[l][0];
	return any != 0;
}

DEVICE void grid_wait(void)
{
}

DEVICE void grid_next(void)
{
}

DEVICE struct words load_words(const void *p)
{
	struct words v;

	/* as the device does, which knows no other addresses */
	if ((uintptr_t)p % 16)
		__builtin_trap();
	memcpy(&v, p, sizeof v);
	return v;
}

DEVICE struct words load_once(const void *p)
{
	return load_words(p);
}

DEVICE void store_words(void *p, struct words v)
{
	if ((uintptr_t)p % 16)
		__builtin_trap();
	memcpy(p, &v, sizeof v);
}

/* At once: what reads too early is seen by the order of the threads only. */
DEVICE void copy_start(void *to, const void *from, int there)
{
	static const struct words none;

	store_words(to, there ? load_words(from) : none);
}

DEVICE void copies_close(void)
{
}

#define copies_wait(left) ((void)0)

DEVICE int32_t emulate_byte(uint32_t v, int i, int is_signed)
{
	uint8_t b = (uint8_t)(v >> 8 * i);

	return is_signed ? (int32_t)(int8_t)b : (int32_t)b;
}

DEVICE int32_t emulate_dot4(uint32_t a, uint32_t b, int32_t c, int is_signed)
{
	for (int i = 0; i < 4; i++)
		c += emulate_byte(a, i, is_signed) * emulate_byte(b, i, 1);
	return c;
}

DEVICE int32_t dot4_us(uint32_t a, uint32_t b, int32_t c)
{
	return emulate_dot4(a, b, c, 0);
}

DEVICE int32_t dot4_ss(uint32_t a, uint32_t b, int32_t c)
{
	return emulate_dot4(a, b, c, 1);
}

/* The lanes that hold row `row` of a and column `column` of b are 4 row and 4 column onwards. */
DEVICE void emulate_mma(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1, int is_signed)
{
	uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1}, lane = emulate_thread % 32;
	emulate_seen *all = emulate_exchange(mine, 6);

	for (uint32_t r = 0; r < 4; r++) {
		uint32_t row = lane / 4, high = r / 2, column = lane % 4 * 2 + r % 2;

		for (uint32_t t = 0; t < 4; t++)
			for (uint32_t h = 0; h < 2; h++)
				c[r] = emulate_dot4(all[4 * row + t][high + 2 * h],
				                    all[4 * column + t][4 + h], c[r], is_signed);
	}
}

DEVICE void mma_us(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	emulate_mma(c, a, b0, b1, 0);
}

DEVICE void mma_ss(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	emulate_mma(c, a, b0, b1, 1);
}

DEVICE float half_float(uint16_t h)
{
	return half_to_f32(h);
}

DEVICE uint16_t float_half(float f)
{
	return half_from_f32(f);
}

DEVICE void mma_half(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1}, lane = emulate_thread % 32;
	emulate_seen *all = emulate_exchange(mine, 6);

	for (uint32_t r = 0; r < 4; r++) {
		uint32_t row = lane / 4, high = r / 2, column = lane % 4 * 2 + r % 2;
		double sum = 0;

		for (uint32_t t = 0; t < 4; t++)
			for (uint32_t h = 0; h < 2; h++)
				for (int i = 0; i < 2; i++) {
					uint32_t x = all[4 * row + t][high + 2 * h];
					uint32_t y = all[4 * column + t][4 + h];

					sum += (double)half_to_f32((uint16_t)(x >> 16 * i)) *
					       (double)half_to_f32((uint16_t)(y >> 16 * i));
				}
		c[r] = (float)((double)c[r] + sum);
	}
}

DEVICE uint32_t atomic_add_u32(uint32_t *p, uint32_t v)
{
	uint32_t old = *p;

	*p += v;
	return old;
}

DEVICE void atomic_add_i32(int32_t *p, int32_t v)
{
	*p += v;
}

DEVICE void atomic_add_u64(uint64_t *p, uint64_t v)
{
	*p += v;
}

DEVICE void atomic_max_u32(uint32_t *p, uint32_t v)
{
	*p = v > *p ? v : *p;
}

DEVICE void atomic_max_u64(uint64_t *p, uint64_t v)
{
	*p = v > *p ? v : *p;
}

DEVICE void memory_fence(void)
{
}

DEVICE float load_fresh(const float *p)
{
	return *p;
}

DEVICE uint64_t load_fresh_u64(const uint64_t *p)
{
	return *p;
}

#endif
