/*
 * Parts of the Zen 4 set.
 */
#ifndef ZEN4_H
#define ZEN4_H

#include "../kernels.h"

void zen4_ternary_init(struct kernels *k);

#endif
