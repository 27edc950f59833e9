/*
 * The cache in every bit, and attention beside a plain softmax in float64 over what the cache then
 * holds: within TOLERANCE of the largest value.
 */
#include "checks.h"

#include <math.h>
#include <stdlib.h>

#include "half.h"
#include "kernels.h"
#include "scalar/scalar.h"

#define TOLERANCE 1e-5

struct shape {
	uint32_t heads, heads_kv, dim_k, dim_v, half, neox;
	enum dtype k_type, v_type;
};

#define SLOTS 3u

struct state {
	struct shape s;
	uint32_t n, ctx;
	size_t qkv, k_row, v_row, k_head, v_head, k_slot, v_slot;
	float *in, *cosine, *sine; /* (n, qkv), (n, half) */
	int32_t *pos, *slot;
	uint8_t *k, *v; /* caches before */
};

static void *space(size_t n)
{
	void *p = calloc(1, n + 64);

	if (!p)
		exit(2);
	return p;
}

/* A row as the device has it, from and to floats. */
static void encode(enum dtype t, uint8_t *row, const float *x, uint32_t dim)
{
	struct kernels s = {0};
	uint8_t blocks[1024];

	scalar_encode_init(&s);
	if (t != DTYPE_Q8_0) {
		s.quantize[t](row, x, dim);
		return;
	}
	s.quantize[t](blocks, x, dim);
	for (uint32_t b = 0; b < dim / 32; b++) {
		memcpy(row + 32 * b, blocks + 34 * b + 2, 32);
		memcpy(row + dim + 2 * b, blocks + 34 * b, 2);
	}
}

static void decode(enum dtype t, float *x, const uint8_t *row, uint32_t dim)
{
	for (uint32_t i = 0; i < dim; i++)
		switch (t) {
		case DTYPE_F32:
			memcpy(x + i, row + 4 * i, 4);
			break;
		case DTYPE_F16:
			x[i] = half_to_f32(half_get(row + 2 * i));
			break;
		case DTYPE_BF16:
			x[i] = half_bf16_to_f32(half_get(row + 2 * i));
			break;
		default:
			x[i] =
			    (float)(int8_t)row[i] * half_to_f32(half_get(row + dim + i / 32 * 2));
		}
}

static void state_new(struct state *t, const struct shape *s, uint32_t n, uint32_t ctx)
{
	float row[256];

	*t = (struct state){.s = *s, .n = n, .ctx = ctx};
	t->qkv = s->heads * s->dim_k + s->heads_kv * (s->dim_k + s->dim_v) + 7;
	t->k_row = cuda_cache_row(s->k_type, s->dim_k);
	t->v_row = cuda_cache_row(s->v_type, s->dim_v);
	t->k_head = ctx * t->k_row;
	t->v_head = ctx * t->v_row;
	t->k_slot = s->heads_kv * t->k_head;
	t->v_slot = s->heads_kv * t->v_head;
	t->in = space(n * t->qkv * 4);
	t->cosine = space(n * s->half * 4);
	t->sine = space(n * s->half * 4);
	t->pos = space(n * 4);
	t->slot = space(n * 4);
	t->k = space(SLOTS * t->k_slot);
	t->v = space(SLOTS * t->v_slot);
	for (size_t i = 0; i < n * t->qkv; i++)
		t->in[i] = real();
	for (size_t i = 0; i < n * s->half; i++) {
		t->cosine[i] = cosf((float)i);
		t->sine[i] = sinf((float)i);
	}
	for (size_t i = 0; i < SLOTS * s->heads_kv * ctx; i++) {
		for (uint32_t d = 0; d < s->dim_k; d++)
			row[d] = real();
		encode(s->k_type, t->k + i * t->k_row, row, s->dim_k);
		for (uint32_t d = 0; d < s->dim_v; d++)
			row[d] = real();
		encode(s->v_type, t->v + i * t->v_row, row, s->dim_v);
	}
}

static void state_free(struct state *t)
{
	free(t->in);
	free(t->cosine);
	free(t->sine);
	free(t->pos);
	free(t->slot);
	free(t->k);
	free(t->v);
}

