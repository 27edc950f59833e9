/*
 * Where things lie in device memory, for the host and for the device from one source.
 *
 * A tile holds the codes of 16 rows and 128 columns for the lanes of a warp, 16 bytes each:
 *
 *	lane 4 g + t:  word 0: row g      word 1: row g + 8    columns 32 t + 8 s + i
 *	               word 2: row g      word 3: row g + 8    columns 32 t + 8 s + 4 + i
 *
 * where byte i of a word has the code of field s in bits 2 s + 1 : 2 s.  With all but one field
 * masked these are the fragments of a tensor core's 16 x 32 matrix, and of a row of int8 inputs a
 * lane reads the 32 bytes from 32 t on: word 2 s + h of them belongs to field s of the words 2 h
 *and 2 h + 1.
 */
#ifndef CUDA_LAYOUT_H
#define CUDA_LAYOUT_H

#include "cuda.h"

#ifdef __CUDACC__
#define CUDA_HD static __host__ __device__ __forceinline__
#else
#define CUDA_HD static inline
#endif

#define BAND_ROWS    16u
#define TILE_COLUMNS 128u
#define TILE_BYTES   512u
#define D_COLUMNS    256u /* of a block with its own scale */

/* What a thread loads at once: 16 bytes. */
struct words {
	uint32_t w[4];
};

/* Rows of the screen that share a bound (HEAD_BLOCK of lib/head.h). */
#define SCREEN_ROWS 64u

CUDA_HD uint32_t layout_up(uint32_t n, uint32_t step)
{
	return (n + step - 1) / step;
}

CUDA_HD uint32_t layout_bands(uint32_t rows)
{
	return layout_up(rows, BAND_ROWS);
}

CUDA_HD uint32_t layout_tiles(uint32_t columns)
{
	return layout_up(columns, TILE_COLUMNS);
}

/* The byte of a code in its band, and how far it is shifted there. */
CUDA_HD size_t layout_byte(uint32_t row, uint32_t column)
{
	uint32_t c = column % TILE_COLUMNS;
	uint32_t lane = 4 * (row & 7) + c / 32;
	uint32_t word = (row >> 3 & 1) + 2 * (c / 4 % 2);

	return (size_t)(column / TILE_COLUMNS) * TILE_BYTES + 16 * lane + 4 * word + c % 4;
}

CUDA_HD uint32_t layout_shift(uint32_t column)
{
	return 2 * (column / 8 % 4);
}

/* Bytes of a cached row of dim values, filled up to eight values and 16 bytes; 0: not a type of
 * caches. */
CUDA_HD uint32_t layout_cache_row(uint32_t type, uint32_t dim)
{
	uint32_t filled = layout_up(dim, 8) * 8;

	switch (type) {
	case DTYPE_F32:
		return 4 * filled;
	case DTYPE_F16:
	case DTYPE_BF16:
		return 2 * filled;
	case DTYPE_Q8_0:
		return dim % 32 ? 0 : layout_up(dim + dim / 32 * 2, 16) * 16;
	default:
		return 0;
	}
}

/* Positions of a cache come in blocks of this many, which belong to one block of threads. */
#define ATTEND_POSITIONS 64u

/* How many of `splits` blocks share `positions`, and the first position of each (and of the one
 * behind the last): whole blocks of positions, as even as possible. */
CUDA_HD uint32_t layout_splits(uint32_t positions, uint32_t splits)
{
	uint32_t blocks = layout_up(positions, ATTEND_POSITIONS);

	return blocks < splits ? blocks : splits;
}

CUDA_HD uint32_t layout_split(uint32_t positions, uint32_t splits, uint32_t i)
{
	uint32_t blocks = layout_up(positions, ATTEND_POSITIONS);
	uint32_t first = (uint32_t)((uint64_t)blocks * i / splits) * ATTEND_POSITIONS;

	return first < positions ? first : positions;
}

/* ---- sizes of blocks of threads, and of what they share ---- */

#define GEMM_PAIRS  4u /* pairs of bands */
#define GEMM_TOKENS 128u
#define GEMM_STAGES 3u
/* A stage: 8 bands of a tile, then the tokens' 128 bytes. */
#define GEMM_CODES (2u * GEMM_PAIRS * TILE_BYTES)
#define GEMM_STAGE (GEMM_CODES + GEMM_TOKENS * TILE_COLUMNS)

#define BATCH_TOKENS 32u

