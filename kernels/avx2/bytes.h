/*
 * 32 bytes in one 256-bit register, for wide/ternary.h; sums of products are the set's own.
 */
#ifndef BYTES_H
#define BYTES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m256i v32;

static inline v32 v32_load(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* n < 32 bytes, then zeros. */
static inline v32 v32_load_n(const uint8_t *p, size_t n)
{
	uint8_t t[32] = {0};

	memcpy(t, p, n);
	return v32_load(t);
}

/* Bits 2 l and 2 l + 1 of each byte. */
static inline v32 v32_part(v32 w, int l)
{
	return _mm256_and_si256(_mm256_srli_epi16(w, 2 * l), _mm256_set1_epi8(3));
}

static inline v32 v32_times3(v32 r)
{
	return _mm256_add_epi8(_mm256_add_epi8(r, r), r);
}

/* 3 r / 256: whether r is at least 86, plus whether it is at least 171. */
static inline v32 v32_digit(v32 r)
{
	v32 one = _mm256_set1_epi8(1);
	v32 a = _mm256_min_epu8(_mm256_subs_epu8(r, _mm256_set1_epi8(85)), one);
	v32 b = _mm256_min_epu8(_mm256_subs_epu8(r, _mm256_set1_epi8((char)170)), one);

	return _mm256_add_epi8(a, b);
}

static inline int32_t total(__m256i v)
{
	__m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

#endif
