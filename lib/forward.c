#include "forward.h"

#include <math.h>
#include <string.h>

/*
 * Each stage ends at a barrier.  Stages over tokens (norms, rotation) give whole tokens to a
 * thread, a single one to the last thread that arrives at the barrier; products deal out blocks of
 * rows of the matrix, attention (KV head, tile of tokens) units, for few tokens (chunk of
 * positions, KV head) units, to whichever thread is free: a core that is slow or taken away for a
 * while does less.
 * Each value has one writer and is computed in an order that does not depend on who that is.
 */

#define ROW_STEP    64 /* rows of a matrix are split in multiples of this */
#define BLAS_TOKENS 32 /* from here on OpenBLAS pays; below, results do not depend on n */
#define ATTN_TILE   16 /* tokens of one attention unit */

_Static_assert((int)FORWARD_STAGES == PLAN_STAGES, "the plan counts the stages");

struct worker {
	struct forward *f;
	int i, count;
	uint8_t *scratch;
};

static void barrier(const struct worker *t)
{
	threads_barrier(t->f->pool);
}

/* Tokens that this thread does: [*first, *last). */
static void my_tokens(const struct worker *t, size_t *first, size_t *last)
{
	threads_split(t->f->n, 1, t->i, t->count, first, last);
}

/* How much of what is left, of total, the next block has: a part of it, long at first, short where
 * threads wait for each other. */
static size_t part_of(const struct worker *t, size_t left, size_t total, size_t step)
{
	size_t (*prepared)(size_t) = t->f->kern->prepared;
	size_t count = (size_t)t->count;
	size_t block = left / (2 * count), least = step;

	if (count == 1)
		return left;
	if (prepared && step == ROW_STEP && prepared(t->f->n)) {
		/* nearly everything in one block for each thread */
		block = left > total / 8 ? total / 16 * 15 / count : block;
		least = 2 * step;
	}
	block = block / step * step;
	block = block > least ? block : least;
	return block < left ? block : left;
}

/* [*first, *last) of the next block of total that nobody has, in multiples of step; 0 when there is
 * none. */
static int next_block(const struct worker *t, uint32_t *dealt, size_t total, size_t step,
                      size_t *first, size_t *last)
{
	uint32_t at = __atomic_load_n(dealt, __ATOMIC_RELAXED);
	size_t block;

	do {
		if (at >= total)
			return 0;
		block = part_of(t, total - at, total, step);
	} while (!__atomic_compare_exchange_n(dealt, &at, at + (uint32_t)block, 1, __ATOMIC_RELAXED,
	                                      __ATOMIC_RELAXED));
	*first = at;
	*last = at + block;
	return 1;
}

static int next_rows(const struct worker *t, uint32_t *dealt, size_t total, size_t *first,
                     size_t *last)
{
	return next_block(t, dealt, total, ROW_STEP, first, last);
}

static uint32_t *dealt(const struct worker *t, uint32_t layer, enum forward_stage stage)
{
	return &t->f->dealt[layer * FORWARD_STAGES + stage];
}

static struct kernel_input input(const struct forward *f, const float *x, size_t stride, size_t n,
                                 size_t k)
{
	return (struct kernel_input){.n = n,
	                             .k = k,
	                             .f = x,
	                             .q = f->q8,
	                             .stride = stride,
	                             .scale = f->q8_scale,
	                             .sum = f->q8_sum,
	                             .sum256 = f->q8_sum256,
	                             .stride256 = f->sum_stride};
}

/* Row `token` of the int8 input; its rows lie as far apart as those of the floats it is made of. */
static void quantize(const struct forward *f, size_t token, const float *x, size_t stride, size_t k)
{
	size_t padded = (k + 63) / 64 * 64,
	       whole = (k + PLAN_STRIDE - 1) / PLAN_STRIDE * PLAN_STRIDE;
	int8_t *q = f->q8 + token * stride;

	/* Matrices whose rows were filled up read as far as a stride reaches. */
	memset(q + padded, 0, whole - padded);
	f->kern->quantize_i8(x, k, q, &f->q8_scale[token], &f->q8_sum[token],
	                     f->q8_sum256 + token * f->sum_stride);
}

