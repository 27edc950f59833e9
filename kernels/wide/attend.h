/*
 * Attention in blocks of 64 positions: keys and values of a block are converted to float32 once
 * and serve all queries; where there are few queries they are converted where they are used, to the
 * same bits.  The order of the sums is that of scalar/attend.c; products are fused into sums, so
 * results differ from it by rounding, and do not depend on the batch.
 * Included by a set's wide.c behind its lanes.h and decode.h.
 *
 * scratch: keys (64, width), values (64, width), scores (GROUP, 64), states (QUERIES), maxima and
 * sums.
 */
#ifndef WIDE_ATTEND_H
#define WIDE_ATTEND_H

#include "../kernels.h"
#include "decode.h"
#include "vector.h"

#define BLOCK 64

/* Floats of a converted row: larger heads are left to the scalar code. */
#define WIDTH_MAX 256

/* Queries (a token and a head each) that one pass over the cached rows serves, and those of them
 * whose scores are kept between the keys and the values. */
#define QUERIES 128
#define GROUP   16

_Static_assert((2 * BLOCK * WIDTH_MAX + GROUP * BLOCK + QUERIES * (WIDTH_MAX + 16 + 2)) *
                       sizeof(float) <=
                   KERNELS_SCRATCH,
               "the work space of attention");

struct pass {
	const struct kernel_attn *a;
	const struct kernels *k; /* for its conversions */
	size_t first, count;  /* queries of this pass; query i is token i / heads, head i % heads */
	float *keys, *values; /* (BLOCK, width) */
	size_t key_width, value_width; /* multiples of 32 */
	float *scores;                 /* (GROUP, BLOCK) */
	float *state;                  /* (count, kernel_state) of the chunk that is computed */
	float *max, *sum;              /* (count) of the chunks so far */
	/* Rows of the block that is computed, and of the one behind it, which are fetched. */
	const uint8_t *k_rows, *v_rows, *k_ahead, *v_ahead;
};

static size_t widened(size_t n)
{
	return (n + 31) / 32 * 32;
}

static size_t seen_from(const struct kernel_attn *a, size_t end)
{
	return a->window && a->window < end ? end - a->window : 0;
}

/* The positions of a block that query i sees: [lo, hi), from the start of the block. */
static int sees(const struct kernel_attn *a, size_t i, size_t block, size_t *lo, size_t *hi)
{
	size_t end = a->pos + i / a->heads + 1, from = seen_from(a, end);

	*lo = from > block ? from - block : 0;
	*hi = end < block + BLOCK ? end - block : BLOCK;
	return end > block && *lo < *hi;
}

static void convert(const struct kernels *k, enum dtype type, const uint8_t *rows, size_t row_bytes,
                    size_t n, size_t dim, float *out, size_t width)
{
	for (size_t p = 0; p < n; p++, rows += row_bytes, out += width) {
		k->dequantize[type](out, rows, dim);
		for (size_t d = dim; d < width; d++)
			out[d] = 0;
	}
}

static inline const float *query(const struct pass *s, size_t i)
{
	const struct kernel_attn *a = s->a;

	return a->q + i / a->heads * a->q_stride + i % a->heads * a->dim_k;
}

static inline float *state_of(const struct pass *s, size_t i)
{
	return s->state + (i - s->first) * kernel_state(s->a->dim_v);
}

static inline float *tail_of(const struct pass *s, size_t i)
{
	return state_of(s, i + 1) - 16;
}

static inline void fetch_bytes(const uint8_t *p, size_t n)
{
	for (size_t b = 0; b < n; b += 64)
		fetch(p + b);
}

/* Values d..d+31 of a row, d a multiple of 32. */
static inline void row_f32(v16 v[2], const uint8_t *row, size_t d)
{
	const float *f = (const float *)(const void *)row + d;

	v[0] = v16_load(f);
	v[1] = v16_load(f + 16);
}

static inline void row_f16(v16 v[2], const uint8_t *row, size_t d)
{
	v[0] = v16_f16(row + 2 * d);
	v[1] = v16_f16(row + 2 * d + 32);
}

static inline void row_bf16(v16 v[2], const uint8_t *row, size_t d)
{
	v[0] = v16_bf16(row + 2 * d);
	v[1] = v16_bf16(row + 2 * d + 32);
}

static inline void row_q8_0(v16 v[2], const uint8_t *row, size_t d)
{
	block_q8_0(v, row + d / 32 * 34);
}

