/*
 * The packers behind ternary.h, one pair per family of layouts.  Private to lib/ternary*.c.
 * Arguments as for ternary_unpack and ternary_pack.
 */
#ifndef TERNARY_CODEC_H
#define TERNARY_CODEC_H

#include "ternary.h"

typedef int ternary_unpack_fn(const struct ternary *t, uint64_t row, uint64_t n,
                              const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                              struct err *e);
typedef void ternary_pack_fn(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                             const float *scales, uint8_t *const out[TERNARY_SPANS]);

/* One code per two bits, one scale per tensor or outside (ternary_planes.c). */
ternary_unpack_fn ternary_unpack_i2s, ternary_unpack_i2s_arm, ternary_unpack_i2s_rows4,
    ternary_unpack_hf;
ternary_pack_fn ternary_pack_i2s, ternary_pack_i2s_arm, ternary_pack_i2s_rows4;

/* Blocks or rows with their own scale (ternary_blocks.c). */
ternary_unpack_fn ternary_unpack_tq1, ternary_unpack_tq2, ternary_unpack_q2, ternary_unpack_ptq1,
    ternary_unpack_iq1, ternary_unpack_iq2, ternary_unpack_iq2_r4;
ternary_pack_fn ternary_pack_tq1, ternary_pack_tq2, ternary_pack_q2, ternary_pack_ptq1,
    ternary_pack_iq1, ternary_pack_iq2, ternary_pack_iq2_r4;

/* Tiles (ternary_tiles.c). */
ternary_unpack_fn ternary_unpack_tl1, ternary_unpack_tl2;
ternary_pack_fn ternary_pack_tl1, ternary_pack_tl2;

/* The error of a code that means nothing; returns -1. */
int ternary_bad_code(const struct ternary *t, uint64_t row, uint64_t col, int code, struct err *e);

#endif
