/*
 * The set for AMD's AVX-512: more than its int8 products can do alone.
 */
#include "zen4.h"

#include "../sets.h"

void kernels_zen4(struct kernels *k)
{
	zen4_ternary_init(k);
}