/* h = rms(w, x), then int8 of h, for my tokens. */
static void norm_and_quantize(const struct worker *t, float *h, size_t h_stride, const float *x,
                              size_t x_stride, const struct weight *w, size_t k)
{
	const struct forward *f = t->f;
	size_t a, b;

	my_tokens(t, &a, &b);
	for (size_t i = a; i < b; i++) {
		if (w->v)
			f->kern->rms_norm(h + i * h_stride, x + i * x_stride, w->v, k,
			                  f->arch->eps);
		quantize(f, i, h + i * h_stride, h_stride, k);
	}
}

/* A stage over tokens, between two that are dealt out. */
typedef void stage(const struct worker *t, uint32_t layer);

struct step {
	struct worker all; /* one that has all tokens */
	stage *run;
	uint32_t layer;
};

static void take_step(void *arg)
{
	const struct step *s = arg;

	s->run(&s->all, s->layer);
}

/* All threads meet, and go on when the stage is done. */
static void meet(const struct worker *t, stage *run, uint32_t layer)
{
	struct step s = {{t->f, 0, 1, t->scratch}, run, layer};

	if (t->f->n == 1) {
		threads_meet(t->f->pool, take_step, &s);
		return;
	}
	barrier(t);
	run(t, layer);
	barrier(t);
}

/* Float weights of a prompt: panels of rows are widened into scratch, as many as fit. */
static void blas_product(const struct worker *t, const struct kernel_mat *m,
                         const struct kernel_input *in, size_t row0, size_t row1, float *y,
                         size_t stride)
{
	const struct forward *f = t->f;
	size_t panel = KERNELS_SCRATCH / (in->k * sizeof(float));
	float *wide = (float *)(void *)t->scratch;

	for (size_t r = row0; r < row1; r += panel) {
		size_t rows = row1 - r < panel ? row1 - r : panel;
		for (size_t i = 0; i < rows; i++)
			f->kern->dequantize[m->type](wide + i * in->k,
			                             m->data + (r + i) * m->row_bytes, in->k);
		blas_mul(f->blas, in->n, rows, in->k, m->scale, in->f, in->stride, wide, y + r,
		         stride);
	}
}

static int blas_pays(const struct forward *f, const struct kernel_mat *m,
                     const struct kernel_input *in)
{
	return f->blas && !f->row && in->n >= BLAS_TOKENS &&
	       in->k * sizeof(float) <= KERNELS_SCRATCH &&
	       (m->type == DTYPE_F16 || m->type == DTYPE_BF16 || m->type == DTYPE_F32);
}

/* Rows [row0, row1) of one matrix, or nothing when the range is empty. */
static void product(const struct worker *t, const struct weight *w, const struct kernel_input *in,
                    size_t row0, size_t row1, float *y, size_t stride)
{
	struct kernel_input filled = *in;

	filled.k = w->mat.cols;
	if (row0 >= row1)
		return;
	if (w != &t->f->w->output && blas_pays(t->f, &w->mat, in))
		blas_product(t, &w->mat, in, row0, row1, y, stride);
	else if (w->mat.strips)
		t->f->kern->mul_strips(&w->mat, &filled, row0, row1, y, stride, t->scratch);
	else
		t->f->kern->mul[w->mat.type](&w->mat, &filled, row0, row1, y, stride, t->scratch);
}

static void embed(const struct worker *t)
{
	struct forward *f = t->f;
	const struct arch *a = f->arch;
	const struct kernel_mat *m = &f->w->embd.mat;
	size_t first, last, half = a->n_rot / 2;

	my_tokens(t, &first, &last);
	for (size_t i = first; i < last; i++) {
		float *x = f->x + i * f->x_stride;
		f->kern->dequantize[m->type](x, m->data + (size_t)f->ids[i] * m->row_bytes,
		                             a->n_embd);
		if (m->scale != 1)
			for (size_t j = 0; j < a->n_embd; j++)
				x[j] *= m->scale;
		double pos = (double)(f->row ? f->row[i].pos : f->pos + i) / a->rope_factor;
		for (size_t j = 0; j < half; j++) {
			double angle = pos * pow(a->rope_base, -2.0 * (double)j / a->n_rot);
			if (f->w->rope_freqs.v)
				angle /= (double)f->w->rope_freqs.v[j];
			f->cos[i * half + j] = (float)cos(angle);
			f->sin[i * half + j] = (float)sin(angle);
		}
	}
}

