/*
 * Values of the float and block types, exactly as the formats define them: each product and
 * each sum is rounded to float32 in the order written here.
 */
#include "scalar.h"

#include <string.h>

#include "../load.h"

static void from_f32(float *y, const uint8_t *p, size_t k)
{
	memcpy(y, p, k * sizeof *y);
}

static void from_f16(float *y, const uint8_t *p, size_t k)
{
	for (size_t i = 0; i < k; i++)
		y[i] = load_f16(p + 2 * i);
}

static void from_bf16(float *y, const uint8_t *p, size_t k)
{
	for (size_t i = 0; i < k; i++)
		y[i] = half_bf16_to_f32(load_u16(p + 2 * i));
}

/* Blocks of 32: binary16 d, 32 signed bytes. */
static void from_q8_0(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 34) {
		float d = load_f16(p);

		for (size_t i = 0; i < 32; i++)
			y[b + i] = (float)(int8_t)p[2 + i] * d;
	}
}

/* Blocks of 32: d, 16 bytes; low nibbles are values 0..15, high ones 16..31. */
static void from_q4_0(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 18) {
		float d = load_f16(p);

		for (size_t i = 0; i < 16; i++) {
			y[b + i] = (float)((p[2 + i] & 15) - 8) * d;
			y[b + 16 + i] = (float)((p[2 + i] >> 4) - 8) * d;
		}
	}
}

/* The same with a minimum m behind d. */
static void from_q4_1(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 20) {
		float d = load_f16(p), m = load_f16(p + 2);

		for (size_t i = 0; i < 16; i++) {
			y[b + i] = (float)(p[4 + i] & 15) * d + m;
			y[b + 16 + i] = (float)(p[4 + i] >> 4) * d + m;
		}
	}
}

/* Value i of a block of five bits: a nibble, and bit i of high. */
static int five(const uint8_t *nibbles, uint32_t high, size_t i)
{
	int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;

	return low | (int)(high >> i & 1) << 4;
}

static void from_q5_0(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 22) {
		float d = load_f16(p);

		for (size_t i = 0; i < 32; i++)
			y[b + i] = (float)(five(p + 6, load_u32(p + 2), i) - 16) * d;
	}
}

static void from_q5_1(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 32, p += 24) {
		float d = load_f16(p), m = load_f16(p + 2);

		for (size_t i = 0; i < 32; i++)
			y[b + i] = (float)five(p + 8, load_u32(p + 4), i) * d + m;
	}
}

/* As Q4_0, nibbles index a table. */
static void from_iq4_nl(float *y, const uint8_t *p, size_t k)
{
	static const int8_t level[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
	                                 1,    13,   25,  38,  53,  69,  89,  113};

	for (size_t b = 0; b < k; b += 32, p += 18) {
		float d = load_f16(p);

		for (size_t i = 0; i < 16; i++) {
			y[b + i] = d * (float)level[p[2 + i] & 15];
			y[b + 16 + i] = d * (float)level[p[2 + i] >> 4];
		}
	}
}

/* Scale and minimum j of 8, six bits each, of the 12 bytes that Q4_K and Q5_K share. */
static void six_bits(const uint8_t *s, int j, float *scale, float *min)
{
	if (j < 4) {
		*scale = (float)(s[j] & 63);
		*min = (float)(s[j + 4] & 63);
	} else {
		*scale = (float)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
		*min = (float)((s[j + 4] >> 4) | (s[j] >> 6) << 4);
	}
}

/* Blocks of 256: d, dmin, 12 bytes of scales, 128 of nibbles: 32 low ones, then 32 high ones. */
static void from_q4_k(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 256, p += 144) {
		float d = load_f16(p), dmin = load_f16(p + 2);

		for (int j = 0; j < 8; j++) {
			const uint8_t *q = p + 16 + 32 * (j / 2);
			float scale, min;

			six_bits(p + 4, j, &scale, &min);
			for (size_t i = 0; i < 32; i++)
				y[b + 32 * (size_t)j + i] =
				    (d * scale) * (float)(q[i] >> 4 * (j & 1) & 15) - dmin * min;
		}
	}
}

/* As Q4_K with 32 bytes of high bits in front of the nibbles, bit j for group j. */
static void from_q5_k(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 256, p += 176) {
		float d = load_f16(p), dmin = load_f16(p + 2);

		for (int j = 0; j < 8; j++) {
			const uint8_t *high = p + 16, *q = p + 48 + 32 * (j / 2);
			float scale, min;

			six_bits(p + 4, j, &scale, &min);
			for (size_t i = 0; i < 32; i++) {
				int v = (q[i] >> 4 * (j & 1) & 15) | (high[i] >> j & 1) << 4;

				y[b + 32 * (size_t)j + i] = (d * scale) * (float)v - dmin * min;
			}
		}
	}
}

/* Blocks of 256: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d; two halves
 * of 128 values: value 32 g + i has nibble g / 2 of byte 32 (g % 2) + i and pair g of byte i. */
static void from_q6_k(float *y, const uint8_t *p, size_t k)
{
	for (size_t b = 0; b < k; b += 256, p += 210) {
		float d = load_f16(p + 208);

		for (size_t v = 0; v < 256; v++) {
			size_t h = v / 128, g = v / 32 % 4, i = v % 32;
			int low = p[64 * h + 32 * (g & 1) + i] >> 4 * (g / 2) & 15;
			int high = p[128 + 32 * h + i] >> 2 * g & 3;

			y[b + v] =
			    (d * (float)(int8_t)p[192 + v / 16]) * (float)((low | high << 4) - 32);
		}
	}
}

/* Blocks of 64 or 128: d, then four codes of two bits a byte, the first one lowest, minus 1. */
static void from_two_bits(float *y, const uint8_t *p, size_t k, size_t block)
{
	for (size_t b = 0; b < k; b += block, p += 2 + block / 4)
		for (size_t i = 0; i < block; i++)
			y[b + i] = (float)((p[2 + i / 4] >> 2 * (i % 4) & 3) - 1) * load_f16(p);
}

static void from_q2_0(float *y, const uint8_t *p, size_t k)
{
	from_two_bits(y, p, k, 64);
}

static void from_q2_0_g128(float *y, const uint8_t *p, size_t k)
{
	from_two_bits(y, p, k, 128);
}

void scalar_decode_init(struct kernels *k)
{
	k->dequantize[DTYPE_F32] = from_f32;
	k->dequantize[DTYPE_F16] = from_f16;
	k->dequantize[DTYPE_BF16] = from_bf16;
	k->dequantize[DTYPE_Q8_0] = from_q8_0;
	k->dequantize[DTYPE_Q4_0] = from_q4_0;
	k->dequantize[DTYPE_Q4_1] = from_q4_1;
	k->dequantize[DTYPE_Q5_0] = from_q5_0;
	k->dequantize[DTYPE_Q5_1] = from_q5_1;
	k->dequantize[DTYPE_IQ4_NL] = from_iq4_nl;
	k->dequantize[DTYPE_Q4_K] = from_q4_k;
	k->dequantize[DTYPE_Q5_K] = from_q5_k;
	k->dequantize[DTYPE_Q6_K] = from_q6_k;
	k->dequantize[DTYPE_Q2_0] = from_q2_0;
	k->dequantize[DTYPE_Q2_0_G128] = from_q2_0_g128;
}
