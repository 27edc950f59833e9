/*
 * Whether weights that are loaded dense (weights.h) are faster here than as they lie: measured.
 */
#ifndef DENSE_H
#define DENSE_H

#include "gguf.h"
#include "kernels.h"

/* Dense weights are worth their copy below this ratio. */
#define DENSE_PAYS 0.97

/* The time of products of one token with strips, per weight, as a part of that with I2_S, with so
 * many threads, on memory that no cache holds, but no more than g's I2_S has: which is given back
 * before this returns.  INFINITY, without measuring, where there is nothing to choose: g has no
 * I2_S that could be dense, or k no products of its own for it.  Errors: no memory, no threads. */
int dense_ratio(double *ratio, const struct gguf *g, const struct kernels *k, int threads,
                struct err *e);

#endif