static inline void row_q4_0(v16 v[2], const uint8_t *row, size_t d)
{
	block_q4_0(v, row + d / 32 * 18);
}

/* Scores of QS queries for positions lo..hi - 1, multiples of 4; rows ahead are fetched, unless
 * that is NULL. */
typedef void scores_fn(const float *const *q, size_t dim, const uint8_t *rows, size_t row_bytes,
                       const uint8_t *ahead, size_t lo, size_t hi, float *out);

/* What is left of rows that are no multiple of 32 has a step of its own: in the loop it would keep
 * the sums out of registers. */
#define SCORES_STEP(QS, LOAD, X0, X1)                                                              \
	do {                                                                                       \
		v16 k[4][2];                                                                       \
                                                                                                   \
		for (size_t n = 0; n < 4; n++)                                                     \
			LOAD(k[n], key + n * row_bytes, d);                                        \
		for (size_t j = 0; j < QS; j++) {                                                  \
			v16 x = X0;                                                                \
                                                                                                   \
			for (size_t n = 0; n < 4; n++)                                             \
				acc[j][n] = v16_fma(x, k[n][0], acc[j][n]);                        \
		}                                                                                  \
		for (size_t j = 0; j < QS; j++) {                                                  \
			v16 x = X1;                                                                \
                                                                                                   \
			for (size_t n = 0; n < 4; n++)                                             \
				acc[j][n] = v16_fma(x, k[n][1], acc[j][n]);                        \
		}                                                                                  \
	} while (0)

#define DEFINE_SCORES(NAME, QS, LOAD)                                                              \
	static void NAME(const float *const *queries, size_t dim, const uint8_t *rows,             \
	                 size_t row_bytes, const uint8_t *ahead, size_t lo, size_t hi, float *out) \
	{                                                                                          \
		const float *q[QS];                                                                \
                                                                                                   \
		for (size_t j = 0; j < QS; j++)                                                    \
			q[j] = queries[j];                                                         \
		for (size_t p = lo; p < hi; p += 4) {                                              \
			const uint8_t *key = rows + p * row_bytes;                                 \
			size_t d = 0;                                                              \
			v16 acc[QS][4];                                                            \
                                                                                                   \
			if (ahead)                                                                 \
				fetch_bytes(ahead + p * row_bytes, 4 * row_bytes);                 \
			for (size_t j = 0; j < QS; j++)                                            \
				for (size_t n = 0; n < 4; n++)                                     \
					acc[j][n] = v16_zero();                                    \
			for (; d + 32 <= dim; d += 32)                                             \
				SCORES_STEP(QS, LOAD, v16_load(q[j] + d),                          \
				            v16_load(q[j] + d + 16));                              \
			if (d < dim) {                                                             \
				size_t n0 = dim - d < 16 ? dim - d : 16, n1 = dim - d - n0;        \
                                                                                                   \
				SCORES_STEP(QS, LOAD, v16_load_n(q[j] + d, n0),                    \
				            v16_load_n(q[j] + d + n0, n1));                        \
			}                                                                          \
			for (size_t j = 0; j < QS; j++)                                            \
				v16_sums4(out + j * BLOCK + p, acc[j][0], acc[j][1], acc[j][2],    \
				          acc[j][3]);                                              \
		}                                                                                  \
	}

/* Scores to weights exp(score - maximum); returns what the sums so far are multiplied by. */
static float weigh(float *score, size_t lo, size_t hi, float scale, float *max, float *sum)
{
	v16 v[4], low = v16_set(-INFINITY), m = v16_set(*max), total = v16_zero();

	for (size_t i = 0; i < 4; i++) {
		size_t l = lo > 16 * i ? lo - 16 * i : 0, h = hi > 16 * i ? hi - 16 * i : 0;

		l = l < 16 ? l : 16;
		h = h < 16 ? h : 16;
		v[i] = v16_mul(v16_load(score + 16 * i), v16_set(scale));
		v[i] = v16_between(v[i], l < h ? l : h, h, low);
		m = v16_max(v[i], m);
	}
	float largest = v16_largest(m);
	for (size_t i = 0; i < 4; i++) {
		v[i] = v16_exp(v16_sub(v[i], v16_set(largest)));
		total = v16_add(total, v[i]);
		v16_store(score + 16 * i, v[i]);
	}
	float t[16];
	v16_store(t, v16_exp(v16_set(*max - largest)));
	*sum = *sum * t[0] + v16_sum(total);
	*max = largest;
	return t[0];
}

