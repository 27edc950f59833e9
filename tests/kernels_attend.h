/*
 * Attention, compared with a plain softmax in float64: the part of kernels.c that includes it,
 * behind its random numbers, guarded buffers and comparisons.
 */
#ifndef KERNELS_ATTEND_H
#define KERNELS_ATTEND_H

#define ATTEND_TOLERANCE 1e-5

struct attention {
	struct kernel_attn a;
	struct edge k, v;
	float *q;
};

/* Bytes from one chunk to the next: they need not touch. */
static size_t chunk_bytes(size_t row)
{
	return KERNELS_CHUNK * row + 192;
}

static uint8_t *cache_new(struct edge *e, enum dtype t, size_t positions, size_t dim, size_t row)
{
	float *x = take(dim * sizeof *x);
	size_t whole = (positions - 1) / KERNELS_CHUNK, left = positions - whole * KERNELS_CHUNK;

	edge_new(e, whole * chunk_bytes(row) + left * row);
	for (size_t p = 0; p < positions; p++) {
		for (size_t d = 0; d < dim; d++)
			x[d] = real() * 2.0f;
		ref->quantize[t](
		    e->at + p / KERNELS_CHUNK * chunk_bytes(row) + p % KERNELS_CHUNK * row, x, dim);
	}
	free(x);
	return e->at;
}

static void attention_new(struct attention *s, enum dtype t, size_t i)
{
	static const size_t dims[] = {128, 64, 32, 80, 256, 14, 2, 320};
	struct kernel_attn *a = &s->a;
	size_t unit = dtype_get(t)->block;

	memset(s, 0, sizeof *s);
	a->dim_k = dims[i % 8] < unit || dims[i % 8] % unit ? 64 : dims[i % 8];
	a->dim_v = i % 4 == 3 && unit == 1 ? a->dim_k / 2 : a->dim_k;
	a->heads = 1 + below(6);
	a->tokens = i % 3 ? 1 + below(20) : 1;
	a->pos = below(i % 4 == 2 ? 800 : 200);
	a->window = i % 2 ? 1 + below(i % 5 ? 150 : 600) : 0;
	a->scale = 1.0f / sqrtf((float)a->dim_k);
	a->k_type = a->v_type = t;
	a->k_row_bytes = dtype_row_bytes(t, a->dim_k);
	a->v_row_bytes = dtype_row_bytes(t, a->dim_v);
	a->k = cache_new(&s->k, t, a->pos + a->tokens, a->dim_k, a->k_row_bytes);
	a->v = cache_new(&s->v, t, a->pos + a->tokens, a->dim_v, a->v_row_bytes);
	a->k_chunk = chunk_bytes(a->k_row_bytes);
	a->v_chunk = chunk_bytes(a->v_row_bytes);
	a->q_stride = a->heads * a->dim_k + 3;
	a->out_stride = a->heads * a->dim_v + 5;
	s->q = take(a->tokens * a->q_stride * sizeof *s->q);
	for (size_t j = 0; j < a->tokens * a->q_stride; j++)
		s->q[j] = real() * 3.0f;
	a->q = s->q;
	a->scratch = scratch;
}

static void attention_free(struct attention *s)
{
	edge_free(&s->k);
	edge_free(&s->v);
	free(s->q);
}

/* Token t, head h in float64. */
static void attend_exactly(const struct kernel_attn *a, size_t t, size_t h, double *out)
{
	size_t end = a->pos + t + 1, from = a->window && a->window < end ? end - a->window : 0;
	const float *q = a->q + t * a->q_stride + h * a->dim_k;
	double *weight = take(end * sizeof *weight), most = -INFINITY, sum = 0;
	float *row = take((a->dim_k + a->dim_v) * sizeof *row);

	memset(out, 0, a->dim_v * sizeof *out);
	for (size_t p = from; p < end; p++) {
		ref->dequantize[a->k_type](row, kernel_key(a, p), a->dim_k);
		for (size_t d = 0; d < a->dim_k; d++)
			weight[p] += (double)q[d] * (double)row[d] * (double)a->scale;
		most = fmax(most, weight[p]);
	}
	for (size_t p = from; p < end; p++)
		sum += exp(weight[p] - most);
	for (size_t p = from; p < end; p++) {
		ref->dequantize[a->v_type](row, kernel_value(a, p), a->dim_v);
		for (size_t d = 0; d < a->dim_v; d++)
			out[d] += exp(weight[p] - most) / sum * (double)row[d];
	}
	free(weight);
	free(row);
}

