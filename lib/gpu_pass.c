/*
 * What one pass launches, in order on one stream.  Per layer, for single tokens: the three
 * projections with their norm, rotation and cache and attention in one, the output with its norm,
 * gate and up with the activation, the way down with its norm.
 */
#include "gpu_private.h"

#include <math.h>
#include <string.h>

#define SCREEN_INPUTS 32 /* rows that the screen takes at once */

static void *at(cuda_address a)
{
	return (void *)(uintptr_t)a;
}

int gpu_launch(struct gpu *g, enum cuda_kernel k, const void *args, struct err *e)
{
	const struct cuda_launch_attribute early = {.id = CUDA_LAUNCH_EARLY, .value = {1}};
	struct cuda_shape s;
	void *parameter[] = {(void *)(uintptr_t)args};

	cuda_shape(k, args, &s);
	struct cuda_launch l = {
	    .grid = {s.grid[0], s.grid[1], s.grid[2]},
	    .block = {s.block, 1, 1},
	    .shared = s.shared,
	    .stream = g->stream,
	    .attribute = &early,
	    .attributes = g->early ? 1 : 0,
	};
	if (CUDA_CALL(e, LaunchKernelEx, &l, g->function[k], parameter, NULL))
		return err_in(e, "%s", cuda_info(k)->name);
	return 0;
}

/* ---- products ---- */

/* The input of one or more products: n rows, normalised on the way when norm is given. */
struct input {
	cuda_address x;
	size_t stride;
	uint32_t n, k;
	cuda_address norm;
	cuda_address floats; /* where normalised values go, when floats are read; may be x */
	size_t floats_stride;
	int rounded, normalised; /* they are there */
};

static int norm(struct gpu *g, struct input *in, int round, int keep, struct err *e)
{
	struct cuda_norm a = {
	    .n = in->n,
	    .k = in->k,
	    .x = at(in->x),
	    .x_stride = in->stride,
	    .norm = at(in->norm),
	    .eps = g->parts.arch->eps,
	    .y = keep ? at(in->floats) : NULL,
	    .y_stride = in->floats_stride,
	    .q = round ? at(g->b.q8) : NULL,
	    .q_stride = cuda_q_stride(in->k),
	    .q_scale = at(g->b.q8_scale),
	    .q_sum = at(g->b.q8_sum),
	};

	in->rounded |= round;
	in->normalised |= keep;
	return gpu_launch(g, CUDA_NORM, &a, e);
}

struct output {
	const struct gpu_matrix *m;
	cuda_address y;
};

static void set_part(struct cuda_part *p, const struct output *o)
{
	const struct cuda_packing *c = &o->m->packing;

	*p = (struct cuda_part){
	    .codes = at(o->m->data),
	    .row_d = c->row_d ? at(o->m->data + c->row_d) : NULL,
	    .block_d = c->block_d ? at(o->m->data + c->block_d) : NULL,
	    .scale = o->m->scale,
	    .rows = o->m->rows,
	    .y = at(o->y),
	};
}

static int packed_product(struct gpu *g, struct input *in, const struct output *o, uint32_t parts,
                          enum cuda_then then, size_t y_stride, struct err *e)
{
	struct cuda_product p = {
	    .parts = parts,
	    .n = in->n,
	    .k = in->k,
	    .then = then,
	    .d_blocks = (uint32_t)o->m->packing.d_blocks,
	    .units = device_info(g->device)->units,
	    .x = at(in->x),
	    .norm = at(in->norm),
	    .eps = g->parts.arch->eps,
	    .q = at(g->b.q8),
	    .q_scale = at(g->b.q8_scale),
	    .q_sum = at(g->b.q8_sum),
	    .q_stride = cuda_q_stride(in->k),
	    .y_stride = y_stride,
	};
	int mixed = 0;

	for (uint32_t i = 0; i < parts; i++) {
		set_part(&p.part[i], &o[i]);
		mixed |= o[i].m->mixed;
	}
	enum cuda_kernel k = cuda_product_kernel(in->n, in->k, mixed);
	if (k != CUDA_VECTOR && !in->rounded && norm(g, in, 1, 0, e))
		return -1;
	return gpu_launch(g, k, &p, e);
}

