/*
 * The CUDA kernels as the host sees them: what each one takes, how it is launched, how weights are
 * laid out for it.  Nothing here needs CUDA: who launches opens the driver at run time, and the
 * image is there only when the build found nvcc.
 *
 * A kernel takes one struct by value, its only parameter.  Pointers in it are addresses of the
 * device.  What changes from token to token (ids, positions, slots) is read from device memory, so
 * that a step can be captured as a graph and replayed.  Every kernel waits for the grids before it
 * by itself where it was launched with programmatic stream serialization; products fetch weights
 * before that.
 *
 * Rows of floats begin at multiples of 16 bytes where a norm reads them, rows of int8 and of caches
 * everywhere.
 *
 * Numbers: integer dot products, int8 rounding and what is written to a cache are those of
 * kernels/scalar; so are products of float types (lanes in the same order).  Normalisation adds
 * squares as pairs of floats (2^-44) and attention differs within 1e-5 of the largest value.
 */
#ifndef CUDA_CUDA_H
#define CUDA_CUDA_H

#include <stddef.h>
#include <stdint.h>

#include "../../lib/dtype.h"

enum cuda_kernel {
	CUDA_EMBED,         /* struct cuda_embed */
	CUDA_NORM,          /* struct cuda_norm */
	CUDA_VECTOR,        /* struct cuda_product: n = 1, from floats */
	CUDA_BATCH,         /* struct cuda_product: n <= 32, from int8 */
	CUDA_GEMM,          /* struct cuda_product: any n, from int8 */
	CUDA_MIXED,         /* struct cuda_product: any n, from int8, d differs within rows */
	CUDA_DENSE,         /* struct cuda_dense: scalar's sums */
	CUDA_DENSE_MANY,    /* struct cuda_dense: any n, on tensor cores, to 2^-20 */
	CUDA_WIDEN,         /* struct cuda_widen */
	CUDA_ACT,           /* struct cuda_act */
	CUDA_ROPE,          /* struct cuda_attend: rotation and the cache, for prompts */
	CUDA_ATTEND,        /* struct cuda_attend: the same and attention, one token a sequence */
	CUDA_PROMPT,        /* struct cuda_attend: attention of a prompt, after CUDA_ROPE */
	CUDA_SCREEN_FILL,   /* struct cuda_screen: once, from the head */
	CUDA_SCREEN_INPUT,  /* struct cuda_screen: then for each step these four */
	CUDA_SCREEN_BOUND,  /* struct cuda_screen */
	CUDA_SCREEN_LIMIT,  /* struct cuda_screen */
	CUDA_SCREEN_SETTLE, /* struct cuda_screen */
	CUDA_PICK,          /* struct cuda_pick: the greatest */
	CUDA_TOP,           /* struct cuda_pick: the k greatest */
	CUDA_PROBE_COPY,    /* struct cuda_probe */
	CUDA_PROBE_INT8,    /* struct cuda_probe */
	CUDA_KERNELS
};

/* How a kernel is launched with given arguments. */
struct cuda_shape {
	uint32_t grid[3];
	uint32_t block;  /* threads, in x */
	uint32_t shared; /* bytes of dynamic shared memory */
};

struct cuda_info {
	const char *name; /* of the function in the image */
	size_t args;      /* bytes of its struct */
	uint32_t shared;  /* the most dynamic shared memory that it may ask for: above 48 KiB the
	                     function's limit must be raised before the first launch */
};

const struct cuda_info *cuda_info(enum cuda_kernel k);
void cuda_shape(enum cuda_kernel k, const void *args, struct cuda_shape *s);

/* The machine code, a fat binary for cuModuleLoadData; NULL when it was built without nvcc. */
const void *cuda_image(size_t *bytes);

/* ---- weights ---- */

/*
 * Ternary matrices lie in bands of 16 rows, each band in tiles of 128 columns, 512 bytes each: one
 * load of 16 bytes per lane of a warp, in the order of the tensor cores' fragments.  Rows and
 * columns that a matrix lacks are zeros.  Codes stay as in the file (0, 1, 2 for -1, 0, 1).
 * Behind the codes, for types that have scales: d of each row (float32), then, for types with a
 * scale per block of 256 columns, d of each block (binary16).
 */
int cuda_packs(enum dtype t); /* whether t is laid out so: I2_S, TQ2_0, TQ1_0, IQ2_BN, IQ1_BN */

struct cuda_packing {
	enum dtype type;
	int group; /* I2_S: 32, or 16 for files of ARM builds */
	uint32_t rows, cols;
	size_t row_bytes; /* in the file */
	/* Where the parts of the packed matrix lie, and how long it is. */
	size_t bands, band_bytes;        /* codes from 0 on */
	size_t row_d, block_d, d_blocks; /* offsets; 0: none; blocks in a row */
	size_t bytes;                    /* of all, a multiple of 256 */
};

