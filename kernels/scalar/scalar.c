/*
 * The scalar set: plain C for every entry, the specification of all other sets.
 */
#include "scalar.h"

#include "../sets.h"

void kernels_scalar(struct kernels *k)
{
	scalar_decode_init(k);
	scalar_encode_init(k);
	scalar_ternary_init(k);
	scalar_strips_init(k);
	scalar_float_init(k);
	scalar_vector_init(k);
	scalar_attend_init(k);
	scalar_probe_init(k);
	scalar_screen_init(k);
}
