/*
 * The AVX2 set: AVX2, FMA, F16C.
 */
#include "avx2.h"

#include "../sets.h"

void kernels_avx2(struct kernels *k)
{
	avx2_wide_init(k);
	avx2_ternary_init(k);
	avx2_screen_init(k);
	k->mul_strips = NULL; /* base 3 takes longer to compute than two bits to read */
}
