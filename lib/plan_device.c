#include "plan_device.h"

#include <string.h>

#include "head.h"

static uint64_t round_up(uint64_t n, uint64_t step)
{
	return (n + step - 1) / step * step;
}

static uint64_t max2(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint32_t plan_device_first(const struct arch *a, const struct plan_options *o)
{
	return o->device_layers < a->n_layer ? a->n_layer - o->device_layers : 0;
}

int plan_device_head(const struct arch *a, const struct plan_options *o)
{
	return o->device_layers > a->n_layer;
}

/* ---- weights ---- */

/* I2_S rows are filled up to whole units of 128 columns when they are loaded (weights.h). */
uint64_t plan_device_matrix(struct cuda_packing *packing, const struct gguf_tensor *t, int packed)
{
	struct cuda_packing p = {0};
	uint64_t row = dtype_row_bytes(t->type, (uint32_t)t->cols);

	if (t->type == DTYPE_I2_S)
		row = round_up(t->cols, 128) / 4;
	if (packed && cuda_packs(t->type))
		cuda_packing(&p, t->type, 32, (uint32_t)t->rows, (uint32_t)t->cols, row);
	if (packing)
		*packing = p;
	return p.bytes ? p.bytes : plan_device_round(t->rows * row);
}

int plan_device_fused(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
	struct cuda_packing p, q;

	plan_device_matrix(&p, a, 1);
	plan_device_matrix(&q, b, 1);
	return p.bytes && q.bytes && p.d_blocks == q.d_blocks;
}

static int add_matrix(uint64_t *sum, const struct weight *w, struct err *e)
{
	const struct gguf_tensor *t = w->t;

	if (!cuda_packs(t->type) && !cuda_dense_type(t->type))
		return err_unsupported(e, "tensor %.*s: type %s is not computed on a device",
		                       (int)t->name.n, t->name.p, dtype_get(t->type)->name);
	if (__builtin_add_overflow(*sum, plan_device_matrix(NULL, t, 1), sum) || *sum > INT64_MAX)
		return err_set(e, ERR_TROUBLE, "tensor %.*s: too large", (int)t->name.n, t->name.p);
	return 0;
}

static void add_vector(uint64_t *sum, const struct weight *w)
{
	if (w->t)
		*sum += plan_device_round(w->t->cols * sizeof(float));
}

static int add_layer(uint64_t *sum, const struct weights_layer *l, struct err *e)
{
	const struct weight *matrix[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
	const struct weight *vector[] = {&l->attn_norm, &l->attn_sub_norm, &l->ffn_norm,
	                                 &l->ffn_sub_norm};

	for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
		if (add_matrix(sum, matrix[i], e))
			return -1;
	for (size_t i = 0; i < sizeof vector / sizeof *vector; i++)
		add_vector(sum, vector[i]);
	return 0;
}

/* A table that is the head as well, in the layout that serves both, lies there once. */
static int add_ends(uint64_t *sum, const struct weights *w, struct err *e)
{
	if (!cuda_embed_type(w->embd.t->type))
		return err_unsupported(
		    e, "tensor token_embd.weight: type %s is not looked up on a device",
		    dtype_get(w->embd.t->type)->name);
	if (add_matrix(sum, &w->output, e))
		return -1;
	if (w->embd.t != w->output.t || cuda_packs(w->embd.t->type))
		*sum += plan_device_matrix(NULL, w->embd.t, 0);
	add_vector(sum, &w->output_norm);
	return 0;
}

static int weight_bytes(uint64_t *sum, const struct arch *a, const struct weights *w,
                        const struct plan_options *o, struct err *e)
{
	*sum = 0;
	for (uint32_t i = plan_device_first(a, o); i < a->n_layer; i++)
		if (add_layer(sum, &w->layer[i], e))
			return -1;
	return plan_device_head(a, o) ? add_ends(sum, w, e) : 0;
}

/* The screen: q, then scale, lost and norm of each row. */
static uint64_t screen_bytes(const struct weights *w)
{
	uint64_t rows = w->output.t->rows;

	return plan_device_round(rows * cuda_q_stride((uint32_t)w->output.t->cols)) +
	       3 * plan_device_round(rows * sizeof(float));
}

static int screens(const struct arch *a, const struct weights *w, const struct plan_options *o)
{
	return o->screen && plan_device_head(a, o) && cuda_screen_type(w->output.t->type);
}

/* ---- caches ---- */

static int cache_bytes(uint64_t *bytes, const struct plan *p, const struct arch *a,
                       const struct plan_options *o, enum dtype t, uint32_t dim, struct err *e)
{
	uint64_t rows = (uint64_t)(a->n_layer - plan_device_first(a, o)) * o->sequences;

	if (!cuda_cache_row(t, dim))
		return err_unsupported(e, "a KV cache of type %s is not computed on a device",
		                       dtype_get(t)->name);
	if (__builtin_mul_overflow(rows, (uint64_t)a->n_head_kv * p->ctx, &rows) ||
	    __builtin_mul_overflow(rows, (uint64_t)cuda_cache_row(t, dim), bytes) ||
	    *bytes > INT64_MAX)
		return err_set(e, ERR_TROUBLE, "a KV cache of %u positions is too large", p->ctx);
	*bytes = plan_device_round(*bytes);
	return 0;
}

/* ---- buffers ---- */

/* Sequences that are computed at once, at most. */
static uint32_t batch(const struct plan_options *o)
{
	return o->sequences < o->ubatch ? o->sequences : o->ubatch;
}

static uint64_t partial_bytes(const struct arch *a, const struct plan_options *o)
{
	struct cuda_attend at = {.n = batch(o),
	                         .heads = a->n_head,
	                         .heads_kv = a->n_head_kv,
	                         .dim_k = a->dim_k,
	                         .dim_v = a->dim_v,
	                         .splits = PLAN_DEVICE_SPLITS};

	return cuda_attend_partial(&at) * sizeof(float);
}

/* Bytes of the largest float matrix of a layer when it is widened; 0: none. */
static uint64_t widest_float(const struct arch *a, const struct weights *w,
                             const struct plan_options *o)
{
	uint64_t most = 0;

	for (uint32_t i = plan_device_first(a, o); i < a->n_layer; i++) {
		const struct weights_layer *l = &w->layer[i];
		const struct weight *all[] = {&l->q,    &l->k,  &l->v,   &l->o,
		                              &l->gate, &l->up, &l->down};

		for (size_t m = 0; m < sizeof all / sizeof *all; m++)
			if (!cuda_packs(all[m]->t->type))
				most =
				    max2(most, all[m]->t->rows * all[m]->t->cols * sizeof(float));
	}
	return most;
}

/* Gate and up in one launch need no place for up. */
static int needs_up(const struct arch *a, const struct weights *w, const struct plan_options *o)
{
	for (uint32_t i = plan_device_first(a, o); i < a->n_layer; i++)
		if (!plan_device_fused(w->layer[i].gate.t, w->layer[i].up.t))
			return 1;
	return 0;
}

static void head_buffers(struct plan_device_buffers *b, struct plan_device_staging *s,
                         const struct arch *a, const struct weights *w,
                         const struct plan_options *o)
{
	uint64_t n = batch(o), top = n * PLAN_DEVICE_TOP, f = sizeof(float);

	b->hidden = plan_device_round(b->head_rows * b->x_stride * f);
	b->best = plan_device_round(n * sizeof(uint64_t));
	b->best_ticket = plan_device_round(n * sizeof(uint32_t));
	b->id = b->value = plan_device_round(top * sizeof(int32_t));
	s->id = s->value = plan_device_round(top * sizeof(int32_t));
	s->logits = plan_device_round((uint64_t)b->head_rows * a->n_vocab * f);
	if (!screens(a, w, o))
		return;
	b->screen_x = plan_device_round(n * 2 * cuda_q_stride(a->n_embd));
	b->screen_bound = plan_device_round(n * 4 * sizeof(double));
	b->screen_low = plan_device_round(n * ((a->n_vocab + 63) / 64) * f);
	b->screen_limit = plan_device_round(n * sizeof(uint32_t));
}

void plan_device_buffers(struct plan_device_buffers *b, struct plan_device_staging *s,
                         const struct arch *a, const struct weights *w,
                         const struct plan_options *o)
{
	struct plan_buffers host;
	uint64_t n = o->ubatch, f = sizeof(float), half = a->n_rot / 2;

	memset(b, 0, sizeof *b);
	memset(s, 0, sizeof *s);
	plan_buffers(&host, a, o->ubatch, 0);
	b->rows = (uint32_t)n;
	b->head_rows = (uint32_t)max2(o->logits_rows, batch(o));
	b->x_stride = host.x_stride;
	b->h_stride = host.h_stride;
	b->qkv_stride = host.qkv_stride;
	b->ff_stride = host.ff_stride;
	b->q8_bytes = cuda_q_stride((uint32_t)max2(b->h_stride, b->ff_stride));
	b->ids = b->pos = b->slot = plan_device_round(n * sizeof(int32_t));
	b->x = plan_device_round(n * b->x_stride * f);
	b->h = plan_device_round(n * b->h_stride * f);
	b->qkv = plan_device_round(n * b->qkv_stride * f);
	b->gate = plan_device_round(n * b->ff_stride * f);
	b->up = needs_up(a, w, o) ? b->gate : 0;
	b->cosine = b->sine = plan_device_round(n * half * f);
	b->q8 = plan_device_round(n * b->q8_bytes);
	b->q8_scale = plan_device_round(n * f);
	b->q8_sum = plan_device_round(n * sizeof(int32_t));
	b->partial = plan_device_round(partial_bytes(a, o));
	b->ticket = plan_device_round((uint64_t)batch(o) * a->n_head_kv * sizeof(uint32_t));
	uint64_t wide = widest_float(a, w, o);
	b->wide = plan_device_round(wide < PLAN_DEVICE_WIDE ? wide : PLAN_DEVICE_WIDE);
	b->work = wide ? PLAN_DEVICE_WORK : 0;
	s->ids = s->pos = s->slot = b->ids;
	if (plan_device_head(a, o)) {
		b->freq = plan_device_round(half * sizeof(double));
		b->divisor = w->rope_freqs.t ? plan_device_round(half * f) : 0;
		head_buffers(b, s, a, w, o);
	} else {
		s->x = b->x;
		s->cosine = s->sine = b->cosine;
	}
}

static uint64_t buffer_bytes(const struct plan_device_buffers *b)
{
	return b->ids + b->pos + b->slot + b->x + b->h + b->qkv + b->gate + b->up + b->cosine +
	       b->sine + b->freq + b->divisor + b->q8 + b->q8_scale + b->q8_sum + b->partial +
	       b->ticket + b->hidden + b->best + b->best_ticket + b->id + b->value + b->screen_x +
	       b->screen_bound + b->screen_low + b->screen_limit + b->wide + b->work;
}

static uint64_t staging_bytes(const struct plan_device_staging *s)
{
	uint64_t run =
	    s->ids + s->pos + s->slot + s->id + s->value + s->logits + s->x + s->cosine + s->sine;

	return max2(run, PLAN_DEVICE_LOAD);
}

int plan_device_add(struct plan *p, const struct arch *a, const struct weights *w,
                    const struct plan_options *o, struct err *e)
{
	struct plan_device_buffers b;
	struct plan_device_staging s;
	struct plan_region *r = p->region;

	if (!o->device_layers)
		return 0;
	if (weight_bytes(&r[PLAN_WEIGHTS_MAPPED].device, a, w, o, e) ||
	    cache_bytes(&r[PLAN_KV_K].device, p, a, o, o->k_type, a->dim_k, e) ||
	    cache_bytes(&r[PLAN_KV_V].device, p, a, o, o->v_type, a->dim_v, e))
		return -1;
	plan_device_buffers(&b, &s, a, w, o);
	r[PLAN_WEIGHTS_COPIED].device = screens(a, w, o) ? screen_bytes(w) : 0;
	r[PLAN_ACTIVATION].device = buffer_bytes(&b);
	r[PLAN_STAGING].bytes = staging_bytes(&s);
	if (!plan_device_head(a, o))
		return 0;
	r[PLAN_LOGITS].device =
	    plan_device_round((uint64_t)b.head_rows * a->n_vocab * sizeof(float));
	/* Nothing is computed on the host. */
	r[PLAN_ACTIVATION].bytes = r[PLAN_LOGITS].bytes = r[PLAN_SCRATCH].bytes = 0;
	return 0;
}