/* Rows [first, last) of Q, K and V, which are one range of rows over one quantized input. */
static void qkv_rows(const struct worker *t, const struct weights_layer *l,
                     const struct kernel_input *in, size_t first, size_t last)
{
	const struct weight *part[] = {&l->q, &l->k, &l->v};
	size_t base = 0;

	for (int p = 0; p < 3; p++) {
		size_t rows = part[p]->mat.rows;
		size_t a = first > base ? first - base : 0;
		size_t b = last > base ? last - base : 0;
		product(t, part[p], in, a, b < rows ? b : rows, t->f->qkv + base, t->f->qkv_stride);
		base += rows;
	}
}

static void project_qkv(const struct worker *t, uint32_t layer)
{
	struct forward *f = t->f;
	const struct weights_layer *l = &f->w->layer[layer];
	struct kernel_input in = input(f, f->h, f->h_stride, f->n, f->arch->n_embd);
	size_t total = l->q.mat.rows + l->k.mat.rows + l->v.mat.rows, a, b;

	while (next_rows(t, dealt(t, layer, FORWARD_QKV), total, &a, &b))
		qkv_rows(t, l, &in, a, b);
}

/* Where the keys and values of token i go. */
static struct forward_row row(const struct forward *f, size_t i)
{
	return f->row ? f->row[i] : (struct forward_row){f->cache.k, f->cache.v, f->pos + i};
}

/* Rotates Q and K and puts K and V into the cache. */
static void rotate_and_store(const struct worker *t, uint32_t layer)
{
	struct forward *f = t->f;
	const struct arch *a = f->arch;
	size_t first, last, half = a->n_rot / 2;

	my_tokens(t, &first, &last);
	for (size_t i = first; i < last; i++) {
		float *q = f->qkv + i * f->qkv_stride;
		float *k = q + (size_t)a->n_head * a->dim_k;
		float *v = k + (size_t)a->n_head_kv * a->dim_k;
		const float *c = f->cos + i * half, *s = f->sin + i * half;
		struct forward_row at = row(f, i);
		size_t chunk = at.pos / KERNELS_CHUNK, in_chunk = at.pos % KERNELS_CHUNK;

		for (uint32_t h = 0; h < a->n_head; h++)
			f->kern->rope(q + (size_t)h * a->dim_k, c, s, half, a->neox);
		for (uint32_t h = 0; h < a->n_head_kv; h++) {
			uint8_t *kc = at.k + chunk * f->cache.k_chunk + layer * f->cache.k_layer +
			              h * f->cache.k_head;
			uint8_t *vc = at.v + chunk * f->cache.v_chunk + layer * f->cache.v_layer +
			              h * f->cache.v_head;
			f->kern->rope(k + (size_t)h * a->dim_k, c, s, half, a->neox);
			f->kern->quantize[f->k_type](kc + in_chunk * f->cache.k_row,
			                             k + (size_t)h * a->dim_k, a->dim_k);
			f->kern->quantize[f->v_type](vc + in_chunk * f->cache.v_row,
			                             v + (size_t)h * a->dim_v, a->dim_v);
		}
	}
}

/* Attention of a KV head's query heads over n tokens into h (n, n_head * dim_v). */
static struct kernel_attn attention(const struct worker *t, uint32_t layer, size_t head,
                                    size_t token, size_t n)
{
	const struct forward *f = t->f;
	const struct arch *a = f->arch;
	size_t group = a->n_head / a->n_head_kv;
	struct forward_row first = row(f, token);

	return (struct kernel_attn){
	    .dim_k = a->dim_k,
	    .dim_v = a->dim_v,
	    .heads = group,
	    .tokens = n,
	    .pos = first.pos,
	    .scale = (float)(1 / sqrt((double)a->dim_k)),
	    .q = f->qkv + token * f->qkv_stride + head * group * a->dim_k,
	    .q_stride = f->qkv_stride,
	    .k = first.k + layer * f->cache.k_layer + head * f->cache.k_head,
	    .v = first.v + layer * f->cache.v_layer + head * f->cache.v_head,
	    .k_row_bytes = f->cache.k_row,
	    .v_row_bytes = f->cache.v_row,
	    .k_chunk = f->cache.k_chunk,
	    .v_chunk = f->cache.v_chunk,
	    .out = f->h + token * f->h_stride + head * group * a->dim_v,
	    .out_stride = f->h_stride,
	    .k_type = f->k_type,
	    .v_type = f->v_type,
	    .scratch = t->scratch,
	};
}

