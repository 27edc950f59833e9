/*
 * The AMX set: the AVX-512 set, with products of several tokens on int8 tiles.
 */
#include "amx.h"

#include "../sets.h"

void kernels_amx(struct kernels *k)
{
	amx_ternary_init(k);
}
