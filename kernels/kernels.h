/*
 * The arithmetic of inference as a table of functions, one table per instruction set.
 * The scalar table is the specification; kernels_get() chooses by what this CPU has.
 *
 * Rules for every entry:
 * - no allocation, no errors, no state; the caller checked shapes;
 * - rows of weights may lie at any address that the file's alignment allows (I2_S: 32 bytes in
 *   files, 1 byte here); activations and outputs are 64-byte aligned at row 0 unless said;
 * - the value of an output element depends on its own row and token only, never on which other
 *   rows or tokens are computed with it: bit-identical for any split and any batch;
 * - integer dot products are exact, so all tables agree on them bit for bit; float sums may
 *   differ between tables within the tolerance that tests/kernels.c states.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/dtype.h"

/* A weight matrix where it lies. */
struct kernel_mat {
	enum dtype type;
	size_t rows, cols; /* outputs, inputs (contiguous) */
	const uint8_t *data;
	size_t row_bytes; /* from one row to the next */
	float scale; /* factor of every product: I2_S's tensor scale times a .scale tensor; else 1
	                or that */
	int strips;  /* of type I2_S: data is in strips (strips.h), row_bytes means nothing */
};

/* The inputs of a product: n tokens of k values.  Weight types that are ternary read q, scale and
 * sums; float and block types read f. */
struct kernel_input {
	size_t n, k;
	const float *f;  /* (n, k), rows stride floats apart */
	const int8_t *q; /* (n, k), rows stride bytes apart, zero behind k up to a multiple of 64 */
	size_t stride;   /* elements, a multiple of 64 */
	const float *scale;    /* (n) 127 / max|x|: x is about q / scale */
	const int32_t *sum;    /* (n) sum of the row of q */
	const int32_t *sum256; /* (n, stride256) sums of q over 256 columns each */
	size_t stride256;
};

/* w_scale / x_scale as a float32 and what is missing to it. */
static inline void kernel_factor(float w_scale, float x_scale, float *hi, float *lo)
{
	double f = (double)w_scale / (double)x_scale;

	*hi = (float)f;
	*lo = (float)(f - (double)*hi);
}

/* The value of a product with int8 activations: acc * w_scale / x_scale, rounded once (up to
 * 2^-48). More roundings would move keys and values across rounding ties of an f16 cache, which the
 * next quantization turns into differences of a percent. */
static inline float kernel_rescale(float acc, float w_scale, float x_scale)
{
	float hi, lo;

	kernel_factor(w_scale, x_scale, &hi, &lo);
	return fmaf(acc, hi, acc * lo);
}

/* Work space that a thread passes to mul and attend, bytes, 64-byte aligned. */
#define KERNELS_SCRATCH (384 * 1024)

/* y[t * y_stride + r] = sum over columns of w[r][c] * x[t][c], for rows row0 <= r < row1 and all
 * tokens; y points to row 0 of token 0.
 * Ternary: kernel_rescale of the integer dot product; with block scales d, of the sum in ascending
 * order of (float)(dot of the blocks with equal d) * d. */
typedef void kernel_mul(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                        size_t row1, float *y, size_t y_stride, void *scratch);

/* Positions of a cached sequence that lie together and whose softmax is taken for itself: results
 * of chunks are joined in ascending order, by one thread or from several. */
#define KERNELS_CHUNK 256

/* Causal attention of one KV head: `heads` query heads of `tokens` tokens over cached rows.
 * A chunk's state of a query is what its positions give: values (dim_v) not yet divided, the
 * maximum of the scores, the sum of the weights exp(score - maximum); softmax is online in float32,
 * positions are visited in ascending order in blocks aligned to multiples of 64. */
struct kernel_attn {
	size_t dim_k, dim_v; /* values per key and value row, multiples of 2 */
	size_t heads;        /* query heads that share this KV head */
	size_t tokens;
	size_t pos;     /* position of token 0; token t sees positions first..pos + t */
	size_t window;  /* 0, or how many positions a token sees at most: first = max(0,
	                   pos+t+1-window) */
	float scale;    /* multiplies the scores: 1 / sqrt(dim_k) */
	const float *q; /* token t, head h: q + t * q_stride + h * dim_k */
	size_t q_stride;
	const uint8_t *k, *v; /* see kernel_key, kernel_value */
	size_t k_row_bytes, v_row_bytes;
	size_t k_chunk, v_chunk;        /* bytes from one chunk to the next */
	const uint8_t *k_next, *v_next; /* what this thread reads afterwards; may be NULL */
	float *out;                     /* token t, head h: out + t * out_stride + h * dim_v */
	size_t out_stride;
	enum dtype k_type, v_type; /* F32, F16, BF16, Q8_0, Q4_0 */
	void *scratch;             /* KERNELS_SCRATCH bytes */
};

/* What the screen is multiplied with: numbers 256 high + low, zeros behind the last. */
struct kernel_screened {
	const int8_t *high, *low; /* (screen_padded(k)) */
	const int32_t *sum;       /* (screen_blocks(k)): of the numbers of each block */
};

/* The rows of a position. */
static inline const uint8_t *kernel_key(const struct kernel_attn *a, size_t p)
{
	return a->k + p / KERNELS_CHUNK * a->k_chunk + p % KERNELS_CHUNK * a->k_row_bytes;
}

static inline const uint8_t *kernel_value(const struct kernel_attn *a, size_t p)
{
	return a->v + p / KERNELS_CHUNK * a->v_chunk + p % KERNELS_CHUNK * a->v_row_bytes;
}