/* Fills p for a matrix of the type; row_bytes 0: rows lie as close as the type allows. */
void cuda_packing(struct cuda_packing *p, enum dtype t, int group, uint32_t rows, uint32_t cols,
                  size_t row_bytes);

/* Packs the rows of one band: data is row 0 of the matrix, codes has band_bytes, d 16 floats and
 * block_d (16, d_blocks) halves (NULL where the packing has none).  Returns 1 when a row has blocks
 * of different d (CUDA_MIXED must multiply the matrix), else 0.  Bands may be packed side by side.
 * The way back writes the rows of the band as the type has them. */
int cuda_pack(const struct cuda_packing *p, size_t band, const uint8_t *data, uint8_t *codes,
              float *d, uint16_t *block_d);
void cuda_unpack(const struct cuda_packing *p, size_t band, uint8_t *data, const uint8_t *codes,
                 const float *d, const uint16_t *block_d);

/* ---- products ---- */

/* One packed matrix and its output. */
struct cuda_part {
	const uint8_t *codes;
	const float *row_d;      /* NULL: 1 */
	const uint16_t *block_d; /* CUDA_MIXED only */
	float scale;             /* of all (kernel_mat) */
	uint32_t rows;
	float *y; /* row of token 0; tokens y_stride apart */
};

enum cuda_then {
	CUDA_STORE, /* y = W x */
	CUDA_SUM,   /* y += W x */
	CUDA_RELU2, /* parts are gate and up: y of part 0 = max(g, 0)^2 * u; equal rows */
	CUDA_SILU   /* y of part 0 = g / (1 + exp(-g)) * u */
};

/* Products of up to three matrices with one input.  VECTOR reads x (one token), normalises it when
 * norm is set, and rounds it to int8 itself; the others read what CUDA_NORM wrote. */
struct cuda_product {
	struct cuda_part part[3];
	uint32_t parts, n, k;
	uint32_t then; /* enum cuda_then */
	uint32_t d_blocks;
	uint32_t units; /* multiprocessors of the device; 0: not known */
	const float *x;
	const float *norm; /* (k) or NULL */
	float eps;
	const int8_t *q;      /* (n, q_stride), zeros behind k */
	const float *q_scale; /* (n) */
	const int32_t *q_sum; /* (n) */
	size_t q_stride, y_stride;
};

/* q_stride of k columns: a multiple of 128. */
size_t cuda_q_stride(uint32_t k);

/* Which of VECTOR, BATCH, GEMM and MIXED multiplies best; only VECTOR needs no CUDA_NORM before. */
enum cuda_kernel cuda_product_kernel(uint32_t n, uint32_t k, int mixed);

/* RMS norm (norm NULL: none), rounded to int8 as kernels.quantize_i8 does, for n tokens. */
struct cuda_norm {
	uint32_t n, k;
	const float *x; /* (n, x_stride) */
	size_t x_stride;
	const float *norm;
	float eps;
	float *y; /* (n, y_stride): the normalised values; NULL: not wanted; may be x */
	size_t y_stride;
	int8_t *q; /* (n, q_stride), zeros written behind k; NULL: not wanted */
	size_t q_stride;
	float *q_scale;
	int32_t *q_sum;
};

/* Rows of a float or block type times n tokens of floats. y (n, y_stride) = or += scale * W x. */
struct cuda_dense {
	const uint8_t *w;
	uint32_t type; /* enum dtype; cuda_dense_type says which */
	size_t row_bytes;
	uint32_t rows, k, n;
	float scale;
	uint32_t then;  /* CUDA_STORE or CUDA_SUM */
	const float *x; /* (n, x_stride) */
	size_t x_stride;
	float *y;
	size_t y_stride;
};

int cuda_dense_type(enum dtype t);

/* CUDA_DENSE, or CUDA_DENSE_MANY from so many tokens on that it pays (as on the host, where a
 * library multiplies from 32 on): with it a result is no longer that of fewer tokens in every bit.
 */
enum cuda_kernel cuda_dense_kernel(uint32_t n);

/* Rows to floats, for products by a library: y (rows, k) = scale * W. */
struct cuda_widen {
	const uint8_t *w;
	uint32_t type;
	size_t row_bytes;
	uint32_t rows, k;
	float scale;
	float *y;
	size_t y_stride;
};

/* g (n, stride) = act(g) * u, k values a token. */
struct cuda_act {
	uint32_t n, k, then; /* CUDA_RELU2, CUDA_SILU; CUDA_SUM: g += u */
	float *g;
	const float *u;
	size_t g_stride, u_stride;
};

/* ---- tokens ---- */

/* x (n, x_stride) = rows ids[t] of the embedding; angles of the positions.  A token whose slot is
 * negative is left alone by all kernels that read slots; its id must be one all the same. */