#define BLAS_TOKENS 32 /* from here on a library pays, as on the host */

/* Rows are widened to floats, as many as there is room for, then multiplied by the library. */
static int blas_product(struct gpu *g, const struct cuda_dense *d, struct err *e)
{
	uint32_t panel = (uint32_t)(g->sizes.wide / ((size_t)d->k * sizeof(float)));

	for (uint32_t r = 0; r < d->rows; r += panel) {
		struct cuda_widen w = {
		    .w = d->w + r * d->row_bytes,
		    .type = d->type,
		    .row_bytes = d->row_bytes,
		    .rows = d->rows - r < panel ? d->rows - r : panel,
		    .k = d->k,
		    .scale = d->scale,
		    .y = at(g->b.wide),
		    .y_stride = d->k,
		};

		if (gpu_launch(g, CUDA_WIDEN, &w, e) ||
		    cuda_blas_mul(g->blas, d->n, w.rows, d->k, (uintptr_t)d->x, d->x_stride,
		                  g->b.wide, d->then == CUDA_SUM, (uintptr_t)(d->y + r),
		                  d->y_stride, e))
			return -1;
	}
	return 0;
}

static int dense_product(struct gpu *g, struct input *in, const struct output *o,
                         enum cuda_then then, size_t y_stride, struct err *e)
{
	struct cuda_dense d = {
	    .w = at(o->m->data),
	    .type = o->m->type,
	    .row_bytes = o->m->row_bytes,
	    .rows = o->m->rows,
	    .k = in->k,
	    .n = in->n,
	    .scale = o->m->scale,
	    .then = then,
	    .x = at(in->norm ? in->floats : in->x),
	    .x_stride = in->norm ? in->floats_stride : in->stride,
	    .y = at(o->y),
	    .y_stride = y_stride,
	};

	if (in->norm && !in->normalised && norm(g, in, 0, 1, e))
		return -1;
	int layer = o->m != &g->output;
	if (g->blas && layer && in->n >= BLAS_TOKENS && in->k * sizeof(float) <= g->sizes.wide)
		return blas_product(g, &d, e);
	return gpu_launch(g, cuda_dense_kernel(in->n), &d, e);
}

/* Up to three matrices with one input: in one launch where their layouts allow that. */
static int multiply(struct gpu *g, struct input *in, const struct output *o, uint32_t parts,
                    enum cuda_then then, size_t y_stride, struct err *e)
{
	int together = o->m->packing.bytes != 0;

	for (uint32_t i = 1; i < parts; i++)
		together &= o[i].m->packing.bytes != 0 &&
		            o[i].m->packing.d_blocks == o->m->packing.d_blocks;
	if (together)
		return packed_product(g, in, o, parts, then, y_stride, e);
	for (uint32_t i = 0; i < parts; i++)
		if (o[i].m->packing.bytes ? packed_product(g, in, &o[i], 1, then, y_stride, e)
		                          : dense_product(g, in, &o[i], then, y_stride, e))
			return -1;
	return 0;
}

/* ---- a layer ---- */

static int project(struct gpu *g, const struct gpu_layer *l, uint32_t n, struct err *e)
{
	const struct arch *a = g->parts.arch;
	cuda_address k = g->b.qkv + (uint64_t)a->n_head * a->dim_k * sizeof(float);
	cuda_address v = k + (uint64_t)a->n_head_kv * a->dim_k * sizeof(float);
	struct input in = {.x = g->b.x,
	                   .stride = g->sizes.x_stride,
	                   .n = n,
	                   .k = a->n_embd,
	                   .norm = l->attn_norm,
	                   .floats = g->b.h,
	                   .floats_stride = g->sizes.h_stride};
	const struct output o[] = {{&l->q, g->b.qkv}, {&l->k, k}, {&l->v, v}};

	return multiply(g, &in, o, 3, CUDA_STORE, g->sizes.qkv_stride, e);
}

