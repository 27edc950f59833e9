/*
 * Products of float and block types in 16 lanes: the order of scalar/float.c, bit for bit.
 * Included by a set's wide.c behind its lanes.h.
 *
 * F32, F16 and BF16 are converted where they are used; blocks are decoded into a chunk of
 * columns first.
 */
#ifndef WIDE_FLOAT_H
#define WIDE_FLOAT_H

#include "../kernels.h"
#include "decode.h"

/* Zeros behind the last columns of a row of 2-byte values. */
static inline v16 short_tail(v16 (*load)(const uint8_t *p), const uint8_t *p, size_t n)
{
	uint8_t t[32] = {0};

	memcpy(t, p, 2 * n);
	return load(t);
}

static inline v16 v16_f32_bytes(const uint8_t *p)
{
	return v16_load((const float *)(const void *)p);
}

static inline v16 tail_f32(const uint8_t *p, size_t n)
{
	float t[16] = {0};

	memcpy(t, p, n * sizeof *t);
	return v16_load(t);
}

static inline v16 tail_f16(const uint8_t *p, size_t n)
{
	return short_tail(v16_f16, p, n);
}

static inline v16 tail_bf16(const uint8_t *p, size_t n)
{
	return short_tail(v16_bf16, p, n);
}

/* acc += w * x, each rounded: what plain C without fused operations does. */
static inline v16 add_product(v16 acc, v16 w, v16 x)
{
	return v16_add(acc, v16_mul(w, x));
}

/* ROWS rows (gap rows apart) times TOKENS tokens, 16 columns at a time.  LOAD converts 16 values,
 * TAIL fewer. */
#define DEFINE_TILE(NAME, BYTES, LOAD, TAIL, ROWS, TOKENS)                                         \
	static void NAME(const struct kernel_mat *w, const struct kernel_input *x, size_t r,       \
	                 size_t t0, size_t gap, float *y, size_t y_stride)                         \
	{                                                                                          \
		const uint8_t *p = w->data + r * w->row_bytes;                                     \
		const float *f = x->f + t0 * x->stride;                                            \
		size_t c = 0, rest = x->k % 16;                                                    \
		v16 acc[ROWS][TOKENS], v[TOKENS];                                                  \
                                                                                                   \
		for (size_t i = 0; i < ROWS; i++)                                                  \
			for (size_t t = 0; t < TOKENS; t++)                                        \
				acc[i][t] = v16_zero();                                            \
		for (; c + 16 <= x->k; c += 16) {                                                  \
			for (size_t t = 0; t < TOKENS; t++)                                        \
				v[t] = v16_load(f + t * x->stride + c);                            \
			for (size_t i = 0; i < ROWS; i++) {                                        \
				const uint8_t *at = p + i * gap * w->row_bytes + c * (BYTES);      \
				v16 m = LOAD(at);                                                  \
                                                                                                   \
				for (size_t t = 0; t < TOKENS; t++)                                \
					acc[i][t] = add_product(acc[i][t], m, v[t]);               \
			}                                                                          \
		}                                                                                  \
		for (size_t i = 0; rest && i < ROWS; i++) {                                        \
			v16 m = TAIL(p + i * gap * w->row_bytes + c * (BYTES), rest);              \
                                                                                                   \
			for (size_t t = 0; t < TOKENS; t++)                                        \
				acc[i][t] = add_product(acc[i][t], m,                              \
				                        v16_load_n(f + t * x->stride + c, rest));  \
		}                                                                                  \
		for (size_t i = 0; i < ROWS; i++)                                                  \
			for (size_t t = 0; t < TOKENS; t++)                                        \
				y[(t0 + t) * y_stride + r + i * gap] =                             \
				    v16_sum(acc[i][t]) * w->scale;                                 \
	}

typedef void tile(const struct kernel_mat *w, const struct kernel_input *x, size_t r, size_t t0,
                  size_t gap, float *y, size_t y_stride);

/* Rows that one token is multiplied with at once: two long streams, which the CPU fetches ahead by
 * itself, better than four, or than by instructions. */
#define ONE_ROWS 2

/* tiles[0]: one row and token, [1]: ONE_ROWS rows, [2]: many rows, [3]: many rows and tokens.  The
 * rows of a tile lie far apart, so that each is a long stream of its own. */
static void mul_tiles(tile *const tiles[4], const struct kernel_mat *w,
                      const struct kernel_input *x, size_t row0, size_t row1, float *y,
                      size_t y_stride)
{
	size_t rows = x->n == 1 ? ONE_ROWS : TILE_ROWS, gap = (row1 - row0) / rows;
	tile *one = tiles[x->n == 1 ? 1 : 2];

	for (size_t r = row0; r < row0 + gap; r++) {
		size_t t = 0;

		for (; x->n > 1 && t + TILE_TOKENS <= x->n; t += TILE_TOKENS)
			tiles[3](w, x, r, t, gap, y, y_stride);
		for (; t < x->n; t++)
			one(w, x, r, t, gap, y, y_stride);
	}
	for (size_t r = row0 + gap * rows; r < row1; r++)
		for (size_t t = 0; t < x->n; t++)
			tiles[0](w, x, r, t, 0, y, y_stride);
}

