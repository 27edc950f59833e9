/*
 * Rows of a cache on the device, and the rotation of what goes into them.
 *
 * A row has eight values a piece: 16 bytes of F16 and BF16, 32 of F32, 8 of Q8_0, whose scales lie
 * behind the values.  Rows are filled up with zeros.
 */
#ifndef CUDA_CACHE_H
#define CUDA_CACHE_H

#include "numbers.h"

#define PIECE 8u

struct piece {
	float v[PIECE];
};

DEVICE float cache_bf16(uint32_t h)
{
	return bits_float(h << 16);
}

DEVICE uint32_t cache_to_bf16(float f)
{
	uint32_t u = float_bits(f);

	if ((u & 0x7fffffffu) > 0x7f800000u)
		return u >> 16 | 0x40u;
	return (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}

/* Piece i of a row; type is a constant. */
DEVICE struct piece cache_piece(uint32_t type, const uint8_t *row, uint32_t i, uint32_t dim)
{
	struct piece p;

	if (type == DTYPE_F32) {
		struct words a = load_words(row + 32 * i), b = load_words(row + 32 * i + 16);

		UNROLL
		for (uint32_t j = 0; j < 4; j++) {
			p.v[j] = bits_float(a.w[j]);
			p.v[4 + j] = bits_float(b.w[j]);
		}
	} else if (type == DTYPE_Q8_0) {
		const uint32_t *w = (const uint32_t *)(const void *)(row + 8 * i);
		const uint16_t *h = (const uint16_t *)(const void *)(row + dim);
		float d = half_float(h[i / 4]);
		uint32_t a = w[0], b = w[1];

		UNROLL
		for (uint32_t j = 0; j < 4; j++) {
			p.v[j] = (float)(int8_t)(a >> 8 * j) * d;
			p.v[4 + j] = (float)(int8_t)(b >> 8 * j) * d;
		}
	} else {
		struct words a = load_words(row + 16 * i);

		UNROLL
		for (uint32_t j = 0; j < 4; j++) {
			uint32_t low = a.w[j] & 0xffffu, high = a.w[j] >> 16;

			p.v[2 * j] =
			    type == DTYPE_F16 ? half_float((uint16_t)low) : cache_bf16(low);
			p.v[2 * j + 1] =
			    type == DTYPE_F16 ? half_float((uint16_t)high) : cache_bf16(high);
		}
	}
	return p;
}

/* Pieces in a row of dim values. */
DEVICE uint32_t cache_pieces(uint32_t dim)
{
	return layout_up(dim, PIECE);
}

/* Value i of a vector after rotation by the token's angles. */
DEVICE float cache_rotated(const struct cuda_attend *a, const float *x, uint32_t i,
                           const float *cosine, const float *sine)
{
	uint32_t j = a->neox ? i % a->half : i / 2, one, two;

	if (i >= 2 * a->half)
		return x[i];
	one = a->neox ? j : 2 * j;
	two = a->neox ? j + a->half : 2 * j + 1;
	if (i == one)
		return x[one] * cosine[j] - x[two] * sine[j];
	return x[one] * sine[j] + x[two] * cosine[j];
}

/* Writes 32 values of a row, one a lane, from value first on; those behind dim are 0. */
DEVICE void cache_write(uint32_t type, uint8_t *row, uint32_t dim, uint32_t first, float v)
{
	uint32_t i = first + LANE, filled = layout_up(dim, PIECE) * PIECE;
	float max = fabsf(v), d, inverse;

	if (type == DTYPE_Q8_0) {
		UNROLL
		for (int step = 16; step; step /= 2)
			max = fmaxf(max, warp_xor_f32(max, step));
		d = max / 127.0f;
		inverse = d > 0x1p-100f ? 1.0f / d : 0.0f;
		row[i] = (uint8_t)(int8_t)rintf(v * inverse);
		if (LANE == 0)
			((uint16_t *)(void *)(row + dim))[first / 32] = float_half(d);
		return;
	}
	if (i >= filled)
		return;
	if (type == DTYPE_F32)
		((float *)(void *)row)[i] = v;
	else if (type == DTYPE_F16)
		((uint16_t *)(void *)row)[i] = float_half(v);
	else
		((uint16_t *)(void *)row)[i] = (uint16_t)cache_to_bf16(v);
}

/* Puts key and value of one KV head of token t into the cache, by `warps` warps. */
DEVICE void cache_append(const struct cuda_attend *a, uint32_t t, uint32_t head, uint32_t warp,
                         uint32_t warps)
{
	const float *k = a->qkv + t * a->qkv_stride + (size_t)a->heads * a->dim_k;
	const float *v = k + (size_t)a->heads_kv * a->dim_k + (size_t)head * a->dim_v;
	const float *cosine = a->cosine + (size_t)t * a->half;
	const float *sine = a->sine + (size_t)t * a->half;
	size_t slot = (size_t)a->slot[t], pos = (size_t)a->pos[t];
	uint8_t *k_row = a->k + slot * a->k_slot + head * a->k_head + pos * a->k_row;
	uint8_t *v_row = a->v + slot * a->v_slot + head * a->v_head + pos * a->v_row;
	uint32_t k_parts = layout_up(a->dim_k, 32), v_parts = layout_up(a->dim_v, 32);

	k += (size_t)head * a->dim_k;
	for (uint32_t p = warp; p < k_parts + v_parts; p += warps) {
		uint32_t first = 32 * (p < k_parts ? p : p - k_parts), i = first + LANE;

		if (p < k_parts)
			cache_write(a->k_type, k_row, a->dim_k, first,
			            i < a->dim_k ? cache_rotated(a, k, i, cosine, sine) : 0.0f);
		else
			cache_write(a->v_type, v_row, a->dim_v, first, i < a->dim_v ? v[i] : 0.0f);
	}
}

#endif
