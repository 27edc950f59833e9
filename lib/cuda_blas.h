/*
 * Products of dense float matrices on a CUDA device by cuBLAS, opened at run time where it is
 * installed: for prompts of models whose weights are floats.
 */
#ifndef CUDA_BLAS_H
#define CUDA_BLAS_H

#include "cuda_driver.h"

struct cuda_blas; /* private */

/* Opens it for a stream of the context at hand; *b is NULL, without an error, where it is not
 * installed.  Its products use the work bytes at work and take no more.  Status 2 with the call
 * that failed.  Owner: the caller. */
int cuda_blas_open(struct cuda_blas **b, void *stream, cuda_address work, size_t bytes,
                   struct err *e);
int cuda_blas_close(struct cuda_blas *b, struct err *e); /* NULL is allowed */

/* y (n, y_stride) = W (rows, k) x for each of n inputs x (n, x_stride); add: y += instead. */
int cuda_blas_mul(const struct cuda_blas *b, size_t n, size_t rows, size_t k, cuda_address x,
                  size_t x_stride, cuda_address w, int add, cuda_address y, size_t y_stride,
                  struct err *e);

#endif
