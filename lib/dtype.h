/*
 * The tensor types of GGUF files and what is known of each: ids, names, sizes.
 * Source: spec of the container, type tables of upstream, Microsoft and ik forks.
 */
#ifndef DTYPE_H
#define DTYPE_H

#include <stdint.h>

#include "err.h"

/* Our own numbering: ids in files collide between forks (36..39, 42), these do not.
 * Kernels index their tables by it. */
enum dtype {
	DTYPE_NONE = 0,
	DTYPE_F32,
	DTYPE_F16,
	DTYPE_BF16,
	DTYPE_F64,
	DTYPE_I8,
	DTYPE_I16,
	DTYPE_I32,
	DTYPE_I64,
	DTYPE_Q4_0,
	DTYPE_Q4_1,
	DTYPE_Q5_0,
	DTYPE_Q5_1,
	DTYPE_Q8_0,
	DTYPE_Q8_1,
	DTYPE_Q2_K,
	DTYPE_Q3_K,
	DTYPE_Q4_K,
	DTYPE_Q5_K,
	DTYPE_Q6_K,
	DTYPE_IQ2_XXS,
	DTYPE_IQ2_XS,
	DTYPE_IQ3_XXS,
	DTYPE_IQ1_S,
	DTYPE_IQ4_NL,
	DTYPE_IQ3_S,
	DTYPE_IQ2_S,
	DTYPE_IQ4_XS,
	DTYPE_IQ1_M,
	DTYPE_TQ1_0,
	DTYPE_TQ2_0,
	DTYPE_I2_S,  /* Microsoft 36: whole-tensor scale behind the codes */
	DTYPE_TL1,   /* Microsoft 38 */
	DTYPE_TL2,   /* Microsoft 39 */
	DTYPE_MXFP4, /* upstream 39 */
	DTYPE_NVFP4,
	DTYPE_Q1_0,
	DTYPE_Q2_0,      /* 42, groups of 64 */
	DTYPE_Q2_0_G128, /* 42 in older files and 142 (PQ2_0), groups of 128 */
	DTYPE_PTQ1_0,    /* 143 */
	DTYPE_IQ1_BN,    /* ik 134 */
	DTYPE_IQ2_BN,    /* ik 135 */
	DTYPE_IQ2_BN_R4, /* ik 335 */
	DTYPE_Q6_0,      /* ik 133 */
	DTYPE_IQ2_K,
	DTYPE_IQ3_K,
	DTYPE_IQ4_K,
	DTYPE_IQ5_K,
	DTYPE_IQ4_NL_4_4, /* upstream 36 to 38 for some weeks of 2024: IQ4_NL in other orders */
	DTYPE_IQ4_NL_4_8,
	DTYPE_IQ4_NL_8_8,
	DTYPE_COUNT
};

struct dtype_info {
	const char *name;     /* as users write it: "I2_S"; lookups ignore case */
	uint32_t id;          /* ggml type id in files */
	uint32_t block;       /* elements per block */
	uint32_t block_bytes; /* bytes per block */
	uint32_t row_prefix;  /* bytes in front of each row (ik's BN types) */
	int ternary;          /* holds codes -1, 0, 1 times a scale */
};

/* The facts of t; t must be a member other than DTYPE_NONE. */
const struct dtype_info *dtype_get(enum dtype t);

/* By name without regard to case ("i2_s", "F16"); DTYPE_NONE when there is none. */
enum dtype dtype_find(const char *name);

/* All readings of a ggml type id: writes up to 4 of them, returns how many (0: unknown id). */
int dtype_of_id(uint32_t id, enum dtype out[4]);

/* Bytes of a tensor of rows x cols elements (cols is the contiguous axis).
 * I2_S and TL1: n/4 + 32; TL2: its own formula; others rows * row bytes.
 * Errors (status 2): cols not a multiple of the block, overflow, the type's own limits. */
int dtype_bytes(enum dtype t, uint64_t rows, uint64_t cols, uint64_t *bytes, struct err *e);

/* Bytes of one row; 0 for the types whose rows are not separate (TL1, TL2, IQ2_BN_R4).
 * I2_S: cols / 4 (the scale lies behind the last row). */
uint64_t dtype_row_bytes(enum dtype t, uint64_t cols);

#endif