#define DEFINE_MUL(NAME, BYTES, LOAD, TAIL)                                                        \
	DEFINE_TILE(NAME##_1_1, BYTES, LOAD, TAIL, 1, 1)                                           \
	DEFINE_TILE(NAME##_2_1, BYTES, LOAD, TAIL, ONE_ROWS, 1)                                    \
	DEFINE_TILE(NAME##_n_1, BYTES, LOAD, TAIL, TILE_ROWS, 1)                                   \
	DEFINE_TILE(NAME##_n_n, BYTES, LOAD, TAIL, TILE_ROWS, TILE_TOKENS)                         \
	static void NAME(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,    \
	                 size_t row1, float *y, size_t y_stride, void *scratch)                    \
	{                                                                                          \
		static tile *const tiles[] = {NAME##_1_1, NAME##_2_1, NAME##_n_1, NAME##_n_n};     \
                                                                                                   \
		(void)scratch;                                                                     \
		mul_tiles(tiles, w, x, row0, row1, y, y_stride);                                   \
	}

DEFINE_MUL(mul_f32, 4, v16_f32_bytes, tail_f32)
DEFINE_MUL(mul_f16, 2, v16_f16, tail_f16)
DEFINE_MUL(mul_bf16, 2, v16_bf16, tail_bf16)

/* Columns decoded at a time, and tokens that use them while they are near. */
#define CHUNK        256
#define CHUNK_TOKENS 8

/* n columns (a multiple of 16) of one decoded row into the sums of some tokens. */
static inline void chunk_tokens(v16 *acc, const float *v, const float *f, size_t stride, size_t n,
                                size_t tokens)
{
	for (size_t t = 0; t < tokens; t++, f += stride)
		for (size_t i = 0; i < n; i += 16)
			acc[t] = add_product(acc[t], v16_load(v + i), v16_load(f + i));
}

/* Block types: every block is a multiple of 16 columns, so there are no tails. */
static inline void mul_blocks(void (*decode)(float *y, const uint8_t *p, size_t k),
                              const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                              size_t row1, float *y, size_t y_stride)
{
	const struct dtype_info *type = dtype_get(w->type);
	float v[CHUNK] __attribute__((aligned(64)));

	for (size_t t0 = 0; t0 < x->n; t0 += CHUNK_TOKENS) {
		size_t n = x->n - t0 < CHUNK_TOKENS ? x->n - t0 : CHUNK_TOKENS;

		for (size_t r = row0; r < row1; r++) {
			const uint8_t *p = w->data + r * w->row_bytes;
			v16 acc[CHUNK_TOKENS];

			for (size_t t = 0; t < n; t++)
				acc[t] = v16_zero();
			for (size_t c = 0; c < x->k; c += CHUNK) {
				size_t m = x->k - c < CHUNK ? x->k - c : CHUNK;

				decode(v, p + c / type->block * type->block_bytes, m);
				chunk_tokens(acc, v, x->f + t0 * x->stride + c, x->stride, m, n);
			}
			for (size_t t = 0; t < n; t++)
				y[(t0 + t) * y_stride + r] = v16_sum(acc[t]) * w->scale;
		}
	}
}

#define DEFINE_MUL_BLOCKS(NAME, DECODE)                                                            \
	static void NAME(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,    \
	                 size_t row1, float *y, size_t y_stride, void *scratch)                    \
	{                                                                                          \
		(void)scratch;                                                                     \
		mul_blocks(DECODE, w, x, row0, row1, y, y_stride);                                 \
	}

DEFINE_MUL_BLOCKS(mul_q8_0, decode_q8_0)
DEFINE_MUL_BLOCKS(mul_q4_0, decode_q4_0)
DEFINE_MUL_BLOCKS(mul_q4_k, decode_q4_k)
DEFINE_MUL_BLOCKS(mul_q5_k, decode_q5_k)
DEFINE_MUL_BLOCKS(mul_q6_k, decode_q6_k)

static void wide_float_init(struct kernels *k)
{
	k->mul[DTYPE_F32] = mul_f32;
	k->mul[DTYPE_F16] = mul_f16;
	k->mul[DTYPE_BF16] = mul_bf16;
	k->mul[DTYPE_Q8_0] = mul_q8_0;
	k->mul[DTYPE_Q4_0] = mul_q4_0;
	k->mul[DTYPE_Q4_K] = mul_q4_k;
	k->mul[DTYPE_Q5_K] = mul_q5_k;
	k->mul[DTYPE_Q6_K] = mul_q6_k;
}

#endif
