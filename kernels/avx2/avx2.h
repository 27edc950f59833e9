/*
 * Parts of the AVX2 set.
 */
#ifndef AVX2_H
#define AVX2_H

#include "../kernels.h"

void avx2_wide_init(struct kernels *k);
void avx2_ternary_init(struct kernels *k);
void avx2_screen_init(struct kernels *k);

#endif
