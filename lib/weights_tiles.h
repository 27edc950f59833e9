/*
 * Matrices in TL1 and TL2, whose bytes lie in the order in which lookup kernels of one machine
 * walk: they are turned into rows of I2_S while loading, code by code.
 */
#ifndef WEIGHTS_TILES_H
#define WEIGHTS_TILES_H

#include "gguf.h"
#include "ternary.h"

/* Whether a type is one of these. */
int weights_tiles_is(enum dtype t);

/* How a matrix lies: as the file says, else by the one preset for its shape.
 * Errors (status 2, without the tensor's name): its tiling is not known. */
int weights_tiles_find(struct ternary *t, const struct gguf *g, const struct gguf_tensor *matrix,
                       struct err *e);

/* The payload (ternary_bytes) to rows of I2_S, row_bytes apart, filled up with zeros (code 1), and
 * the scale behind the last.  A band of codes is taken meanwhile, before the buffers of the session
 * are touched.  Errors: codes that mean nothing, no memory. */
int weights_tiles_load(uint8_t *out, uint64_t row_bytes, const struct ternary *t,
                       const uint8_t *payload, struct err *e);

#endif