/* Heads one by one are too few to share out evenly where a few tokens see many positions: then
 * their chunks are dealt out, in the order in which they lie.  0: they are not. */
static size_t chunks_to_deal(const struct worker *t)
{
	const struct forward *f = t->f;
	size_t chunks = (row(f, 0).pos + f->n + KERNELS_CHUNK - 1) / KERNELS_CHUNK;

	if (t->count == 1 || (f->row && f->n > 1) || f->n > ATTN_TILE)
		return 0;
	return chunks > 1 && chunks * f->n <= f->state_chunks ? chunks : 0;
}

static void attend_chunks(const struct worker *t, uint32_t layer, size_t chunks)
{
	const struct forward *f = t->f;
	size_t heads = f->arch->n_head_kv, n = f->n, first, last;
	size_t of_head = n * (f->arch->n_head / heads) * kernel_state(f->arch->dim_v);

	while (next_block(t, dealt(t, layer, FORWARD_ATTEND), chunks * heads, 1, &first, &last))
		for (size_t u = first; u < last; u++) {
			struct kernel_attn a = attention(t, layer, u % heads, 0, n);

			if (u + 1 < last) {
				size_t next = (u + 1) / heads * KERNELS_CHUNK;
				struct kernel_attn b = attention(t, layer, (u + 1) % heads, 0, n);

				a.k_next = kernel_key(&b, next);
				a.v_next = kernel_value(&b, next);
			}
			f->kern->attend_chunk(&a, u / heads, f->states + u * of_head);
		}
	barrier(t);
	for (size_t h = (size_t)t->i; h < heads; h += (size_t)t->count) {
		struct kernel_attn a = attention(t, layer, h, 0, n);

		f->kern->attend_join(&a, f->states + h * of_head, heads * of_head);
	}
}

static void attend(const struct worker *t, uint32_t layer)
{
	struct forward *f = t->f;
	size_t heads = f->arch->n_head_kv, chunks = chunks_to_deal(t);
	size_t tile = f->row ? 1 : ATTN_TILE, tiles = (f->n + tile - 1) / tile;

	if (chunks) {
		attend_chunks(t, layer, chunks);
		return;
	}
	for (;;) {
		size_t u = __atomic_fetch_add(dealt(t, layer, FORWARD_ATTEND), 1, __ATOMIC_RELAXED);
		if (u >= tiles * heads)
			break;
		/* The last tiles see the most positions: they come first, so that no thread waits
		 * for one. */
		size_t token = (tiles - 1 - u / heads) * tile, left = f->n - token;
		struct kernel_attn a =
		    attention(t, layer, u % heads, token, left < tile ? left : tile);

		f->kern->attend(&a);
	}
}

/* x += W * input, block by block of rows. */
static void project_and_add(const struct worker *t, const struct weight *w, uint32_t *taken,
                            const float *in_f, size_t in_stride, size_t k)
{
	struct forward *f = t->f;
	struct kernel_input in = input(f, in_f, in_stride, f->n, k);
	size_t a, b;

	while (next_rows(t, taken, w->mat.rows, &a, &b)) {
		product(t, w, &in, a, b, f->out, f->x_stride);
		for (size_t i = 0; i < f->n; i++)
			f->kern->add(f->x + i * f->x_stride + a, f->out + i * f->x_stride + a,
			             b - a);
	}
}

