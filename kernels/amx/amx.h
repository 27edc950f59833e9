/*
 * Parts of the AMX set.
 */
#ifndef AMX_H
#define AMX_H

#include "../kernels.h"

void amx_ternary_init(struct kernels *k);

#endif