static int attend(struct gpu *g, uint32_t layer, uint32_t n, int single, struct err *e)
{
	const struct arch *a = g->parts.arch;
	const struct plan_options *o = g->parts.o;
	uint32_t splits =
	    cuda_attend_splits(device_info(g->device)->units, n, a->n_head_kv, g->parts.plan->ctx);
	struct cuda_attend c = {
	    .n = n,
	    .heads = a->n_head,
	    .heads_kv = a->n_head_kv,
	    .dim_k = a->dim_k,
	    .dim_v = a->dim_v,
	    .half = a->n_rot / 2,
	    .neox = (uint32_t)a->neox,
	    .scale = (float)(1 / sqrt((double)a->dim_k)),
	    .qkv = at(g->b.qkv),
	    .qkv_stride = g->sizes.qkv_stride,
	    .cosine = at(g->b.cosine),
	    .sine = at(g->b.sine),
	    .pos = at(g->b.pos),
	    .slot = at(g->b.slot),
	    .k_type = o->k_type,
	    .v_type = o->v_type,
	    .k = at(g->k + layer * g->k_layer),
	    .v = at(g->v + layer * g->v_layer),
	    .k_row = g->k_row,
	    .v_row = g->v_row,
	    .k_head = g->k_head,
	    .v_head = g->v_head,
	    .k_slot = g->k_slot,
	    .v_slot = g->v_slot,
	    .splits = splits < PLAN_DEVICE_SPLITS ? splits : PLAN_DEVICE_SPLITS,
	    .partial = at(g->b.partial),
	    .ticket = at(g->b.ticket),
	    .out = at(g->b.h),
	    .out_stride = g->sizes.h_stride,
	};

	if (single)
		return gpu_launch(g, CUDA_ATTEND, &c, e);
	return gpu_launch(g, CUDA_ROPE, &c, e) || gpu_launch(g, CUDA_PROMPT, &c, e) ? -1 : 0;
}

/* x += W * norm(in), the norm in place where it is kept. */
static int add_product(struct gpu *g, const struct gpu_matrix *m, cuda_address x, size_t stride,
                       uint32_t n, cuda_address norm_weights, struct err *e)
{
	struct input in = {.x = x,
	                   .stride = stride,
	                   .n = n,
	                   .k = m->cols,
	                   .norm = norm_weights,
	                   .floats = x,
	                   .floats_stride = stride};
	const struct output o = {m, g->b.x};

	return multiply(g, &in, &o, 1, CUDA_SUM, g->sizes.x_stride, e);
}

static int gate_and_up(struct gpu *g, const struct gpu_layer *l, uint32_t n, struct err *e)
{
	const struct arch *a = g->parts.arch;
	enum cuda_then act = a->act == ARCH_RELU2 ? CUDA_RELU2 : CUDA_SILU;
	int fused = plan_device_fused(l->gate.t, l->up.t);
	struct input in = {.x = g->b.x,
	                   .stride = g->sizes.x_stride,
	                   .n = n,
	                   .k = a->n_embd,
	                   .norm = l->ffn_norm,
	                   .floats = g->b.h,
	                   .floats_stride = g->sizes.h_stride};
	const struct output o[] = {{&l->gate, g->b.gate}, {&l->up, g->b.up}};

	if (multiply(g, &in, o, 2, fused ? act : CUDA_STORE, g->sizes.ff_stride, e))
		return -1;
	struct cuda_act c = {.n = n,
	                     .k = a->n_ff,
	                     .then = act,
	                     .g = at(g->b.gate),
	                     .u = at(g->b.up),
	                     .g_stride = g->sizes.ff_stride,
	                     .u_stride = g->sizes.ff_stride};
	return fused ? 0 : gpu_launch(g, CUDA_ACT, &c, e);
}

int gpu_layers(struct gpu *g, size_t rows, int single, struct err *e)
{
	uint32_t n = (uint32_t)rows;

	for (uint32_t i = 0; i < g->parts.arch->n_layer - g->first; i++) {
		const struct gpu_layer *l = &g->layer[i];

		if (project(g, l, n, e) || attend(g, i, n, single, e) ||
		    add_product(g, &l->o, g->b.h, g->sizes.h_stride, n, l->attn_sub_norm, e) ||
		    gate_and_up(g, l, n, e) ||
		    add_product(g, &l->down, g->b.gate, g->sizes.ff_stride, n, l->ffn_sub_norm, e))
			return -1;
	}
	return 0;
}