/* gate = act(Wg * h) * (Wu * h), block by block of the rows of both. */
static void gate_and_up(const struct worker *t, uint32_t layer)
{
	struct forward *f = t->f;
	const struct weights_layer *l = &f->w->layer[layer];
	struct kernel_input in = input(f, f->h, f->h_stride, f->n, f->arch->n_embd);
	size_t a, b;

	while (next_rows(t, dealt(t, layer, FORWARD_GATE_UP), l->gate.mat.rows, &a, &b)) {
		product(t, &l->gate, &in, a, b, f->gate, f->ff_stride);
		product(t, &l->up, &in, a, b, f->up, f->ff_stride);
		for (size_t i = 0; i < f->n; i++) {
			float *g = f->gate + i * f->ff_stride + a,
			      *u = f->up + i * f->ff_stride + a;
			if (f->arch->act == ARCH_RELU2)
				f->kern->relu2_mul(g, u, b - a);
			else
				f->kern->silu_mul(g, u, b - a);
		}
	}
}

static size_t heads_width(const struct arch *a)
{
	return (size_t)a->n_head * a->dim_v;
}

/* The inputs of the four products of a layer. */
static void norm_of_layer(const struct worker *t, uint32_t i)
{
	struct forward *f = t->f;

	norm_and_quantize(t, f->h, f->h_stride, f->x, f->x_stride, &f->w->layer[i].attn_norm,
	                  f->arch->n_embd);
}

static void norm_of_heads(const struct worker *t, uint32_t i)
{
	struct forward *f = t->f;

	norm_and_quantize(t, f->h, f->h_stride, f->h, f->h_stride, &f->w->layer[i].attn_sub_norm,
	                  heads_width(f->arch));
}

static void norm_of_ffn(const struct worker *t, uint32_t i)
{
	struct forward *f = t->f;

	norm_and_quantize(t, f->h, f->h_stride, f->x, f->x_stride, &f->w->layer[i].ffn_norm,
	                  f->arch->n_embd);
}

static void norm_of_gate(const struct worker *t, uint32_t i)
{
	struct forward *f = t->f;

	norm_and_quantize(t, f->gate, f->ff_stride, f->gate, f->ff_stride,
	                  &f->w->layer[i].ffn_sub_norm, f->arch->n_ff);
}

static void layer(const struct worker *t, uint32_t i)
{
	struct forward *f = t->f;
	const struct weights_layer *l = &f->w->layer[i];

	project_qkv(t, i);
	meet(t, rotate_and_store, i);
	attend(t, i);
	meet(t, norm_of_heads, i);
	project_and_add(t, &l->o, dealt(t, i, FORWARD_OUT), f->h, f->h_stride,
	                heads_width(f->arch));
	meet(t, norm_of_ffn, i);
	gate_and_up(t, i);
	meet(t, norm_of_gate, i);
	project_and_add(t, &l->down, dealt(t, i, FORWARD_DOWN), f->gate, f->ff_stride,
	                f->arch->n_ff);
}

static void norm_of_output(const struct worker *t, uint32_t n_layer)
{
	struct forward *f = t->f;
	size_t a, b;

	(void)n_layer;
	my_tokens(t, &a, &b);
	for (size_t k = a; k < b; k++)
		f->kern->rms_norm(f->hidden + k * f->x_stride, f->x + k * f->x_stride,
		                  f->w->output_norm.v, f->arch->n_embd, f->arch->eps);
}

static void pass(void *arg, int i, int count)
{
	struct forward *f = arg;
	struct worker t = {f, i, count, f->scratch + (size_t)i * KERNELS_SCRATCH};

	embed(&t);
	for (uint32_t l = 0; l < f->layers; l++) {
		/* One thread looks, before they meet, so that all of them give up together. */
		if (i == 0 && f->stop && *f->stop)
			f->stopped = 1;
		meet(&t, norm_of_layer, l);
		if (f->stopped)
			return;
		layer(&t, l);
	}
	if (f->layers == f->arch->n_layer)
		meet(&t, norm_of_output, f->layers);
}

static void end_pass(void *arg, int i, int count)
{
	struct worker t = {arg, i, count, NULL};

	norm_of_output(&t, 0);
}

void forward_end(struct forward *f)
{
	threads_run(f->pool, end_pass, f);
}