/* Floats of a query's state: values, then at kernel_state - 16 the maximum, then the sum, 0 where
 * the query sees nothing of the chunk. */
static inline size_t kernel_state(size_t dim_v)
{
	return (dim_v + 15) / 16 * 16 + 16;
}

/* The chunks that any token of a sees: [*first, *last). */
static inline void kernel_chunks(const struct kernel_attn *a, size_t *first, size_t *last)
{
	size_t end = a->pos + 1;

	*first = a->window && a->window < end ? (end - a->window) / KERNELS_CHUNK : 0;
	*last = (a->pos + a->tokens + KERNELS_CHUNK - 1) / KERNELS_CHUNK;
}

struct kernels {
	const char *name; /* "scalar", "avx2", "avxvnni", "avx512", "vbmi", "zen4", "amx", "neon" */

	/* Products by weight type; NULL: this type is not computed with. */
	kernel_mul *mul[DTYPE_COUNT];

	/* Products with I2_S in strips: row0 and row1 are multiples of 16.  NULL: this set has no
	 * code that would be worth it. */
	kernel_mul *mul_strips;

	/* Rows [row0, row1), multiples of 16, of I2_S (each on a unit of its own) to strips.
	 * Returns 1 when a code is 3: then out means nothing. */
	int (*pack_strips)(const struct kernel_mat *w, size_t row0, size_t row1, uint8_t *out);

	/* Bytes of scratch in which a product of a ternary type prepares so many tokens; 0: it does
	 * not.  Where it does, in each call, few calls with many rows are faster.  NULL: never. */
	size_t (*prepared)(size_t tokens);

	/* k values of one row to float32, exactly as the format defines (block types only whole
	 * blocks); I2_S without its scale (-1, 0, 1).  NULL: not supported. */
	void (*dequantize[DTYPE_COUNT])(float *y, const uint8_t *row, size_t k);

	/* The inverse for the types of a KV cache (F32, F16, BF16, Q8_0, Q4_0), round to nearest
	 * even. */
	void (*quantize[DTYPE_COUNT])(uint8_t *row, const float *x, size_t k);

	/* Per-token int8: s = (float)(127.0 / (double)max(1e-5, max|x|)), q = clip(rne(x * s),
	 * -128, 127); writes q (k values, then zeros up to a multiple of 64), *scale = s, *sum, and
	 * sum256 (one per 256 columns, the last one over what is left).  x must be finite. */
	void (*quantize_i8)(const float *x, size_t k, int8_t *q, float *scale, int32_t *sum,
	                    int32_t *sum256);

	/* y = x / sqrt(mean(x^2) + eps) * w over n values, in float64 and rounded once; y may be x.
	 */
	void (*rms_norm)(float *y, const float *x, const float *w, size_t n, float eps);

	/* Rotates the first 2 * half values of x by angles given as (half) cosines and sines.
	 * neox: pairs (j, j + half); else pairs (2j, 2j + 1). */
	void (*rope)(float *x, const float *cos, const float *sin, size_t half, int neox);

	void (*add)(float *y, const float *x, size_t n);       /* y += x */
	void (*relu2_mul)(float *g, const float *u, size_t n); /* g = max(g,0)^2 * u */
	void (*silu_mul)(float *g, const float *u, size_t n);  /* g = g / (1 + exp(-g)) * u */
	/* All of a, or chunk by chunk to the same bits: attend_chunk writes the state of each query
	 * (tokens, heads, kernel_state) of one chunk, attend_join makes `out` of those of all
	 * chunks that any of them sees, step floats apart from one chunk to the next. */
	void (*attend)(const struct kernel_attn *a);
	void (*attend_chunk)(const struct kernel_attn *a, size_t chunk, float *state);
	void (*attend_join)(const struct kernel_attn *a, const float *state, size_t step);

	/* The screen of the output head (kernels/screen.h).  k values to codes (screen_padded(k),
	 * 32 behind the last) and factors (screen_blocks(k)), each value rounded to the nearest
	 * even multiple of its unit, scale * m; lost = |w - row|, then the same with the last bit
	 * of each code taken for 1/2; *norm = |w| (Euclid). */
	void (*screen_row)(const float *w, size_t k, uint8_t *codes, uint8_t *factors, float *scale,
	                   float lost[2], float *norm);
	/* n strips of k columns with x: out (n, 16), twice the sums of m (code - 32) x where the
	 * last bit of each code is taken for 1/2: of m (4 upper - 63) x.  Products of 64 columns
	 * are added as integers, rounded to float32, times m, fused, in ascending order. */
	void (*screen_dots)(const uint8_t *strips, size_t n, size_t k,
	                    const struct kernel_screened *x, float *out);
	/* What the last bits of a row add to that: the sum of m (2 bit - 1) x, likewise, but in
	 * four sums, of every fourth 64 columns: (0 + 2) + (1 + 3). */
	float (*screen_last)(const uint8_t *last, size_t k, const struct kernel_screened *x);

	/* What this machine gives at best, for shares of it.  Reads n bytes (a multiple of 4096)
	 * once; the result depends on them. */
	uint64_t (*probe_read)(const uint8_t *p, size_t n);
	/* Many int8 multiply-adds without memory; returns how many. */
	uint64_t (*probe_int8)(uint64_t rounds);
};

/* The table called name, or the best for this CPU when name is NULL; NULL when there is no such
 * table or this CPU cannot run it. */
const struct kernels *kernels_get(const char *name);

/* Tables that were built, best last; *runs tells whether this CPU can run it.  NULL past the end.
 */
const struct kernels *kernels_at(size_t i, int *runs);

#endif
