/*
 * Attention with an online softmax, one query at a time.
 *
 * Positions come in blocks of 64, aligned to multiples of 64.  In a block: scores are dot
 * products in 16 lanes (scalar_sum16) times the scale; the running maximum m grows to the block's;
 * what was gathered so far is multiplied by exp(m_old - m); each position adds exp(score - m) times
 * its value row, ascending; the weights are summed in 16 lanes, position mod 16.
 * All of that begins anew with each chunk; their results are joined ascending, in the same way: the
 * maximum grows, and both sides are multiplied by exp(their own - m).
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
		k->dequantize[a->k_type](row, kernel_key(a, p), a->dim_k);
		score[p % BLOCK] = dot(q, row, a->dim_k) * a->scale;
	}
	weigh(s, score, lo, hi);
	for (size_t d = 0; d < a->dim_v; d++)
		s->out[d] *= score[BLOCK];
	for (size_t p = lo; p < hi; p++) {
		k->dequantize[a->v_type](row, kernel_value(a, p), a->dim_v);
		for (size_t d = 0; d < a->dim_v; d++)
			s->out[d] += score[p % BLOCK] * row[d];
	}
}

/* The state of token t's head h from the positions of a chunk. */
static void one_chunk(const struct kernel_attn *a, const struct kernels *k, size_t t, size_t h,
                      size_t chunk, float *state)
{
	const float *q = a->q + t * a->q_stride + h * a->dim_k;
	size_t end = a->pos + t + 1, from = chunk * KERNELS_CHUNK, to = from + KERNELS_CHUNK;
	size_t first = a->window && a->window < end ? end - a->window : 0;
	float *tail = state + kernel_state(a->dim_v) - 16;
	struct state s = {-INFINITY, 0, state};

	to = to < end ? to : end;
	from = from > first ? from : first;
	memset(s.out, 0, a->dim_v * sizeof *s.out);
	for (size_t lo = from; lo < to;) {
		size_t hi = (lo / BLOCK + 1) * BLOCK;

		hi = hi < to ? hi : to;
		block(a, k, q, lo, hi, &s);
		lo = hi;
	}
	tail[0] = s.max;
	tail[1] = s.sum;
}

static void join(struct state *s, const float *state, size_t dim)
{
	const float *tail = state + kernel_state(dim) - 16;

	if (tail[1] == 0)
		return;
	float max = tail[0] > s->max ? tail[0] : s->max;
	float keep = scalar_exp(s->max - max), more = scalar_exp(tail[0] - max);
	for (size_t d = 0; d < dim; d++)
		s->out[d] = s->out[d] * keep + state[d] * more;
	s->sum = s->sum * keep + tail[1] * more;
	s->max = max;
}

static struct state start(const struct kernel_attn *a, size_t t, size_t h)
{
	struct state s = {-INFINITY, 0, a->out + t * a->out_stride + h * a->dim_v};

	memset(s.out, 0, a->dim_v * sizeof *s.out);
	return s;
}

static void finish(const struct state *s, size_t dim)
{
	for (size_t d = 0; d < dim; d++)
		s->out[d] /= s->sum;
}

void scalar_attend(const struct kernel_attn *a)
{
	struct kernels k = {0};
	float state[DIM_MAX + 32];
	size_t first, last;

	scalar_decode_init(&k);
	kernel_chunks(a, &first, &last);
	for (size_t t = 0; t < a->tokens; t++)
		for (size_t h = 0; h < a->heads; h++) {
			struct state s = start(a, t, h);

			for (size_t c = first; c < last; c++) {
				one_chunk(a, &k, t, h, c, state);
				join(&s, state, a->dim_v);
			}
			finish(&s, a->dim_v);
		}
}

void scalar_attend_chunk(const struct kernel_attn *a, size_t chunk, float *state)
{
	struct kernels k = {0};

	scalar_decode_init(&k);
	for (size_t t = 0; t < a->tokens; t++)
		for (size_t h = 0; h < a->heads; h++, state += kernel_state(a->dim_v))
			one_chunk(a, &k, t, h, chunk, state);
}

void scalar_attend_join(const struct kernel_attn *a, const float *state, size_t step)
{
	size_t first, last;

	kernel_chunks(a, &first, &last);
	for (size_t t = 0; t < a->tokens; t++)
		for (size_t h = 0; h < a->heads; h++, state += kernel_state(a->dim_v)) {
			struct state s = start(a, t, h);

			for (size_t c = first; c < last; c++)
				join(&s, state + (c - first) * step, a->dim_v);
			finish(&s, a->dim_v);
		}
}

void scalar_attend_init(struct kernels *k)
{
	k->attend = scalar_attend;
	k->attend_chunk = scalar_attend_chunk;
	k->attend_join = scalar_attend_join;
}
