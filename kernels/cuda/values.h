/*
 * Single values of the float, block and ternary types, as kernels/scalar/decode.c reads them: each
 * product and sum rounded in the same order.
 */
#ifndef CUDA_VALUES_H
#define CUDA_VALUES_H

#include "numbers.h"

DEVICE uint32_t values_u16(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

DEVICE uint32_t values_u32(const uint8_t *p)
{
	return values_u16(p) | values_u16(p + 2) << 16;
}

DEVICE float values_half(const uint8_t *p)
{
	return half_float((uint16_t)values_u16(p));
}

/* Value i of 32 of five bits: a nibble, and bit i of high. */
DEVICE uint32_t values_five(const uint8_t *nibbles, uint32_t high, uint32_t i)
{
	uint32_t low = i < 16 ? nibbles[i] & 15u : nibbles[i - 16] >> 4;

	return low | (high >> i & 1u) << 4;
}

DEVICE float values_four(const uint8_t *nibbles, uint32_t i)
{
	return (float)(i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4);
}

/* Levels of IQ4_NL. */
DEVICE float values_level(uint32_t n)
{
	static const uint32_t bytes[4] = {0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u};
	uint32_t w = n / 4 == 0   ? bytes[0]
	             : n / 4 == 1 ? bytes[1]
	             : n / 4 == 2 ? bytes[2]
	                          : bytes[3];

	return (float)(int8_t)(w >> 8 * (n % 4));
}

/* Scale and minimum j of 8, of the 12 bytes that Q4_K and Q5_K share. */
DEVICE void values_six_bits(const uint8_t *s, uint32_t j, float *scale, float *min)
{
	if (j < 4) {
		*scale = (float)(s[j] & 63);
		*min = (float)(s[j + 4] & 63);
	} else {
		*scale = (float)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
		*min = (float)((s[j + 4] >> 4) | (s[j] >> 6) << 4);
	}
}

DEVICE float values_k(const uint8_t *b, uint32_t i, int five)
{
	uint32_t j = i / 32, m = i % 32;
	const uint8_t *q = b + (five ? 48 : 16) + 32 * (j / 2) + m;
	uint32_t v = *q >> 4 * (j & 1) & 15u;
	float scale, min;

	if (five)
		v |= (b[16 + m] >> j & 1u) << 4;
	values_six_bits(b + 4, j, &scale, &min);
	return (values_half(b) * scale) * (float)v - values_half(b + 2) * min;
}

DEVICE float values_q6_k(const uint8_t *b, uint32_t v)
{
	uint32_t h = v / 128, g = v / 32 % 4, i = v % 32;
	int32_t low = b[64 * h + 32 * (g & 1) + i] >> 4 * (g / 2) & 15;
	int32_t high = b[128 + 32 * h + i] >> 2 * g & 3;

	return (values_half(b + 208) * (float)(int8_t)b[192 + v / 16]) *
	       (float)((low | high << 4) - 32);
}

/* Digit j of a byte of base 3, the first one most significant. */
DEVICE int32_t values_trit(uint32_t b, uint32_t j)
{
	for (uint32_t k = 0; k < j; k++)
		b = b * 3 & 255u;
	return (int32_t)(b * 3 >> 8) - 1;
}

DEVICE float values_tq1_0(const uint8_t *b, uint32_t i)
{
	int32_t q;

	if (i < 160)
		q = values_trit(b[i % 32], i / 32);
	else if (i < 240)
		q = values_trit(b[32 + (i - 160) % 16], (i - 160) / 16);
	else
		q = values_trit(b[48 + (i - 240) % 4], (i - 240) / 4);
	return (float)q * values_half(b + 52);
}

DEVICE float values_iq1_bn(const uint8_t *row, uint32_t i)
{
	const uint8_t *b = row + 2 + i / 64 * 13;
	uint32_t k = i % 16, g = i % 64 / 16;

	return (float)(k < 15 ? values_trit(b[3 * g + k / 5], 4 - k % 5)
	                      : values_trit(b[12], 4 - g)) *
	       values_half(row);
}

/* Value i of a row; type is a constant where speed matters. */
DEVICE float values_at(uint32_t type, const uint8_t *row, uint32_t i)
{
	const uint8_t *b;

	switch (type) {
	case DTYPE_F32:
		return ((const float *)(const void *)row)[i];
	case DTYPE_F16:
		return half_float(((const uint16_t *)(const void *)row)[i]);
	case DTYPE_BF16:
		return bits_float((uint32_t)((const uint16_t *)(const void *)row)[i] << 16);
	case DTYPE_Q8_0:
		b = row + i / 32 * 34;
		return (float)(int8_t)b[2 + i % 32] * values_half(b);
	case DTYPE_Q4_0:
		b = row + i / 32 * 18;
		return (values_four(b + 2, i % 32) - 8.0f) * values_half(b);
	case DTYPE_Q4_1:
		b = row + i / 32 * 20;
		return values_four(b + 4, i % 32) * values_half(b) + values_half(b + 2);
	case DTYPE_Q5_0:
		b = row + i / 32 * 22;
		return ((float)values_five(b + 6, values_u32(b + 2), i % 32) - 16.0f) *
		       values_half(b);
	case DTYPE_Q5_1:
		b = row + i / 32 * 24;
		return (float)values_five(b + 8, values_u32(b + 4), i % 32) * values_half(b) +
		       values_half(b + 2);
	case DTYPE_IQ4_NL:
		b = row + i / 32 * 18;
		return values_half(b) * values_level((uint32_t)values_four(b + 2, i % 32));
	case DTYPE_Q4_K:
		return values_k(row + i / 256 * 144, i % 256, 0);
	case DTYPE_Q5_K:
		return values_k(row + i / 256 * 176, i % 256, 1);
	case DTYPE_Q6_K:
		return values_q6_k(row + i / 256 * 210, i % 256);
	case DTYPE_Q2_0:
		b = row + i / 64 * 18;
		return (float)((b[2 + i % 64 / 4] >> 2 * (i % 4) & 3) - 1) * values_half(b);
	case DTYPE_Q2_0_G128:
		b = row + i / 128 * 34;
		return (float)((b[2 + i % 128 / 4] >> 2 * (i % 4) & 3) - 1) * values_half(b);
	case DTYPE_I2_S:
		return (float)((row[i / 128 * 32 + i % 32] >> (6 - i % 128 / 32 * 2) & 3) - 1);
	case DTYPE_TQ2_0:
		b = row + i / 256 * 66;
		return (float)((b[i % 256 / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1) *
		       values_half(b + 64);
	case DTYPE_TQ1_0:
		return values_tq1_0(row + i / 256 * 54, i % 256);
	case DTYPE_IQ2_BN:
		return (float)((row[4 + i / 64 * 16 + i % 16] >> i % 64 / 16 * 2 & 3) - 1) *
		       bits_float(values_u32(row));
	case DTYPE_IQ1_BN:
		return values_iq1_bn(row, i);
	default:
		return 0;
	}
}

/* The same where it does not. */
DEVICE float values_any(uint32_t type, const uint8_t *row, uint32_t i)
{
	return values_at(type, row, i);
}

#endif