void forward_run(struct forward *f)
{
	f->stopped = 0;
	memset(f->dealt, 0, f->arch->n_layer * FORWARD_STAGES * sizeof *f->dealt);
	threads_run(f->pool, pass, f);
}

struct whole_head {
	struct forward *f;
	size_t first, rows;
	float *logits;
};

static void head_rows(void *arg, int i, int count)
{
	struct whole_head *h = arg;
	struct forward *f = h->f;
	struct worker t = {f, i, count, f->scratch + (size_t)i * KERNELS_SCRATCH};
	struct kernel_input in =
	    input(f, f->hidden + h->first * f->x_stride, f->x_stride, h->rows, f->arch->n_embd);
	size_t a, b;

	if (dtype_get(f->w->output.mat.type)->ternary) {
		threads_split(h->rows, 1, i, count, &a, &b);
		for (size_t k = a; k < b; k++)
			quantize(f, k, in.f + k * f->x_stride, f->x_stride, f->arch->n_embd);
		barrier(&t);
	}
	while (next_rows(&t, f->dealt, f->arch->n_vocab, &a, &b))
		product(&t, &f->w->output, &in, a, b, h->logits, f->arch->n_vocab);
}

void forward_head(struct forward *f, size_t first, size_t rows, float *logits)
{
	struct whole_head h = {f, first, rows, logits};

	f->dealt[0] = 0;
	threads_run(f->pool, head_rows, &h);
}

struct screened {
	struct forward *f;
	struct head *screen;
	size_t first, rows; /* of hidden */
	size_t want;
	float *logits;     /* (rows, n_vocab) */
	uint32_t taken[2]; /* blocks that were bounded, and settled */
};

/* Consecutive blocks that a thread takes at a time: their rows follow each other in memory. */
#define SCREEN_BLOCKS 8

static int next_blocks(const struct head *screen, uint32_t *taken, size_t *first, size_t *last)
{
	*first = __atomic_fetch_add(taken, 1, __ATOMIC_RELAXED) * (size_t)SCREEN_BLOCKS;
	*last = *first + SCREEN_BLOCKS < screen->blocks ? *first + SCREEN_BLOCKS : screen->blocks;
	return *first < screen->blocks;
}

static void screened_rows(void *arg, int i, int count)
{
	struct screened *s = arg;
	const struct kernels *k = s->f->kern;
	uint8_t *scratch = s->f->scratch + (size_t)i * KERNELS_SCRATCH;
	size_t a, b, vocab = s->f->arch->n_vocab, mine, end;

	threads_split(s->rows, 1, i, count, &mine, &end);
	for (size_t r = mine; r < end; r++)
		head_begin(s->screen, r, s->f->hidden + (s->first + r) * s->f->x_stride);
	threads_barrier(s->f->pool);
	while (next_blocks(s->screen, &s->taken[0], &a, &b))
		for (; a < b; a++)
			for (size_t r = 0; r < s->rows; r++)
				head_bound(s->screen, k, r, a, s->logits + r * vocab);
	threads_barrier(s->f->pool);
	for (size_t r = mine; r < end; r++)
		head_limit(s->screen, k, r, s->want, s->logits + r * vocab, scratch);
	threads_barrier(s->f->pool);
	while (next_blocks(s->screen, &s->taken[1], &a, &b))
		for (size_t r = 0; r < s->rows; r++)
			head_settle(s->screen, k, r, a, b, s->logits + r * vocab, scratch);
}

void forward_screened(struct forward *f, struct head *screen, size_t first, size_t rows,
                      size_t want, float *logits)
{
	struct screened s = {
	    .f = f, .screen = screen, .first = first, .rows = rows, .want = want, .logits = logits};

	threads_run(f->pool, screened_rows, &s);
}

static void fill_rows(void *arg, int i, int count)
{
	struct screened *s = arg;
	size_t a, b;

	threads_split(s->screen->w->rows, HEAD_STEP, i, count, &a, &b);
	head_fill(s->screen, s->f->kern, a, b, s->f->scratch + (size_t)i * KERNELS_SCRATCH);
}

void forward_fill_screen(struct forward *f, struct head *screen)
{
	struct screened s = {.f = f, .screen = screen};

	threads_run(f->pool, fill_rows, &s);
}