/* Rotates Q and K of all tokens in t->in and puts keys and values into t->k, t->v, by scalar. */
static void append(struct state *t)
{
	struct kernels s = {0};
	const struct shape *h = &t->s;

	scalar_vector_init(&s);
	for (uint32_t i = 0; i < t->n; i++) {
		float *q = t->in + i * t->qkv, *k = q + h->heads * h->dim_k;
		float *v = k + h->heads_kv * h->dim_k;
		const float *c = t->cosine + i * h->half, *n = t->sine + i * h->half;

		if (t->slot[i] < 0)
			continue;
		for (uint32_t j = 0; j < h->heads; j++)
			s.rope(q + j * h->dim_k, c, n, h->half, (int)h->neox);
		for (uint32_t j = 0; j < h->heads_kv; j++) {
			size_t pos = (size_t)t->pos[i], slot = (size_t)t->slot[i];

			s.rope(k + j * h->dim_k, c, n, h->half, (int)h->neox);
			encode(h->k_type, t->k + slot * t->k_slot + j * t->k_head + pos * t->k_row,
			       k + j * h->dim_k, h->dim_k);
			encode(h->v_type, t->v + slot * t->v_slot + j * t->v_head + pos * t->v_row,
			       v + j * h->dim_v, h->dim_v);
		}
	}
}

/* The largest error of one head of one token, over the largest value. */
static double off(const struct state *t, uint32_t i, uint32_t head, const float *got)
{
	const struct shape *h = &t->s;
	size_t kv = head / (h->heads / h->heads_kv), slot = (size_t)t->slot[i];
	const uint8_t *k = t->k + slot * t->k_slot + kv * t->k_head;
	const uint8_t *v = t->v + slot * t->v_slot + kv * t->v_head;
	const float *q = t->in + i * t->qkv + head * h->dim_k;
	double score[1024], max = -INFINITY, sum = 0, out[256] = {0}, large = 0, worst = 0;
	float row[256];

	for (int32_t p = 0; p <= t->pos[i]; p++) {
		double s = 0;

		decode(h->k_type, row, k + (size_t)p * t->k_row, h->dim_k);
		for (uint32_t d = 0; d < h->dim_k; d++)
			s += (double)q[d] * (double)row[d];
		score[p] = s / sqrt((double)h->dim_k);
		max = fmax(max, score[p]);
	}
	for (int32_t p = 0; p <= t->pos[i]; p++) {
		double w = exp(score[p] - max);

		sum += w;
		decode(h->v_type, row, v + (size_t)p * t->v_row, h->dim_v);
		for (uint32_t d = 0; d < h->dim_v; d++)
			out[d] += w * (double)row[d];
	}
	for (uint32_t d = 0; d < h->dim_v; d++) {
		large = fmax(large, fabs(out[d] / sum));
		worst = fmax(worst, fabs(out[d] / sum - (double)got[d]));
	}
	return worst / large;
}

static struct cuda_attend arguments(const struct state *t, uint32_t splits, size_t *out_bytes)
{
	const struct shape *h = &t->s;
	struct cuda_attend a = {.n = t->n,
	                        .heads = h->heads,
	                        .heads_kv = h->heads_kv,
	                        .dim_k = h->dim_k,
	                        .dim_v = h->dim_v,
	                        .half = h->half,
	                        .neox = h->neox,
	                        .scale = (float)(1 / sqrt((double)h->dim_k)),
	                        .qkv = there(t->in, t->n * t->qkv * 4),
	                        .qkv_stride = t->qkv,
	                        .cosine = there(t->cosine, t->n * h->half * 4),
	                        .sine = there(t->sine, t->n * h->half * 4),
	                        .pos = there(t->pos, t->n * 4),
	                        .slot = there(t->slot, t->n * 4),
	                        .k_type = h->k_type,
	                        .v_type = h->v_type,
	                        .k = there(t->k, SLOTS * t->k_slot),
	                        .v = there(t->v, SLOTS * t->v_slot),
	                        .k_row = t->k_row,
	                        .v_row = t->v_row,
	                        .k_head = t->k_head,
	                        .v_head = t->v_head,
	                        .k_slot = t->k_slot,
	                        .v_slot = t->v_slot,
	                        .splits = splits};
	uint32_t *zeros = space(t->n * h->heads * 4);

