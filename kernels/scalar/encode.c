/*
 * Values to the types of a KV cache, and activations to int8.
 */
#include "scalar.h"

#include <math.h>
#include <string.h>

#include "../load.h"

/* Below this d is 0 as binary16 and 1 / d may overflow: the block becomes zeros. */
#define D_MIN 0x1p-100f

static void to_f32(uint8_t *p, const float *x, size_t k)
{
	memcpy(p, x, k * sizeof *x);
}

static void store_u16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static void to_f16(uint8_t *p, const float *x, size_t k)
{
	for (size_t i = 0; i < k; i++)
		store_u16(p + 2 * i, half_from_f32(x[i]));
}

static void to_bf16(uint8_t *p, const float *x, size_t k)
{
	for (size_t i = 0; i < k; i++)
		store_u16(p + 2 * i, half_bf16_from_f32(x[i]));
}

/* d = max|x| / 127, stored as binary16; values are x / d rounded to nearest even. */
static void to_q8_0(uint8_t *p, const float *x, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 34) {
		float max = 0;

		for (size_t i = 0; i < 32; i++)
			max = fmaxf(max, fabsf(x[b + i]));
		float d = max / 127.0f, inv = d > D_MIN ? 1.0f / d : 0.0f;
		store_u16(p, half_from_f32(d));
		for (size_t i = 0; i < 32; i++)
			p[2 + i] = (uint8_t)(int8_t)rintf(x[b + i] * inv);
	}
}

/* Nibble of x: x * inv + 8 rounded to nearest even, at most 15. */
static int nibble(float x, float inv)
{
	float v = rintf(x * inv) + 8.0f;

	return v > 15.0f ? 15 : (int)v;
}

/* d = (the value of largest magnitude) / -8: that value becomes nibble 0, exactly. */
static void to_q4_0(uint8_t *p, const float *x, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 18) {
		float max = 0;

		for (size_t i = 0; i < 32; i++)
			if (fabsf(x[b + i]) > fabsf(max))
				max = x[b + i];
		float d = max / -8.0f, inv = fabsf(d) > D_MIN ? 1.0f / d : 0.0f;
		store_u16(p, half_from_f32(d));
		for (size_t i = 0; i < 16; i++)
			p[2 + i] =
			    (uint8_t)(nibble(x[b + i], inv) | nibble(x[b + 16 + i], inv) << 4);
	}
}

static void to_i8(const float *x, size_t k, int8_t *q, float *scale, int32_t *sum, int32_t *sum256)
{
	float max = 1e-5f;

	for (size_t i = 0; i < k; i++)
		max = fmaxf(max, fabsf(x[i]));
	/* 1e-5 is not a float: the floor of the rule is the double, which rounds the same way here
	 */
	float s = (float)(127.0 / (max > 1e-5f ? (double)max : 1e-5));
	int32_t all = 0, part = 0;
	for (size_t i = 0; i < k; i++) {
		float v = rintf(x[i] * s);

		q[i] = (int8_t)(v > 127.0f ? 127.0f : v < -128.0f ? -128.0f : v);
		part += q[i];
		if (i % 256 == 255 || i + 1 == k) {
			sum256[i / 256] = part;
			all += part;
			part = 0;
		}
	}
	memset(q + k, 0, (64 - k % 64) % 64);
	*scale = s;
	*sum = all;
}

void scalar_encode_init(struct kernels *k)
{
	k->quantize[DTYPE_F32] = to_f32;
	k->quantize[DTYPE_F16] = to_f16;
	k->quantize[DTYPE_BF16] = to_bf16;
	k->quantize[DTYPE_Q8_0] = to_q8_0;
	k->quantize[DTYPE_Q4_0] = to_q4_0;
	k->quantize_i8 = to_i8;
}
