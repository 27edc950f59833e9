/*
 * Ternary matrices as bytes: every layout that files use, between codes (-1, 0, 1) with their
 * scales and bytes, band of rows by band of rows, so that no more than a band is in memory.
 * Source: ternary-formats.md 1 to 6, other-formats.md 1.  All bytes little-endian.
 *
 * A matrix has rows x cols elements, cols contiguous; value = code * scale.  Where the scales lie
 * depends on the layout: one for the tensor (I2_S, TL1, TL2: behind the codes), one per row
 * (IQ*_BN), one per group of 64, 128 or 256 columns, or outside (HF_U8).
 */
#ifndef TERNARY_H
#define TERNARY_H

#include <stddef.h>
#include <stdint.h>

#include "dtype.h"
#include "err.h"

enum ternary_kind {
	TERNARY_NONE = 0,
	TERNARY_I2_S,       /* blocks of 128 elements in 32 bytes: every published file */
	TERNARY_I2_S_ARM,   /* blocks of 64 in 16 bytes: quantizers built for ARM in 2026 */
	TERNARY_I2_S_ROWS4, /* four rows share a byte */
	TERNARY_TL1,
	TERNARY_TL2,
	TERNARY_TQ1_0,
	TERNARY_TQ2_0,
	TERNARY_Q2_0,      /* groups of 64; code 3 (+2) is refused */
	TERNARY_Q2_0_G128, /* the same in groups of 128 */
	TERNARY_PTQ1_0,
	TERNARY_IQ1_BN,
	TERNARY_IQ2_BN,
	TERNARY_IQ2_BN_R4,
	TERNARY_HF_U8, /* checkpoints: byte row r holds rows r, r + R, r + 2R, r + 3R, R = ceil(rows
	                  / 4) */
	TERNARY_KINDS
};

/* The tiling of TL1 and TL2, which files do not hold.  TL2's step is always 32. */
struct ternary_tile {
	uint32_t rows; /* BM */
	uint32_t cols; /* BY */
	uint32_t step; /* bm: rows of a group; 256 / bm columns in TL1 */
};

struct ternary {
	enum ternary_kind kind;
	uint64_t rows, cols;
	struct ternary_tile tile;
};

/* Keys that tell in a file what the bytes do not.  TERNARY_KEY_TL1 and _TL2 are arrays of u32, five
 * for each shape: rows, cols, BM, BY, bm.  TERNARY_KEY_I2S is a string: "x86" (the published
 * layout, also when absent), "arm" or "rows4". */
#define TERNARY_KEY_TL1 "ternary.tl1.tiles"
#define TERNARY_KEY_TL2 "ternary.tl2.tiles"
#define TERNARY_KEY_I2S "ternary.i2_s.layout"

/* Names as users write them: "i2_s", "i2_s_arm", "tl1", "hf_u8" ...; TERNARY_NONE when there is
 * none. */
const char *ternary_name(enum ternary_kind kind);
enum ternary_kind ternary_find(const char *name);

/* The value of TERNARY_KEY_I2S of an I2_S kind, and back (TERNARY_NONE: no such layout). */
const char *ternary_i2s_layout(enum ternary_kind kind);
enum ternary_kind ternary_find_i2s(const char *layout);

/* The kind that a tensor type has in files, and the other way round (HF_U8: DTYPE_NONE). */
enum ternary_kind ternary_of_dtype(enum dtype type);
enum dtype ternary_dtype(enum ternary_kind kind);

/* Describes a matrix.  tile is read for TL1 and TL2 alone.  Errors (status 2): shapes that the
 * layout cannot hold, with the number that does not fit. */
int ternary_init(struct ternary *t, enum ternary_kind kind, uint64_t rows, uint64_t cols,
                 const struct ternary_tile *tile, struct err *e);

/* The tilings that known converters use for a shape (TL1 or TL2), at most 2, the likelier first. */
int ternary_presets(enum ternary_kind kind, uint64_t rows, uint64_t cols,
                    struct ternary_tile out[2]);

/* A tiling that fits the shape, for new files: the preset if there is one.  -1: none fits. */
int ternary_choose(enum ternary_kind kind, uint64_t rows, uint64_t cols, struct ternary_tile *out,
                   struct err *e);

uint64_t ternary_bytes(const struct ternary *t); /* of the tensor, tail and padding included */
uint64_t ternary_group(
    const struct ternary *t); /* columns with one scale; 0: one for the tensor or outside */
uint64_t
ternary_band(const struct ternary *t); /* rows are packed and unpacked in multiples of this */

/* Scales of n rows: n * cols / group, or 0. */
uint64_t ternary_scales(const struct ternary *t, uint64_t n);

/* The scale as it is after it was stored (F16 for some layouts). */
float ternary_stored(const struct ternary *t, float scale);

/* Where the whole tensor's scale (float32) lies, and from where on there is no code; 0 when there
 * is none. */
uint64_t ternary_scale_offset(const struct ternary *t);
uint64_t ternary_code_bytes(const struct ternary *t);

/* Bands: the bytes of rows [row, row + n) lie in up to TERNARY_SPANS separate places, in the order
 * of their offsets.  row must be a multiple of the band; n too, or end at the last row. HF_U8: rows
 * of one quarter only; ternary_run says how many follow from row on (other layouts: all). */
#define TERNARY_SPANS 3
struct ternary_span {
	uint64_t offset; /* in the tensor */
	uint64_t bytes;
};
int ternary_spans(const struct ternary *t, uint64_t row, uint64_t n,
                  struct ternary_span out[TERNARY_SPANS]);
uint64_t ternary_run(const struct ternary *t, uint64_t row);

/* Bytes to codes.  in: what ternary_spans said; q: (n, cols); scales: ternary_scales(t, n), may
 * be NULL.  A row or group whose scale is 0 gives codes 0.  Errors (status 2): a code that means
 * nothing (with the element), a scale that is not finite. */
int ternary_unpack(const struct ternary *t, uint64_t row, uint64_t n,
                   const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales, struct err *e);

/* Codes to bytes; out[i] may be NULL: that span is not wanted.  A group or row without a nonzero
 * code is stored with scale 0.  Not for HF_U8, see ternary_pack_hf. */
void ternary_pack(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                  const float *scales, uint8_t *const out[TERNARY_SPANS]);

/* n byte rows of HF_U8, from byte row on: plane[i] holds the codes of the rows from row + i * R on,
 * those that exist (rows that do not are stored as code 0). */
void ternary_pack_hf(const struct ternary *t, uint64_t row, uint64_t n,
                     const int8_t *const plane[4], uint8_t *out);
uint64_t ternary_hf_rows(const struct ternary *t); /* R */

/* The last ternary_bytes - ternary_code_bytes bytes: zeros with the scale in its place. */
void ternary_tail(const struct ternary *t, float scale, uint8_t *out);

#endif