	*out_bytes = t->n * (h->heads * h->dim_v + 1) * 4;
	a.partial = there(NULL, cuda_attend_partial(&a) * 4);
	a.ticket = there(zeros, t->n * h->heads * 4);
	a.out = there(NULL, *out_bytes);
	a.out_stride = h->heads * h->dim_v + 1;
	free(zeros);
	return a;
}

static void compare(struct state *t, const struct cuda_attend *a, size_t out_bytes)
{
	uint8_t *k = space(SLOTS * t->k_slot), *v = space(SLOTS * t->v_slot);
	float *out = space(out_bytes);
	double worst = 0;

	append(t);
	here(k, a->k, SLOTS * t->k_slot);
	here(v, a->v, SLOTS * t->v_slot);
	CHECK(memcmp(k, t->k, SLOTS * t->k_slot) == 0);
	CHECK(memcmp(v, t->v, SLOTS * t->v_slot) == 0);
	here(out, a->out, out_bytes);
	for (uint32_t i = 0; i < t->n; i++)
		for (uint32_t h = 0; h < a->heads && t->slot[i] >= 0; h++)
			worst = fmax(worst, off(t, i, h, out + i * a->out_stride + h * a->dim_v));
	if (!(worst <= TOLERANCE))
		printf("# %s, %s, %u heads of %u and %u: off by %g of the largest\n",
		       dtype_get(t->s.k_type)->name, dtype_get(t->s.v_type)->name, a->heads,
		       a->dim_k, a->dim_v, worst);
	CHECK(worst <= TOLERANCE);
	free(k);
	free(v);
	free(out);
}

static const struct shape shapes[] = {
    {4, 1, 128, 128, 64, 1, DTYPE_F16, DTYPE_F16},
    {6, 3, 64, 32, 32, 0, DTYPE_Q8_0, DTYPE_Q8_0},
    {5, 1, 96, 96, 40, 1, DTYPE_F32, DTYPE_BF16}, /* more heads than a block has */
    {2, 2, 100, 100, 50, 0, DTYPE_F16, DTYPE_F16},
    {3, 3, 256, 256, 128, 1, DTYPE_BF16, DTYPE_F32},
    {2, 1, 256, 256, 128, 1, DTYPE_Q8_0, DTYPE_F16},
};

int check_attention(void)
{
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct state t;
		size_t out_bytes;
		int32_t pos[4] = {0, 299, 64, 7}, slot[4] = {2, 0, 1, -1};

		state_new(&t, &shapes[i], 4, 300);
		memcpy(t.pos, pos, sizeof pos);
		memcpy(t.slot, slot, sizeof slot);
		struct cuda_attend a = arguments(&t, 3, &out_bytes);
		uint32_t tickets[32], left = 0;

		launch(CUDA_ATTEND, &a);
		compare(&t, &a, out_bytes);
		here(tickets, a.ticket, 4 * a.heads * 4);
		for (uint32_t j = 0; j < 4 * a.heads; j++)
			left += tickets[j];
		CHECK_INT(left, 0);
		state_free(&t);
		leave();
	}
	CHECK_INT(cuda_attend_splits(132, 1, 5, 4096), 53);
	CHECK_INT(cuda_attend_splits(132, 32, 5, 4096), 2);
	CHECK_INT(cuda_attend_splits(132, 1, 5, 10), 1);
	return CHECKED();
}

int check_prompts(void)
{
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct state t;
		size_t out_bytes;
		uint32_t n = i == 0 ? 130 : 35;

		state_new(&t, &shapes[i], n, 200);
		for (uint32_t j = 0; j < n; j++) {
			t.pos[j] = (int32_t)(j + (i % 2 ? 45 : 0));
			t.slot[j] = 1;
		}
		struct cuda_attend a = arguments(&t, 1, &out_bytes);

		launch(CUDA_ROPE, &a);
		launch(CUDA_PROMPT, &a);
		compare(&t, &a, out_bytes);
		state_free(&t);
		leave();
	}
	return CHECKED();
}
