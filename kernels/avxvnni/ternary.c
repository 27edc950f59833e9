/*
 * Ternary products with AVX-VNNI: vpdpbusd adds four products in 32 bits.
 */
#include "../avx2/bytes.h"

#include "../sets.h"

typedef __m256i sums;

static inline sums sums_zero(void)
{
	return _mm256_setzero_si256();
}

static inline sums sums_add(sums s, v32 codes, v32 x)
{
	return _mm256_dpbusd_avx_epi32(s, codes, x);
}

static inline sums sums_unit_end(sums s)
{
	return s;
}

static inline int32_t sums_total(sums s)
{
	return total(s);
}

#include "../wide/ternary.h"

void kernels_avxvnni(struct kernels *k)
{
	wide_ternary_init(k);
}
