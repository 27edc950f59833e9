/*
 * Products of the head's screen: codes as they are, unsigned, and what is to be taken off them at
 * the end of a block.  A pair of products is at most 2 * 31 * 128, which fits 16 bits.
 */
#include "avx2.h"
#include "bytes.h"

#include "../screen.h"
#include "lanes.h"

static inline __m256i products(__m256i acc, __m256i codes, __m256i x)
{
	__m256i pairs = _mm256_maddubs_epi16(codes, x);

	return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline __m256i four_numbers(const int8_t *x)
{
	int32_t v;

	memcpy(&v, x, sizeof v);
	return _mm256_set1_epi32(v);
}

/* Value in each of 32 bytes whose bit is set, else 0. */
static inline __m256i where_bit(const uint8_t *bits, __m256i value)
{
	const __m256i byte =
	    _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
	const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
	int32_t v;

	memcpy(&v, bits, sizeof v);
	__m256i all = _mm256_shuffle_epi8(_mm256_set1_epi32(v), byte);
	return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(all, bit), bit), value);
}

/* Half h of vector j of a block. */
static inline __m256i codes_of(const uint8_t *block, size_t j, size_t h)
{
	__m256i four = v32_load(block + j / 2 * 64 + 32 * h);
	__m256i fifth = where_bit(block + SCREEN_FIFTH + 8 * j + 4 * h, _mm256_set1_epi8(16));

	if (j % 2)
		four = _mm256_srli_epi16(four, 4);
	return _mm256_or_si256(_mm256_and_si256(four, _mm256_set1_epi8(15)), fifth);
}

static inline __m256 half_of(__m256i high, __m256i low, int32_t sum)
{
	__m256i all = _mm256_add_epi32(_mm256_slli_epi32(high, 10), _mm256_slli_epi32(low, 2));

	return _mm256_cvtepi32_ps(_mm256_sub_epi32(all, _mm256_set1_epi32(63 * sum)));
}

static inline v16 upper(const uint8_t *block, const int8_t *high, const int8_t *low, int32_t sum)
{
	const __m256i none = _mm256_setzero_si256();
	__m256i h[2] = {none, none}, l[2] = {none, none};

	for (size_t j = 0; j < 16; j++) {
		__m256i x = four_numbers(high + 4 * j), y = four_numbers(low + 4 * j);

		for (size_t i = 0; i < 2; i++) {
			__m256i codes = codes_of(block, j, i);

			h[i] = products(h[i], codes, x);
			l[i] = products(l[i], codes, y);
		}
	}
	return v16_of(half_of(h[0], l[0], sum), half_of(h[1], l[1], sum));
}

static inline int32_t last_bits(const uint8_t *last, const int8_t *high, const int8_t *low)
{
	__m256i h = _mm256_setzero_si256(), l = h;

	for (size_t i = 0; i < 2; i++) {
		__m256i one = where_bit(last + 4 * i, _mm256_set1_epi8(1));

		h = products(h, one, v32_load((const uint8_t *)high + 32 * i));
		l = products(l, one, v32_load((const uint8_t *)low + 32 * i));
	}
	return total(_mm256_add_epi32(_mm256_slli_epi32(h, 8), l));
}

#include "../wide/screen_dots.h"

void avx2_screen_init(struct kernels *k)
{
	wide_screen_init(k);
}
