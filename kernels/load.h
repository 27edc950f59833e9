/*
 * Little-endian numbers at any address, as blocks of weights hold them.
 */
#ifndef LOAD_H
#define LOAD_H

#include "../lib/half.h"

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
	return half_to_f32(load_u16(p));
}

#endif