/* out[0..16 VECTORS) = out * keep + sum of weight * values from..from + 16 VECTORS - 1 of the rows
 * of positions lo..hi - 1, ascending.  For each position `share` bytes of the rows ahead are
 * fetched, unless that is NULL. */
typedef void gather_fn(float *const *out, const float *keep, const float *weight,
                       const uint8_t *rows, size_t row_bytes, const uint8_t *ahead, size_t share,
                       size_t from, size_t lo, size_t hi);

#define DEFINE_GATHER(NAME, QS, VECTORS, LOAD)                                                     \
	static void NAME(float *const *out, const float *keep, const float *weight,                \
	                 const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,              \
	                 size_t share, size_t from, size_t lo, size_t hi)                          \
	{                                                                                          \
		v16 acc[QS][VECTORS];                                                              \
                                                                                                   \
		for (size_t j = 0; j < QS; j++)                                                    \
			for (size_t n = 0; n < VECTORS; n++)                                       \
				acc[j][n] = v16_mul(v16_load(out[j] + 16 * n), v16_set(keep[j]));  \
		for (size_t p = lo; p < hi; p++) {                                                 \
			v16 v[VECTORS];                                                            \
                                                                                                   \
			if (ahead)                                                                 \
				fetch_bytes(ahead + p * share, share);                             \
			for (size_t n = 0; n < VECTORS; n += 2)                                    \
				LOAD(v + n, rows + p * row_bytes, from + 16 * n);                  \
			for (size_t j = 0; j < QS; j++) {                                          \
				v16 x = v16_set(weight[j * BLOCK + p]);                            \
                                                                                                   \
				for (size_t n = 0; n < VECTORS; n++)                               \
					acc[j][n] = v16_fma(x, v[n], acc[j][n]);                   \
			}                                                                          \
		}                                                                                  \
		for (size_t j = 0; j < QS; j++)                                                    \
			for (size_t n = 0; n < VECTORS; n++)                                       \
				v16_store(out[j] + 16 * n, acc[j][n]);                             \
	}

/* The code for rows of one type: for one query, and for a tile of them. */
struct row_code {
	scores_fn *scores, *scores_tile;
	gather_fn *gather, *gather_tile;
};

