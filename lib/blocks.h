/*
 * Float and block types as rows of values: F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K,
 * Q5_K, Q6_K and IQ4_NL to float32; and float32 to those in which embeddings and heads are kept.
 * Source: gguf.md 5.
 */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "dtype.h"

int blocks_readable(enum dtype type);
int blocks_writable(enum dtype type); /* F32, F16, BF16, Q8_0, Q6_K, Q4_0, Q4_K */

/* n values, a multiple of the type's block, from and to bytes at any address.  Writing rounds each
 * value to nearest (ties to even for the 16-bit floats); block scales are chosen for a small
 * squared error.  x must be finite.  Results depend on the block alone. */
void blocks_read(enum dtype type, float *y, const uint8_t *x, size_t n);
void blocks_write(enum dtype type, uint8_t *y, const float *x, size_t n);

#endif
