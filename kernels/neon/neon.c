/*
 * The NEON set: arm64 with dot products and half precision arithmetic.
 */
#include "neon.h"

#include "../sets.h"

void kernels_neon(struct kernels *k)
{
	neon_wide_init(k);
	neon_ternary_init(k);
	neon_screen_init(k);
	k->mul_strips = NULL;
}
