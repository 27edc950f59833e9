/*
 * 16-bit floats: IEEE binary16 (F16) and the upper half of binary32 (BF16), to float32 (exact) and
 * back (to nearest, ties to even; too large gives infinity, NaN stays a quiet NaN).
 * Single values here, inline; whole arrays in half_read and its sisters, which use what the CPU
 * has.
 */
#ifndef HALF_H
#define HALF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float half_bits_f32(uint32_t u)
{
	float f;

	memcpy(&f, &u, 4);
	return f;
}

static inline uint32_t half_f32_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, 4);
	return u;
}

/* The exponent is moved by a product, which also makes subnormals right: 2^112 shifts binary16's
 * bias of 15 to binary32's 127. */
static inline float half_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;

	if (rest >= 0x7c00)
		return half_bits_f32(sign | 0x7f800000u | (rest & 0x3ffu) << 13 |
		                     (rest > 0x7c00 ? 0x400000u : 0));
	return half_bits_f32(sign | half_f32_bits(half_bits_f32(rest << 13) * 0x1p112f));
}

static inline uint16_t half_from_f32(float f)
{
	uint32_t u = half_f32_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;

	if (a > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
	if (a >= 0x477ff000u) /* 65520 and above */
		return (uint16_t)(sign | 0x7c00u);
	if (a < 0x38800000u) /* below 2^-14: the addition of 0.5 rounds at the last place, 2^-24 */
		return (uint16_t)(sign | (half_f32_bits(half_bits_f32(a) + 0.5f) - 0x3f000000u));
	a += 0xfffu + (a >> 13 & 1);
	return (uint16_t)(sign | ((a - 0x38000000u) >> 13));
}

static inline float half_bf16_to_f32(uint16_t h)
{
	return half_bits_f32((uint32_t)h << 16);
}

static inline uint16_t half_bf16_from_f32(float f)
{
	uint32_t u = half_f32_bits(f);

	if ((u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(u >> 16 | 0x40u);
	return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

/* A value at any address, little-endian as in files. */
static inline uint16_t half_get(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline void half_put(uint8_t *p, uint16_t h)
{
	p[0] = (uint8_t)h;
	p[1] = (uint8_t)(h >> 8);
}

/* n values between float32 and little-endian bytes at any address. */
void half_read_f16(float *y, const uint8_t *x, size_t n);
void half_read_bf16(float *y, const uint8_t *x, size_t n);
void half_write_f16(uint8_t *y, const float *x, size_t n);
void half_write_bf16(uint8_t *y, const float *x, size_t n);

#endif
