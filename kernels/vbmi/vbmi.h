/*
 * What the set for AVX-512 with byte permutes (VBMI) adds, and what later sets take from it.
 */
#ifndef VBMI_H
#define VBMI_H

#include "../kernels.h"

/* Products with weights in strips. */
kernel_mul vbmi_mul_strips;

/* avx512_unpack for weights in strips: row is a multiple of 16. */
void vbmi_unpack(const struct kernel_mat *w, size_t k, size_t row, size_t rows, size_t c,
                 uint8_t panel[4096]);

#endif