/* The caches of attention_new hold values up to this. */
#define VALUE_MAX 4.0

static int near(const float *got, const double *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(fabs((double)got[i] - want[i]) <= ATTEND_TOLERANCE * VALUE_MAX)) {
			printf("# value %zu is %.9g, expected %.9g\n", i, (double)got[i], want[i]);
			return 0;
		}
	return 1;
}

/* Chunk by chunk, from the last to the first, equal to all at once. */
static int parts_check(const struct kernel_attn *all, const float *got)
{
	struct kernel_attn a = *all;
	size_t first, last, one = a.tokens * a.heads * kernel_state(a.dim_v), step = one + 16;
	struct guarded g;
	int ok = 1;

	kernel_chunks(&a, &first, &last);
	size_t n = (last - first) * step - 16;
	float *state = guarded_new(&g, n * sizeof *state);
	a.out = take(a.tokens * a.out_stride * sizeof *a.out);
	for (size_t c = last; c-- > first;)
		now->attend_chunk(&a, c, state + (c - first) * step);
	now->attend_join(&a, state, step);
	for (size_t t = 0; t < a.tokens; t++)
		ok &= same(a.out + t * a.out_stride, got + t * a.out_stride, a.heads * a.dim_v);
	free(a.out);
	return ok & guarded_free(&g, n * sizeof *state);
}

/* All at once near what is exact; one head of one token at a time, and parts, equal to all at once.
 */
static int attention_check(struct attention *s)
{
	struct kernel_attn a = s->a;
	size_t n = a.tokens * a.out_stride, bytes = (n - 5) * sizeof(float);
	struct guarded g, h;
	double *want = take(a.dim_v * sizeof *want);
	float *got = guarded_new(&g, bytes), *one = guarded_new(&h, bytes);
	int ok = 1;

	a.out = got;
	now->attend(&a);
	ok = parts_check(&a, got);
	for (size_t t = 0; t < s->a.tokens; t++) {
		for (size_t j = 0; j < s->a.heads; j++) {
			size_t at = t * a.out_stride + j * a.dim_v;

			attend_exactly(&s->a, t, j, want);
			a.tokens = a.heads = 1;
			a.pos = s->a.pos + t;
			a.q = s->a.q + t * a.q_stride + j * a.dim_k;
			a.out = one + at;
			now->attend(&a);
			ok = ok && same(one + at, got + at, a.dim_v) &&
			     near(got + at, want, a.dim_v);
		}
		/* the gap between two rows is not an output */
		for (size_t j = 0; t + 1 < s->a.tokens && j < 5; j++)
			ok =
			    ok && half_f32_bits(got[(t + 1) * a.out_stride - 5 + j]) == 0xa5a5a5a5u;
	}
	if (!ok)
		printf("# %s: dim %zu, %zu, %zu heads, %zu tokens at %zu, window %zu\n", now->name,
		       a.dim_k, a.dim_v, s->a.heads, s->a.tokens, s->a.pos, a.window);
	ok &= guarded_free(&g, bytes) & guarded_free(&h, bytes);
	free(want);
	return ok;
}

static int attend_type(enum dtype t)
{
	struct attention s;
	int ok = 1;

	for (size_t i = 0; i < 60 && ok; i++) {
		attention_new(&s, t, i);
		ok = attention_check(&s);
		attention_free(&s);
	}
	return ok;
}

#endif
