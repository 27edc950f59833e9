/*
 * Attention in blocks of 64 positions: keys and values of a block are converted to float32 once
 * and serve all queries; where there are few queries, 16-bit floats are converted where they are
 * used, to the same bits.  The order of the sums is that of scalar/attend.c; products are fused
 * into sums, so results differ from it by rounding, and do not depend on the batch.
 * Included by a set's wide.c behind its lanes.h.
 *
 * scratch: keys (64, width), values (64, width), scores (GROUP, 64), running maxima and sums.
 */
#ifndef WIDE_ATTEND_H
#define WIDE_ATTEND_H

#include "../kernels.h"
#include "vector.h"

#define BLOCK 64

/* Floats of a converted row: larger heads are left to the scalar code. */
#define WIDTH_MAX 256

/* Queries (a token and a head each) that one pass over the cached rows serves, and those of them
 * whose scores are kept between the keys and the values. */
#define QUERIES 1024
#define GROUP   16

struct pass {
	const struct kernel_attn *a;
	const struct kernels *k; /* for its conversions */
	size_t first, count;  /* queries of this pass; query i is token i / heads, head i % heads */
	float *keys, *values; /* (BLOCK, width) */
	size_t key_width, value_width; /* multiples of 16 */
	float *scores;                 /* (GROUP, BLOCK) */
	float *max, *sum;              /* (count) */
};

