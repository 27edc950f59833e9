/*
 * The scalar functions, by entry.  Other sets keep those that they have no better code for and
 * call some for odd sizes.
 */
#ifndef SCALAR_H
#define SCALAR_H

#include "../kernels.h"

/* Fill the tables of their entries. */
void scalar_decode_init(struct kernels *k);
void scalar_encode_init(struct kernels *k);
void scalar_ternary_init(struct kernels *k);
void scalar_strips_init(struct kernels *k);
void scalar_float_init(struct kernels *k);
void scalar_vector_init(struct kernels *k);
void scalar_attend_init(struct kernels *k);
void scalar_probe_init(struct kernels *k);
void scalar_screen_init(struct kernels *k);

/* exp(x) as all sets compute it: relative error below 2e-7, 0 below -87, clamped above 88. */
float scalar_exp(float x);

/* The sum of 16 lanes in the order of all sets: l + 8, then + 4, + 2, + 1. */
float scalar_sum16(float lane[16]);

/* Products of any ternary type that keeps d per block, per row or not at all. */
kernel_mul scalar_mul_ternary;

/* Attention over heads of any width. */
void scalar_attend(const struct kernel_attn *a);
void scalar_attend_chunk(const struct kernel_attn *a, size_t chunk, float *state);
void scalar_attend_join(const struct kernel_attn *a, const float *state, size_t step);

#endif