#define VECTOR_SHARED 96256u /* what sm_86 has, less what is not asked for at launch */

/* Whether the weights of a norm come into shared memory, behind the int8 inputs, before the input
 * is there. */
CUDA_HD int vector_stages(uint32_t k, int norm)
{
	return norm && k % 4 == 0 && layout_tiles(k) * TILE_COLUMNS + 4 * k <= VECTOR_SHARED;
}

#define DENSE_LANES  16u
#define DENSE_GROUPS 16u /* of lanes in a block */
#define DENSE_ROWS   4u  /* of a group, for one token */
#define DENSE_SOME   2u  /* for DENSE_TOKENS at a time */
#define DENSE_TOKENS 8u

#define MANY_ROWS    64u
#define MANY_TOKENS  64u
#define MANY_THREADS 128u

#define ATTEND_HEADS 4u   /* query heads of a block */
#define ATTEND_DIM   256u /* values of a head, at most */

#define PROMPT_KEYS   32u
#define PROMPT_VALUES 128u /* values of a head that a block computes */
#define PROMPT_FILL   8u   /* halves that fill rows up, for the banks */

CUDA_HD uint32_t prompt_dim(uint32_t dim_k)
{
	return layout_up(dim_k, 16) * 16;
}

/* Queries of a block: 16 a warp. */
CUDA_HD uint32_t prompt_block(uint32_t dim_k)
{
	return dim_k <= 128 ? 64 : 32;
}

/* Halves in shared memory: queries twice, keys and values once for F16, else twice. */
CUDA_HD uint32_t prompt_halves(uint32_t dim_k, uint32_t k_type, uint32_t v_type)
{
	uint32_t k = k_type == DTYPE_F16 ? 1 : 2, v = v_type == DTYPE_F16 ? 1 : 2;

	return (2 * prompt_block(dim_k) + k * PROMPT_KEYS) * (prompt_dim(dim_k) + PROMPT_FILL) +
	       v * PROMPT_VALUES * (PROMPT_KEYS + PROMPT_FILL);
}

#define SETTLE_ROWS 1024u
#define PICK_ROWS   4096u

/* ---- which bands a block multiplies ---- */

/* A band of a product by part; past the end the part is none of them. */
#define LAYOUT_NONE 3u
struct layout_band {
	uint32_t part, band;
};

/* Band number n of all parts, one after the other. */
CUDA_HD struct layout_band layout_find(const struct cuda_product *p, uint32_t n)
{
	struct layout_band b = {0, n};

	if (b.band < layout_bands(p->part[0].rows))
		return b;
	b.band -= layout_bands(p->part[0].rows);
	b.part = p->parts > 1 ? 1 : LAYOUT_NONE;
	if (b.part == LAYOUT_NONE || b.band < layout_bands(p->part[1].rows))
		return b;
	b.band -= layout_bands(p->part[1].rows);
	b.part = p->parts > 2 && b.band < layout_bands(p->part[2].rows) ? 2 : LAYOUT_NONE;
	return b;
}

/* The first or second (i) of the n'th pair of bands: for gate and up the same band of both, else
 * two neighbours. */
CUDA_HD struct layout_band layout_pair(const struct cuda_product *p, uint32_t n, uint32_t i)
{
	struct layout_band b;

	if (p->then < CUDA_RELU2)
		return layout_find(p, 2 * n + i);
	b.band = n;
	b.part = n < layout_bands(p->part[0].rows) ? i : LAYOUT_NONE;
	return b;
}

/* Bands that CUDA_VECTOR's blocks go through: those of all parts, or of the gate. */
CUDA_HD uint32_t vector_bands(const struct cuda_product *p)
{
	uint32_t bands = 0;

	if (p->then >= CUDA_RELU2)
		return layout_bands(p->part[0].rows);
	for (uint32_t i = 0; i < p->parts; i++)
		bands += layout_bands(p->part[i].rows);
	return bands;
}

/* Blocks that take as many bands each, where `units` multiprocessors hold four at a time. */
CUDA_HD uint32_t vector_blocks(const struct cuda_product *p)
{
	uint32_t bands = vector_bands(p), most = 4 * p->units;

	return most && bands > most ? layout_up(bands, layout_up(bands, most)) : bands;
}

/* How many pairs there are. */
CUDA_HD uint32_t layout_pairs(const struct cuda_product *p)
{
	return p->then >= CUDA_RELU2 ? vector_bands(p) : (vector_bands(p) + 1) / 2;
}

#endif