struct cuda_embed {
	const uint8_t *w;
	uint32_t type; /* cuda_embed_type */
	size_t row_bytes;
	float scale;
	uint32_t n, k;
	const int32_t *ids, *pos; /* (n) */
	float *x;
	size_t x_stride;
	/* angle j = pos / factor * freq[j] / divisor[j], all in float64 */
	uint32_t half;        /* pairs that are rotated */
	double factor;        /* rope_factor */
	const double *freq;   /* (half) pow(rope_base, -2 j / n_rot) */
	const float *divisor; /* (half) or NULL */
	float *cosine, *sine; /* (n, half) */
};

int cuda_embed_type(enum dtype t); /* float, block and ternary types, as in the file */

/* The cache of one layer and what is done with it.  Rows of Q8_0 lie as dim int8, then dim / 32
 * binary16 scales; all rows are cuda_cache_row bytes, filled up with zeros. */
struct cuda_attend {
	uint32_t n;
	uint32_t heads, heads_kv, dim_k, dim_v, half, neox;
	float scale; /* of scores */
	float *qkv;  /* (n, qkv_stride): Q of all heads, K, V; CUDA_ROPE rotates Q in place */
	size_t qkv_stride;
	const float *cosine, *sine; /* (n, half) */
	const int32_t *pos, *slot;  /* (n); CUDA_PROMPT: tokens of one slot, ascending positions */
	uint32_t k_type, v_type;    /* F32, F16, BF16, Q8_0 */
	uint8_t *k, *v;             /* of this layer: slot 0, head 0, position 0 */
	size_t k_row, v_row, k_head, v_head, k_slot, v_slot; /* bytes from one to the next */
	uint32_t splits;  /* CUDA_ATTEND: blocks that share a sequence's positions: at most 64 */
	float *partial;   /* cuda_attend_partial floats */
	uint32_t *ticket; /* (n, heads_kv), zeros before the first launch, zeros after each */
	float *out;       /* (n, out_stride): heads * dim_v */
	size_t out_stride;
};

size_t cuda_cache_row(enum dtype t, uint32_t dim); /* a multiple of 16; 0: not a cache type */
size_t cuda_attend_partial(const struct cuda_attend *a);
uint32_t cuda_attend_splits(uint32_t units, uint32_t n, uint32_t heads_kv, uint32_t ctx);

/* ---- the head ---- */

/* The screen of lib/head.h on the device, for n <= 32 inputs at a time.  The wanted greatest logits
 * of each are exact, others may be -INFINITY.  Types F32, F16, BF16. */
struct cuda_screen {
	const uint8_t *w;
	uint32_t type;
	size_t row_bytes;
	float w_scale;
	uint32_t rows, k, n, want;  /* want: 1, or at most rows / 64 */
	size_t stride;              /* bytes of a row of q: cuda_q_stride(k) */
	int8_t *q;                  /* (rows, stride) */
	float *scale, *lost, *norm; /* (rows) */
	const float *x;             /* (n, x_stride): after the output norm */
	size_t x_stride;
	int8_t *xq;      /* (n, 2, stride) */
	double *bound;   /* (n, 4): 1 / t, |x|, |d|, not used */
	float *low;      /* (n, (rows + 63) / 64) */
	uint32_t *limit; /* (n): float bits in ascending order */
	float *logits;   /* (n, logits_stride) */
	size_t logits_stride;
	uint64_t *exact; /* rows that were computed, a sum; or NULL */
};

int cuda_screen_type(enum dtype t);

/* The greatest of each row of logits; ties go to the lower id, as the sampler has it. */
struct cuda_pick {
	uint32_t n, rows, k; /* CUDA_TOP: k <= 1024 */
	const float *logits;
	size_t logits_stride;
	uint64_t *best;   /* CUDA_PICK: (n), zeros before the first launch, zeros after each */
	uint32_t *ticket; /* CUDA_PICK: (n), the same */
	int32_t *id;      /* (n, k), greatest first */
	float *value;     /* (n, k) or NULL */
	/* CUDA_PICK, where the next step follows at once: ids[t] = id, pos[t] += 1; NULL: not */
	int32_t *next_id, *next_pos;
};

/* ---- what the device gives at best ---- */

struct cuda_probe {
	const uint8_t *from; /* COPY: bytes, a multiple of 16 */
	uint8_t *to;
	uint64_t bytes;
	uint32_t blocks, rounds; /* INT8: each block of 256 threads does rounds * CUDA_PROBE_OPS
	                            multiply-adds */
	int32_t *sink;           /* INT8: (blocks) */
};
#define CUDA_PROBE_OPS (8u * 8u * 16u * 8u * 32u) /* warps, products in flight, of 16 x 8 x 32 */

#endif