#define DEFINE_ROWS(TYPE)                                                                          \
	DEFINE_SCORES(scores_##TYPE, 1, row_##TYPE)                                                \
	DEFINE_SCORES(scores_##TYPE##_tile, TILE_Q, row_##TYPE)                                    \
	DEFINE_GATHER(gather_##TYPE, 1, TILE_D, row_##TYPE)                                        \
	DEFINE_GATHER(gather_##TYPE##_tile, TILE_Q, TILE_D, row_##TYPE)                            \
	static const struct row_code code_##TYPE = {scores_##TYPE, scores_##TYPE##_tile,           \
	                                            gather_##TYPE, gather_##TYPE##_tile};

DEFINE_ROWS(f32)
DEFINE_ROWS(f16)
DEFINE_ROWS(bf16)
DEFINE_ROWS(q8_0)
DEFINE_ROWS(q4_0)
DEFINE_GATHER(gather_f32_2, 1, 2, row_f32)

static const struct row_code *code_for(enum dtype type)
{
	switch (type) {
	case DTYPE_F16:
		return &code_f16;
	case DTYPE_BF16:
		return &code_bf16;
	case DTYPE_Q8_0:
		return &code_q8_0;
	case DTYPE_Q4_0:
		return &code_q4_0;
	default:
		return &code_f32;
	}
}

static const uint8_t *bytes_of_floats(const float *p)
{
	return (const uint8_t *)(const void *)p;
}

/* Values of one query, any width. */
static void gather(const struct pass *s, size_t i, const float *weight, float keep, size_t lo,
                   size_t hi)
{
	size_t d = 0, dim = s->a->dim_v;
	const uint8_t *rows = bytes_of_floats(s->values);
	float *o = state_of(s, i), pad[32] = {0};

	for (; d + 16 * TILE_D <= dim; d += 16 * TILE_D) {
		float *at = o + d;

		gather_f32(&at, &keep, weight, rows, 4 * s->value_width, NULL, 0, d, lo, hi);
	}
	for (; d < dim; d += 32) {
		size_t n = dim - d < 32 ? dim - d : 32;
		float *at = pad;

		memcpy(pad, o + d, n * sizeof *o);
		gather_f32_2(&at, &keep, weight, rows, 4 * s->value_width, NULL, 0, d, lo, hi);
		memcpy(o + d, pad, n * sizeof *o);
	}
}

/* Values of TILE_Q queries that see the same positions. */
static void gather_tile(const struct pass *s, size_t i, const float *weight, const float *keep,
                        size_t lo, size_t hi)
{
	for (size_t d = 0; d < s->a->dim_v; d += 16 * TILE_D) {
		float *at[TILE_Q];

		for (size_t j = 0; j < TILE_Q; j++)
			at[j] = state_of(s, i + j) + d;
		gather_f32_tile(at, keep, weight, bytes_of_floats(s->values), 4 * s->value_width,
		                NULL, 0, d, lo, hi);
	}
}

static float weigh_query(const struct pass *s, size_t i, float *scores, size_t lo, size_t hi)
{
	float *tail = tail_of(s, i);

	return weigh(scores, lo, hi, s->a->scale, &tail[0], &tail[1]);
}

/* Queries i..i + n - 1 (n <= GROUP) against the converted block. */
static void group(const struct pass *s, size_t i, size_t n, size_t block)
{
	const struct kernel_attn *a = s->a;
	const uint8_t *rows = bytes_of_floats(s->keys);
	size_t lo[GROUP], hi[GROUP], least = BLOCK, most = 0, j = 0;
	const float *q[GROUP];
	float keep[GROUP];

	for (j = 0; j < n; j++) {
		q[j] = query(s, i + j);
		if (!sees(a, i + j, block, &lo[j], &hi[j]))
			lo[j] = hi[j] = 0;
		else if (lo[j] < least)
			least = lo[j];
		most = hi[j] > most ? hi[j] : most;
	}
	for (size_t p = least / 4 * 4; p < most; p += 4) {
		if (i == s->first) {
			fetch_bytes(s->k_ahead + p * a->k_row_bytes, 4 * a->k_row_bytes);
			fetch_bytes(s->v_ahead + p * a->v_row_bytes, 4 * a->v_row_bytes);
		}
		for (j = 0; j + TILE_Q <= n; j += TILE_Q)
			scores_f32_tile(q + j, a->dim_k, rows, 4 * s->key_width, NULL, p, p + 4,
			                s->scores + j * BLOCK);
		for (; j < n; j++)
			scores_f32(q + j, a->dim_k, rows, 4 * s->key_width, NULL, p, p + 4,
			           s->scores + j * BLOCK);
	}
	for (j = 0; j < n; j++)
		if (lo[j] < hi[j])
			keep[j] = weigh_query(s, i + j, s->scores + j * BLOCK, lo[j], hi[j]);
	for (j = 0; j < n;) {
		int alike = j + TILE_Q <= n && a->dim_v % (16 * TILE_D) == 0;

		for (size_t m = 1; alike && m < TILE_Q; m++)
			alike = lo[j + m] == lo[j] && hi[j + m] == hi[j];
		if (lo[j] < hi[j] && alike)
			gather_tile(s, i + j, s->scores + j * BLOCK, keep + j, lo[j], hi[j]);
		else if (lo[j] < hi[j])
			gather(s, i + j, s->scores + j * BLOCK, keep[j], lo[j], hi[j]);
		j += alike ? TILE_Q : 1;
	}
}

/* Whether one tile has all queries of a pass, one token's: then nothing is used twice. */
static int is_direct(const struct pass *s)
{
	const struct kernel_attn *a = s->a;

	return s->count <= TILE_Q && a->tokens == 1 && a->dim_k % 32 == 0 &&
	       a->dim_v % (16 * TILE_D) == 0;
}

static void direct_scores(const struct pass *s, const uint8_t *rows, size_t row_bytes,
                          const uint8_t *ahead, size_t lo, size_t hi)
{
	const struct row_code *code = code_for(s->a->k_type);
	const float *q[TILE_Q];

	for (size_t j = 0; j < s->count; j++)
		q[j] = query(s, s->first + j);
	if (s->count == TILE_Q)
		code->scores_tile(q, s->a->dim_k, rows, row_bytes, ahead, lo, hi, s->scores);
	else
		for (size_t j = 0; j < s->count; j++)
			code->scores(q + j, s->a->dim_k, rows, row_bytes, j ? NULL : ahead, lo, hi,
			             s->scores + j * BLOCK);
}

/* Positions p..p + n - 1, fewer than four: behind them may lie nothing. */
static void last_scores(const struct pass *s, size_t p, size_t n)
{
	const struct kernel_attn *a = s->a;
	size_t row = dtype_row_bytes(a->k_type, a->dim_k);
	uint8_t *rows = (uint8_t *)s->keys;

	for (size_t i = 0; i < n; i++)
		memcpy(rows + (p + i) * row, s->k_rows + (p + i) * a->k_row_bytes, row);
	memset(rows + (p + n) * row, 0, (4 - n) * row);
	direct_scores(s, rows, row, NULL, p, p + 4);
}

static void direct_values(const struct pass *s, const float *keep, size_t lo, size_t hi)
{
	const struct kernel_attn *a = s->a;
	const struct row_code *code = code_for(a->v_type);
	size_t share = a->v_row_bytes * 16 * TILE_D / a->dim_v;
	const uint8_t *ahead = s->v_ahead;

	for (size_t d = 0; d < a->dim_v; d += 16 * TILE_D, ahead += BLOCK * share) {
		float *at[TILE_Q];

		for (size_t j = 0; j < s->count; j++)
			at[j] = state_of(s, s->first + j) + d;
		if (s->count == TILE_Q)
			code->gather_tile(at, keep, s->scores, s->v_rows, a->v_row_bytes, ahead,
			                  share, d, lo, hi);
		else
			for (size_t j = 0; j < s->count; j++)
				code->gather(at + j, keep + j, s->scores + j * BLOCK, s->v_rows,
				             a->v_row_bytes, j ? NULL : ahead, share, d, lo, hi);
	}
}

static void direct_block(const struct pass *s, size_t block)
{
	const struct kernel_attn *a = s->a;
	float keep[TILE_Q];
	size_t lo, hi;

	if (!sees(a, s->first, block, &lo, &hi))
		return;
	direct_scores(s, s->k_rows, a->k_row_bytes, s->k_ahead, lo / 4 * 4, hi / 4 * 4);
	if (hi % 4)
		last_scores(s, hi / 4 * 4, hi % 4);
	for (size_t j = 0; j < s->count; j++)
		keep[j] = weigh_query(s, s->first + j, s->scores + j * BLOCK, lo, hi);
	direct_values(s, keep, lo, hi);
}

/* Positions block..end - 1, at most BLOCK; more: those behind them are the next. */
static void one_block(struct pass *s, size_t block, size_t end, int more)
{
	const struct kernel_attn *a = s->a;
	size_t n = end - block < BLOCK ? end - block : BLOCK;

	s->k_rows = kernel_key(a, block);
	s->v_rows = kernel_value(a, block);
	s->k_ahead = more ? kernel_key(a, block + BLOCK) : a->k_next ? a->k_next : s->k_rows;
	s->v_ahead = more ? kernel_value(a, block + BLOCK) : a->v_next ? a->v_next : s->v_rows;
	if (is_direct(s)) {
		direct_block(s, block);
		return;
	}
	convert(s->k, a->k_type, s->k_rows, a->k_row_bytes, n, a->dim_k, s->keys, s->key_width);
	convert(s->k, a->v_type, s->v_rows, a->v_row_bytes, n, a->dim_v, s->values, s->value_width);
	for (size_t i = 0; i < s->count; i += GROUP)
		group(s, s->first + i, s->count - i < GROUP ? s->count - i : GROUP, block);
}

/* Positions from.. up to end of one chunk; more: the chunk behind it follows. */
static void one_chunk(struct pass *s, size_t chunk, int more)
{
	const struct kernel_attn *a = s->a;
	size_t last = s->first + s->count - 1, end = a->pos + last / a->heads + 1;
	size_t from = seen_from(a, a->pos + s->first / a->heads + 1), start = chunk * KERNELS_CHUNK;

	from = from > start ? from : start;
	end = end < start + KERNELS_CHUNK ? end : start + KERNELS_CHUNK;
	memset(s->state, 0, s->count * kernel_state(a->dim_v) * sizeof(float));
	for (size_t i = 0; i < s->count; i++)
		tail_of(s, s->first + i)[0] = -INFINITY;
	for (size_t b = from / BLOCK * BLOCK; b < end; b += BLOCK)
		one_block(s, b, end, more || b + BLOCK < end);
}

/* What a chunk gave to a query, added to what those before it gave. */
static void join(float *out, float *max, float *sum, const float *state, size_t dim)
{
	const float *tail = state + kernel_state(dim) - 16;
	float t[16];

	if (tail[1] == 0)
		return;
	float largest = tail[0] > *max ? tail[0] : *max;
	v16_store(t, v16_exp(v16_set(*max - largest)));
	float keep = t[0];
	v16_store(t, v16_exp(v16_set(tail[0] - largest)));
	v16 a = v16_set(keep), b = v16_set(t[0]);
	size_t d = 0;
	for (; d + 16 <= dim; d += 16)
		v16_store(out + d, v16_fma(v16_load(state + d), b, v16_mul(v16_load(out + d), a)));
	if (d < dim)
		v16_store_n(
		    out + d,
		    v16_fma(v16_load(state + d), b, v16_mul(v16_load_n(out + d, dim - d), a)),
		    dim - d);
	*sum = *sum * keep + tail[1] * t[0];
	*max = largest;
}

static float *out_of(const struct kernel_attn *a, size_t i)
{
	return a->out + i / a->heads * a->out_stride + i % a->heads * a->dim_v;
}

static void divide(float *out, float sum, size_t dim)
{
	for (size_t d = 0; d < dim; d++)
		out[d] /= sum;
}

static void one_pass(struct pass *s)
{
	const struct kernel_attn *a = s->a;
	size_t last = s->first + s->count - 1, end = a->pos + last / a->heads + 1;
	size_t from = seen_from(a, a->pos + s->first / a->heads + 1);

	for (size_t i = 0; i < s->count; i++) {
		s->max[i] = -INFINITY;
		s->sum[i] = 0;
		memset(out_of(a, s->first + i), 0, a->dim_v * sizeof(float));
	}
	for (size_t c = from / KERNELS_CHUNK; c * KERNELS_CHUNK < end; c++) {
		one_chunk(s, c, (c + 1) * KERNELS_CHUNK < end);
		for (size_t i = 0; i < s->count; i++)
			join(out_of(a, s->first + i), &s->max[i], &s->sum[i],
			     state_of(s, s->first + i), a->dim_v);
	}
	for (size_t i = 0; i < s->count; i++)
		divide(out_of(a, s->first + i), s->sum[i], a->dim_v);
}

static struct pass new_pass(const struct kernel_attn *a, const struct kernels *k)
{
	struct pass s = {.a = a, .k = k};

	s.key_width = widened(a->dim_k);
	s.value_width = widened(a->dim_v);
	s.keys = a->scratch;
	s.values = s.keys + BLOCK * s.key_width;
	s.scores = s.values + BLOCK * s.value_width;
	s.max = s.scores + GROUP * BLOCK;
	s.sum = s.max + QUERIES;
	s.state = s.sum + QUERIES;
	return s;
}

/* The next queries of a pass: 0 when there are none. */
static size_t next_queries(struct pass *s)
{
	size_t left;

	s->first += s->count;
	left = s->a->tokens * s->a->heads - s->first;
	s->count = left < QUERIES ? left : QUERIES;
	return s->count;
}

static void attend_with(const struct kernel_attn *a, const struct kernels *k)
{
	struct pass s = new_pass(a, k);

	while (next_queries(&s))
		one_pass(&s);
}

static void attend_chunk_with(const struct kernel_attn *a, const struct kernels *k, size_t chunk,
                              float *state)
{
	struct pass s = new_pass(a, k);

	s.state = state;
	for (; next_queries(&s); s.state += s.count * kernel_state(a->dim_v))
		one_chunk(&s, chunk, 0);
}

static void attend_join_of(const struct kernel_attn *a, const float *state, size_t step)
{
	size_t first, last;

	kernel_chunks(a, &first, &last);
	for (size_t i = 0; i < a->tokens * a->heads; i++, state += kernel_state(a->dim_v)) {
		float *out = out_of(a, i), max = -INFINITY, sum = 0;

		memset(out, 0, a->dim_v * sizeof *out);
		for (size_t c = first; c < last; c++)
			join(out, &max, &sum, state + (c - first) * step, a->dim_v);
		divide(out, sum, a->dim_v);
	}
}

#endif
