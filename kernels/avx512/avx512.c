/*
 * The AVX-512 set: F, BW, VL, DQ, VNNI.
 */
#include "avx512.h"

#include "../sets.h"

void kernels_avx512(struct kernels *k)
{
	avx512_wide_init(k);
	avx512_ternary_init(k);
	avx512_screen_init(k);
}
