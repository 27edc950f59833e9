/*
 * Dense float32 products by OpenBLAS, for prompts of models whose weights are floats.  The library
 * is opened when such a model is, so that ternary models do not pay for it.
 */
#ifndef BLAS_H
#define BLAS_H

#include <stddef.h>

struct blas; /* private, one per process, never closed (OpenBLAS does not support that) */

/* NULL when OpenBLAS is not installed: the kernels then do all products.  Calls run on the calling
 * thread alone; several threads may call at once. */
const struct blas *blas_open(void);

/* y (n, rows; rows of y_stride) = alpha * x (n, k; rows of x_stride) * w^T, w (rows, k). */
void blas_mul(const struct blas *b, size_t n, size_t rows, size_t k, float alpha, const float *x,
              size_t x_stride, const float *w, float *y, size_t y_stride);

#endif
