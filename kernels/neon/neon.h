/*
 * Parts of the NEON set.
 */
#ifndef NEON_H
#define NEON_H

#include "../kernels.h"

void neon_wide_init(struct kernels *k);
void neon_ternary_init(struct kernels *k);
void neon_screen_init(struct kernels *k);

#endif