static size_t widened(size_t n)
{
	return (n + 15) / 16 * 16;
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

/* Four rows of the next block, while this one is computed with. */
static inline void fetch_rows(enum dtype type, const uint8_t *rows, size_t row_bytes, size_t dim)
{
	const struct dtype_info *info = dtype_get(type);
	size_t used = dim / info->block * info->block_bytes;

	for (size_t p = 0; p < 4; p++, rows += row_bytes)
		for (size_t b = 0; b < used; b += 64)
			fetch(rows + b);
}

static inline const float *query(const struct pass *s, size_t i)
{
	const struct kernel_attn *a = s->a;

	return a->q + i / a->heads * a->q_stride + i % a->heads * a->dim_k;
}

static inline v16 load_f32(const uint8_t *p)
{
	return v16_load((const float *)(const void *)p);
}

/* Scores of QS queries from i on, for positions p..p+3 of the block whose keys are rows of values
 * of BYTES each. */
#define DEFINE_SCORES(NAME, QS, BYTES, LOAD)                                                       \
	static inline void NAME(const struct pass *s, size_t i, size_t p, const uint8_t *rows,     \
	                        size_t row_bytes, float *out)                                      \
	{                                                                                          \
		const uint8_t *key = rows + p * row_bytes;                                         \
		const float *q[QS];                                                                \
		size_t dim = s->a->dim_k, d = 0;                                                   \
		v16 acc[QS][4];                                                                    \
                                                                                                   \
		for (size_t j = 0; j < QS; j++) {                                                  \
			q[j] = query(s, i + j);                                                    \
			for (size_t n = 0; n < 4; n++)                                             \
				acc[j][n] = v16_zero();                                            \
		}                                                                                  \
		for (; d < dim; d += 16) {                                                         \
			v16 k[4];                                                                  \
                                                                                                   \
			for (size_t n = 0; n < 4 && (BYTES) == 2 && d % 32 == 0; n++)              \
				fetch(key + (n + BLOCK) * row_bytes + d * (BYTES));                \
                                                                                                   \
			for (size_t n = 0; n < 4; n++)                                             \
				k[n] = LOAD(key + n * row_bytes + d * (BYTES));                    \
			for (size_t j = 0; j < QS; j++) {                                          \
				v16 x = d + 16 <= dim ? v16_load(q[j] + d)                         \
				                      : v16_load_n(q[j] + d, dim - d);             \
                                                                                                   \
				for (size_t n = 0; n < 4; n++)                                     \
					acc[j][n] = v16_fma(x, k[n], acc[j][n]);                   \
			}                                                                          \
		}                                                                                  \
		for (size_t j = 0; j < QS; j++)                                                    \
			v16_sums4(out + j * BLOCK + p, acc[j][0], acc[j][1], acc[j][2],            \
			          acc[j][3]);                                                      \
	}

DEFINE_SCORES(scores_1, 1, 4, load_f32)
DEFINE_SCORES(scores_n, TILE_Q, 4, load_f32)
DEFINE_SCORES(scores_f16_1, 1, 2, v16_f16)
DEFINE_SCORES(scores_f16_n, TILE_Q, 2, v16_f16)

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

/* out[0..16 VECTORS) = out * keep + sum of weight * value row, positions ascending. */
#define DEFINE_GATHER(NAME, QS, VECTORS, BYTES, LOAD)                                              \
	static inline void NAME(float *const out[QS], const float keep[QS], const float *weight,   \
	                        const uint8_t *value, size_t row_bytes, size_t lo, size_t hi)      \
	{                                                                                          \
		v16 acc[QS][VECTORS];                                                              \
                                                                                                   \
		for (size_t j = 0; j < QS; j++)                                                    \
			for (size_t n = 0; n < VECTORS; n++)                                       \
				acc[j][n] = v16_mul(v16_load(out[j] + 16 * n), v16_set(keep[j]));  \
		for (size_t p = lo; p < hi; p++) {                                                 \
			v16 v[VECTORS];                                                            \
                                                                                                   \
			for (size_t n = 0; n < VECTORS && (BYTES) == 2; n += 2)                    \
				fetch(value + (p + BLOCK) * row_bytes + 16 * n * (BYTES));         \
                                                                                                   \
			for (size_t n = 0; n < VECTORS; n++)                                       \
				v[n] = LOAD(value + p * row_bytes + 16 * n * (BYTES));             \
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

DEFINE_GATHER(gather_1_1, 1, 1, 4, load_f32)
DEFINE_GATHER(gather_1_n, 1, TILE_D, 4, load_f32)
DEFINE_GATHER(gather_n_n, TILE_Q, TILE_D, 4, load_f32)
DEFINE_GATHER(gather_f16_1, 1, TILE_D, 2, v16_f16)
DEFINE_GATHER(gather_f16_n, TILE_Q, TILE_D, 2, v16_f16)

static const uint8_t *bytes_of_floats(const float *p)
{
	return (const uint8_t *)(const void *)p;
}

static float *out_of(const struct kernel_attn *a, size_t i)
{
	return a->out + i / a->heads * a->out_stride + i % a->heads * a->dim_v;
}

/* Values of one query, any width. */
static void gather(const struct pass *s, size_t i, const float *weight, float keep, size_t lo,
                   size_t hi)
{
	size_t d = 0, dim = s->a->dim_v;
	float *o = out_of(s->a, i), pad[16] = {0};

	for (; d + 16 * TILE_D <= dim; d += 16 * TILE_D) {
		float *at = o + d;

		gather_1_n(&at, &keep, weight, bytes_of_floats(s->values + d), 4 * s->value_width,
		           lo, hi);
	}
	for (; d + 16 <= dim; d += 16) {
		float *at = o + d;

		gather_1_1(&at, &keep, weight, bytes_of_floats(s->values + d), 4 * s->value_width,
		           lo, hi);
	}
	if (d < dim) {
		float *at = pad;

		memcpy(pad, o + d, (dim - d) * sizeof *o);
		gather_1_1(&at, &keep, weight, bytes_of_floats(s->values + d), 4 * s->value_width,
		           lo, hi);
		memcpy(o + d, pad, (dim - d) * sizeof *o);
	}
}

/* Values of TILE_Q queries that see the same positions. */
static void gather_tile(const struct pass *s, size_t i, const float *weight, const float *keep,
                        size_t lo, size_t hi)
{
	for (size_t d = 0; d < s->a->dim_v; d += 16 * TILE_D) {
		float *at[TILE_Q];

		for (size_t j = 0; j < TILE_Q; j++)
			at[j] = out_of(s->a, i + j) + d;
		gather_n_n(at, keep, weight, bytes_of_floats(s->values + d), 4 * s->value_width, lo,
		           hi);
	}
}

/* Queries i..i + n - 1 (n <= GROUP) against the converted block. */
static void group(const struct pass *s, size_t i, size_t n, size_t block)
{
	const struct kernel_attn *a = s->a;
	size_t lo[GROUP], hi[GROUP], least = BLOCK, most = 0, j = 0;
	float keep[GROUP];

	for (j = 0; j < n; j++) {
		if (!sees(a, i + j, block, &lo[j], &hi[j]))
			lo[j] = hi[j] = 0;
		else if (lo[j] < least)
			least = lo[j];
		most = hi[j] > most ? hi[j] : most;
	}
	for (size_t p = least / 4 * 4; p < most; p += 4) {
		size_t next = block + BLOCK + p;

		if (i == s->first) {
			fetch_rows(a->k_type, a->k + next * a->k_row_bytes, a->k_row_bytes,
			           a->dim_k);
			fetch_rows(a->v_type, a->v + next * a->v_row_bytes, a->v_row_bytes,
			           a->dim_v);
		}
		for (j = 0; j + TILE_Q <= n; j += TILE_Q)
			scores_n(s, i + j, p, bytes_of_floats(s->keys), 4 * s->key_width,
			         s->scores + j * BLOCK);
		for (; j < n; j++)
			scores_1(s, i + j, p, bytes_of_floats(s->keys), 4 * s->key_width,
			         s->scores + j * BLOCK);
	}
	for (j = 0; j < n; j++)
		if (lo[j] < hi[j])
			keep[j] = weigh(s->scores + j * BLOCK, lo[j], hi[j], a->scale,
			                &s->max[i + j - s->first], &s->sum[i + j - s->first]);
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

	return s->count <= TILE_Q && a->tokens == 1 && a->k_type == DTYPE_F16 &&
	       a->v_type == DTYPE_F16 && a->dim_k % 16 == 0 && a->dim_v % (16 * TILE_D) == 0;
}

/* Scores of positions p..p+3. */
static inline void direct_scores(const struct pass *s, const uint8_t *rows, size_t row_bytes,
                                 size_t p)
{
	if (s->count == TILE_Q)
		scores_f16_n(s, s->first, p, rows, row_bytes, s->scores);
	else
		for (size_t j = 0; j < s->count; j++)
			scores_f16_1(s, s->first + j, p, rows, row_bytes, s->scores + j * BLOCK);
}

/* Fewer than four: behind them may lie nothing. */
static void last_scores(const struct pass *s, size_t block, size_t p, size_t n)
{
	const struct kernel_attn *a = s->a;
	size_t row = 2 * a->dim_k;
	uint8_t *rows = (uint8_t *)s->keys;

	for (size_t i = 0; i < n; i++)
		memcpy(rows + (p + i) * row, a->k + (block + p + i) * a->k_row_bytes, row);
	memset(rows + (p + n) * row, 0, (4 - n) * row);
	direct_scores(s, rows, row, p);
}

static void direct_block(const struct pass *s, size_t block)
{
	const struct kernel_attn *a = s->a;
	const uint8_t *rows = a->v + block * a->v_row_bytes;
	float keep[TILE_Q], *at[TILE_Q];
	size_t lo, hi;

	if (!sees(a, s->first, block, &lo, &hi))
		return;
	for (size_t p = lo / 4 * 4; p + 4 <= hi; p += 4)
		direct_scores(s, a->k + block * a->k_row_bytes, a->k_row_bytes, p);
	if (hi % 4)
		last_scores(s, block, hi / 4 * 4, hi % 4);
	for (size_t j = 0; j < s->count; j++)
		keep[j] = weigh(s->scores + j * BLOCK, lo, hi, a->scale, &s->max[j], &s->sum[j]);
	for (size_t d = 0; d < a->dim_v; d += 16 * TILE_D) {
		for (size_t j = 0; j < s->count; j++)
			at[j] = out_of(a, s->first + j) + d;
		if (s->count == TILE_Q)
			gather_f16_n(at, keep, s->scores, rows + 2 * d, a->v_row_bytes, lo, hi);
		else
			for (size_t j = 0; j < s->count; j++)
				gather_f16_1(&at[j], &keep[j], s->scores + j * BLOCK, rows + 2 * d,
				             a->v_row_bytes, lo, hi);
	}
}

static void one_block(const struct pass *s, size_t block, size_t end)
{
	const struct kernel_attn *a = s->a;
	size_t n = end - block < BLOCK ? end - block : BLOCK;

	if (is_direct(s)) {
		direct_block(s, block);
		return;
	}

	convert(s->k, a->k_type, a->k + block * a->k_row_bytes, a->k_row_bytes, n, a->dim_k,
	        s->keys, s->key_width);
	convert(s->k, a->v_type, a->v + block * a->v_row_bytes, a->v_row_bytes, n, a->dim_v,
	        s->values, s->value_width);
	for (size_t i = 0; i < s->count; i += GROUP)
		group(s, s->first + i, s->count - i < GROUP ? s->count - i : GROUP, block);
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
	for (size_t b = from / BLOCK * BLOCK; b < end; b += BLOCK)
		one_block(s, b, end);
	for (size_t i = 0; i < s->count; i++) {
		float *o = out_of(a, s->first + i), sum = s->sum[i];

		for (size_t d = 0; d < a->dim_v; d++)
			o[d] /= sum;
	}
}

static void attend_with(const struct kernel_attn *a, const struct kernels *k)
{
	struct pass s = {.a = a, .k = k};
	float *at = a->scratch;

	s.key_width = widened(a->dim_k);
	s.value_width = widened(a->dim_v);
	s.keys = at;
	s.values = s.keys + BLOCK * s.key_width;
	s.scores = s.values + BLOCK * s.value_width;
	s.max = s.scores + GROUP * BLOCK;
	s.sum = s.max + QUERIES;
	for (; s.first < a->tokens * a->heads; s.first += QUERIES) {
		size_t left = a->tokens * a->heads - s.first;

		s.count = left < QUERIES ? left : QUERIES;
		one_pass(&s);
	}
}

#endif
