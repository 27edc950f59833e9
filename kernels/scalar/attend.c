/*
 * Attention with an online softmax, one query at a time.
 *
 * Positions come in blocks of 64, aligned to multiples of 64.  In a block: scores are dot
 * products in 16 lanes (scalar_sum16) times the scale; the running maximum m grows to the block's;
 * what was gathered so far is multiplied by exp(m_old - m); each position adds exp(score - m) times
 * its value row, ascending; the weights are summed in 16 lanes, position mod 16.
 * So a result depends on the absolute position alone, never on the batch.
 */
#include "scalar.h"

#include <math.h>
#include <string.h>

#define BLOCK 64

/* Values that one key or value row can have: the space below is on the stack. */
#define DIM_MAX 1024

struct state {
	float max, sum;
	float *out;
};

static float dot(const float *a, const float *b, size_t n)
{
	float lane[16] = {0};

	for (size_t i = 0; i < n; i++)
		lane[i % 16] += a[i] * b[i];
	return scalar_sum16(lane);
}

static void weigh(struct state *s, float *score, size_t lo, size_t hi)
{
	float max = s->max, lane[16] = {0};

	for (size_t p = lo; p < hi; p++)
		max = score[p % BLOCK] > max ? score[p % BLOCK] : max;
	for (size_t p = lo; p < hi; p++) {
		score[p % BLOCK] = scalar_exp(score[p % BLOCK] - max);
		lane[p % 16] += score[p % BLOCK];
	}
	float keep = scalar_exp(s->max - max);
	s->sum = s->sum * keep + scalar_sum16(lane);
	s->max = max;
	score[BLOCK] = keep;
}

static void block(const struct kernel_attn *a, const struct kernels *k, const float *q, size_t lo,
                  size_t hi, struct state *s)
{
	float row[DIM_MAX], score[BLOCK + 1];

	for (size_t p = lo; p < hi; p++) {
		k->dequantize[a->k_type](row, a->k + p * a->k_row_bytes, a->dim_k);
		score[p % BLOCK] = dot(q, row, a->dim_k) * a->scale;
	}
	weigh(s, score, lo, hi);
	for (size_t d = 0; d < a->dim_v; d++)
		s->out[d] *= score[BLOCK];
	for (size_t p = lo; p < hi; p++) {
		k->dequantize[a->v_type](row, a->v + p * a->v_row_bytes, a->dim_v);
		for (size_t d = 0; d < a->dim_v; d++)
			s->out[d] += score[p % BLOCK] * row[d];
	}
}

static void one_query(const struct kernel_attn *a, const struct kernels *k, size_t t, size_t h)
{
	const float *q = a->q + t * a->q_stride + h * a->dim_k;
	size_t end = a->pos + t + 1;
	size_t first = a->window && a->window < end ? end - a->window : 0;
	struct state s = {-INFINITY, 0, a->out + t * a->out_stride + h * a->dim_v};

	memset(s.out, 0, a->dim_v * sizeof *s.out);
	for (size_t lo = first; lo < end;) {
		size_t hi = (lo / BLOCK + 1) * BLOCK;

		hi = hi < end ? hi : end;
		block(a, k, q, lo, hi, &s);
		lo = hi;
	}
	for (size_t d = 0; d < a->dim_v; d++)
		s.out[d] /= s.sum;
}

void scalar_attend(const struct kernel_attn *a)
{
	struct kernels k = {0};

	scalar_decode_init(&k);
	for (size_t t = 0; t < a->tokens; t++)
		for (size_t h = 0; h < a->heads; h++)
			one_query(a, &k, t, h);
}

void scalar_attend_init(struct kernels *k)
{
	k->attend = scalar_attend;
}