/* ---- both ends ---- */

int gpu_embed(struct gpu *g, size_t n, struct err *e)
{
	const struct arch *a = g->parts.arch;
	struct cuda_embed c = {
	    .w = at(g->embd.data),
	    .type = g->embd.type,
	    .row_bytes = g->embd.row_bytes,
	    .scale = g->embd.scale,
	    .n = (uint32_t)n,
	    .k = a->n_embd,
	    .ids = at(g->b.ids),
	    .pos = at(g->b.pos),
	    .x = at(g->b.x),
	    .x_stride = g->sizes.x_stride,
	    .half = a->n_rot / 2,
	    .factor = a->rope_factor,
	    .freq = at(g->b.freq),
	    .divisor = at(g->b.divisor),
	    .cosine = at(g->b.cosine),
	    .sine = at(g->b.sine),
	};

	return gpu_launch(g, CUDA_EMBED, &c, e);
}

static struct cuda_screen screen(const struct gpu *g, size_t n, size_t want)
{
	const struct gpu_matrix *m = &g->output;

	return (struct cuda_screen){
	    .w = at(m->data),
	    .type = m->type,
	    .row_bytes = m->row_bytes,
	    .w_scale = m->scale,
	    .rows = m->rows,
	    .k = m->cols,
	    .n = (uint32_t)n,
	    .want = (uint32_t)want,
	    .stride = cuda_q_stride(m->cols),
	    .q = at(g->screen),
	    .scale = at(g->screen_scale),
	    .lost = at(g->screen_lost),
	    .norm = at(g->screen_norm),
	    .x = at(g->b.hidden),
	    .x_stride = g->sizes.x_stride,
	    .xq = at(g->b.screen_x),
	    .bound = at(g->b.screen_bound),
	    .low = at(g->b.screen_low),
	    .limit = at(g->b.screen_limit),
	    .logits = at(g->logits),
	    .logits_stride = m->rows,
	};
}

int gpu_fill_screen(struct gpu *g, struct err *e)
{
	struct cuda_screen c = screen(g, 1, 1);

	return gpu_launch(g, CUDA_SCREEN_FILL, &c, e);
}

static int screened(struct gpu *g, size_t n, size_t want, struct err *e)
{
	struct cuda_screen c = screen(g, n, want);

	for (int k = CUDA_SCREEN_INPUT; k <= CUDA_SCREEN_SETTLE; k++)
		if (gpu_launch(g, (enum cuda_kernel)k, &c, e))
			return -1;
	return 0;
}

static int pick(struct gpu *g, size_t n, size_t want, struct err *e)
{
	struct cuda_pick c = {
	    .n = (uint32_t)n,
	    .rows = g->output.rows,
	    .k = (uint32_t)want,
	    .logits = at(g->logits),
	    .logits_stride = g->output.rows,
	    .best = at(g->b.best),
	    .ticket = at(g->b.best_ticket),
	    .id = at(g->b.id),
	    .value = at(g->b.value),
	};

	return gpu_launch(g, want == 1 ? CUDA_PICK : CUDA_TOP, &c, e);
}

/* Final states and logits of n rows from first; with want, the greatest of each. */
int gpu_head(struct gpu *g, size_t first, size_t n, size_t want, struct err *e)
{
	struct input in = {.x = g->b.x + first * g->sizes.x_stride * sizeof(float),
	                   .stride = g->sizes.x_stride,
	                   .n = (uint32_t)n,
	                   .k = g->parts.arch->n_embd,
	                   .norm = g->output_norm,
	                   .floats = g->b.hidden,
	                   .floats_stride = g->sizes.x_stride};
	const struct output o = {&g->output, g->logits};

	if (g->screen && want && n <= SCREEN_INPUTS && (want == 1 || want <= g->output.rows / 64)) {
		if (norm(g, &in, 0, 1, e) || screened(g, n, want, e))
			return -1;
	} else if (multiply(g, &in, &o, 1, CUDA_STORE, g->output.rows, e)) {
		return -1;
	}
	return want ? pick(g, n, want, e) : 0;
}
