/*
 * Values of float and block types in 16 lanes, equal to scalar/decode.c in every bit.
 * Included by a set's wide.c behind its lanes.h.
 */
#ifndef WIDE_DECODE_H
#define WIDE_DECODE_H

#include "../load.h"
#include "../kernels.h"

/* binary16 at p by the hardware: a vector's worth is read, so it is copied first. */
static inline v16 broadcast_f16(const uint8_t *p)
{
	return v16_set(load_f16(p));
}

static void decode_f16(float *y, const uint8_t *p, size_t k)
{
	size_t i = 0;

	for (; i + 16 <= k; i += 16)
		v16_store(y + i, v16_f16(p + 2 * i));
	for (; i < k; i++)
		y[i] = load_f16(p + 2 * i);
}

static void decode_bf16(float *y, const uint8_t *p, size_t k)
{
	size_t i = 0;

	for (; i + 16 <= k; i += 16)
		v16_store(y + i, v16_bf16(p + 2 * i));
	for (; i < k; i++)
		y[i] = half_bf16_to_f32(load_u16(p + 2 * i));
}

/* The 32 values of a block. */
static inline void block_q8_0(v16 v[2], const uint8_t *p)
{
	v16 d = broadcast_f16(p);

	v[0] = v16_mul(v16_i8(b16_load(p + 2)), d);
	v[1] = v16_mul(v16_i8(b16_load(p + 18)), d);
}

static void decode_q8_0(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 34) {
		v16 v[2];

		block_q8_0(v, p);
		v16_store(y + b, v[0]);
		v16_store(y + b + 16, v[1]);
	}
}

static inline b16 low_nibbles(b16 q)
{
	return b16_and(q, b16_set(15));
}

static inline b16 high_nibbles(b16 q)
{
	return b16_and(b16_shr(q, 4), b16_set(15));
}

static inline void block_q4_0(v16 v[2], const uint8_t *p)
{
	v16 d = broadcast_f16(p), eight = v16_set(8);
	b16 q = b16_load(p + 2);

	v[0] = v16_mul(v16_sub(v16_u8(low_nibbles(q)), eight), d);
	v[1] = v16_mul(v16_sub(v16_u8(high_nibbles(q)), eight), d);
}

static void decode_q4_0(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 18) {
		v16 v[2];

		block_q4_0(v, p);
		v16_store(y + b, v[0]);
		v16_store(y + b + 16, v[1]);
	}
}

/* Scale and minimum j of 8, six bits each: see scalar/decode.c. */
static inline void six_bits(const uint8_t *s, int j, int *scale, int *min)
{
	if (j < 4) {
		*scale = s[j] & 63;
		*min = s[j + 4] & 63;
	} else {
		*scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
		*min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
	}
}

/* 16 values of group j: scale * q - min. */
static inline void store_scaled(float *y, b16 q, v16 scale, v16 min)
{
	v16_store(y, v16_sub(v16_mul(scale, v16_u8(q)), min));
}

static void decode_q4_k(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 256, p += 144) {
		float d = load_f16(p), dmin = load_f16(p + 2);

		for (int j = 0; j < 8; j++) {
			const uint8_t *q = p + 16 + 32 * (j / 2);
			int scale, min;

			six_bits(p + 4, j, &scale, &min);
			v16 s = v16_set(d * (float)scale), m = v16_set(dmin * (float)min);
			for (int i = 0; i < 32; i += 16) {
				b16 v = b16_load(q + i);

				v = j & 1 ? high_nibbles(v) : low_nibbles(v);
				store_scaled(y + b + 32 * j + i, v, s, m);
			}
		}
	}
}

static void decode_q5_k(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 256, p += 176) {
		float d = load_f16(p), dmin = load_f16(p + 2);

		for (int j = 0; j < 8; j++) {
			const uint8_t *q = p + 48 + 32 * (j / 2);
			int scale, min;

			six_bits(p + 4, j, &scale, &min);
			v16 s = v16_set(d * (float)scale), m = v16_set(dmin * (float)min);
			for (int i = 0; i < 32; i += 16) {
				b16 v = b16_load(q + i);
				b16 h = b16_and(b16_shr(b16_load(p + 16 + i), j), b16_set(1));

				v = j & 1 ? high_nibbles(v) : low_nibbles(v);
				store_scaled(y + b + 32 * j + i, b16_or(v, b16_shl(h, 4)), s, m);
			}
		}
	}
}

static void decode_q6_k(float *y, const uint8_t *p, size_t k)
{
	v16 mid = v16_set(32);

	for (size_t b = 0; b < k; b += 256, p += 210) {
		float d = load_f16(p + 208);

		for (int v = 0; v < 256; v += 16) {
			int h = v / 128, g = v / 32 % 4, i = v % 32;
			b16 low = b16_load(p + 64 * h + 32 * (g & 1) + i);
			b16 high =
			    b16_and(b16_shr(b16_load(p + 128 + 32 * h + i), 2 * g), b16_set(3));
			v16 s = v16_set(d * (float)(int8_t)p[192 + v / 16]);

			low = g & 2 ? high_nibbles(low) : low_nibbles(low);
			v16 q = v16_sub(v16_u8(b16_or(low, b16_shl(high, 4))), mid);
			v16_store(y + b + v, v16_mul(s, q));
		}
	}
}

static void wide_decode_init(struct kernels *k)
{
	k->dequantize[DTYPE_F16] = decode_f16;
	k->dequantize[DTYPE_BF16] = decode_bf16;
	k->dequantize[DTYPE_Q8_0] = decode_q8_0;
	k->dequantize[DTYPE_Q4_0] = decode_q4_0;
	k->dequantize[DTYPE_Q4_K] = decode_q4_k;
	k->dequantize[DTYPE_Q5_K] = decode_q5_k;
	k->dequantize[DTYPE_Q6_K] = decode_q6_k;
}

#endif
