/*
 * binary16 and bfloat16 in plain integer arithmetic; rounding is to nearest even.
 */
#ifndef HALF_H
#define HALF_H

#include <stdint.h>
#include <string.h>

static inline float bits_f32(uint32_t b)
{
	float f;

	memcpy(&f, &b, sizeof f);
	return f;
}

static inline uint32_t f32_bits(float f)
{
	uint32_t b;

	memcpy(&b, &f, sizeof b);
	return b;
}

static inline float f16_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16;
	uint32_t body = h & 0x7fffu;

	if (body >= 0x7c00) /* infinity and NaN (made quiet, as CPUs do) */
		return bits_f32(sign | 0x7f800000u | (body & 0x3ff) << 13 |
		                (body > 0x7c00 ? 0x400000u : 0));
	if (body >= 0x400)
		return bits_f32(sign | ((body << 13) + (112u << 23)));
	/* denormal: body * 2^-24 is exact in float32 */
	float f = (float)(int32_t)body * 0x1p-24f;
	return bits_f32(sign | f32_bits(f));
}

static inline uint16_t f32_f16(float f)
{
	uint32_t b = f32_bits(f), sign = b >> 16 & 0x8000, body = b & 0x7fffffff;

	if (body > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (body >> 13 & 0x3ff));
	if (body >= 0x477ff000) /* rounds to 65536 or more */
		return (uint16_t)(sign | 0x7c00);
	if (body < 0x38800000) /* denormal: the addition rounds at 2^-24 */
		return (uint16_t)(sign | (f32_bits(bits_f32(body) + 0.5f) - 0x3f000000));
	return (uint16_t)(sign | (body + 0xfff + (body >> 13 & 1) - (112u << 23)) >> 13);
}

static inline float bf16_f32(uint16_t h)
{
	return bits_f32((uint32_t)h << 16);
}

static inline uint16_t f32_bf16(float f)
{
	uint32_t b = f32_bits(f);

	if ((b & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(b >> 16 | 0x40);
	return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static inline uint16_t load_u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t load_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline float load_f16(const uint8_t *p)
{
	return f16_f32(load_u16(p));
}

#endif
