/*
 * Ternary products with AVX2: pairs of products are added in 16 bits.  A lane grows by at most
 * 2 * 3 * 128 with each vector, and is widened after the 8 or 10 vectors of a unit.
 */
#include "avx2.h"
#include "bytes.h"

typedef struct {
	__m256i narrow, wide;
} sums;

static inline sums sums_zero(void)
{
	sums s = {_mm256_setzero_si256(), _mm256_setzero_si256()};

	return s;
}

static inline sums sums_add(sums s, v32 codes, v32 x)
{
	s.narrow = _mm256_add_epi16(s.narrow, _mm256_maddubs_epi16(codes, x));
	return s;
}

static inline sums sums_unit_end(sums s)
{
	s.wide = _mm256_add_epi32(s.wide, _mm256_madd_epi16(s.narrow, _mm256_set1_epi16(1)));
	s.narrow = _mm256_setzero_si256();
	return s;
}

static inline int32_t sums_total(sums s)
{
	return total(s.wide);
}

#include "../wide/ternary.h"

void avx2_ternary_init(struct kernels *k)
{
	wide_ternary_init(k);
}
