#include "gpu.h"

#include <string.h>

#include "gpu_private.h"
#include "mem.h"

/* What the kernels are written for. */
#define COMPUTE_MAJOR 8

/* ---- the device and its code ---- */

static int load_functions(struct gpu *g, struct err *e)
{
	for (int k = 0; k < CUDA_KERNELS; k++) {
		const struct cuda_info *i = cuda_info((enum cuda_kernel)k);

		if (CUDA_CALL(e, ModuleGetFunction, &g->function[k], g->module, i->name) ||
		    (i->shared > 48u << 10 && CUDA_CALL(e, FuncSetAttribute, g->function[k],
		                                        CUDA_FUNCTION_SHARED, (int)i->shared)))
			return err_in(e, "%s", i->name);
	}
	return 0;
}

static int open_code(struct gpu *g, struct err *e)
{
	const struct device_info *i = device_info(g->device);
	size_t bytes;
	const void *image = cuda_image(&bytes);

	if (i->major < COMPUTE_MAJOR)
		return err_unsupported(e, "compute capability %d.%d, expected at least %d.0",
		                       i->major, i->minor, COMPUTE_MAJOR);
	g->early = i->major >= 9;
	if (CUDA_CALL(e, ModuleLoadData, &g->module, image) || load_functions(g, e) ||
	    CUDA_CALL(e, StreamCreate, &g->stream, CUDA_STREAM_NON_BLOCKING) ||
	    CUDA_CALL(e, EventCreate, &g->event[0], 0) ||
	    CUDA_CALL(e, EventCreate, &g->event[1], 0))
		return -1;
	return 0;
}

int gpu_open(struct gpu **out, const char *name, struct err *e)
{
	char pinned[32];
	size_t bytes;
	struct gpu *g;

	if (!cuda_image(&bytes))
		return err_unsupported(e, "%s: this build has no code for CUDA devices", name);
	g = mem_calloc(MEM_OTHER, 1, sizeof *g, e);
	if (!g)
		return -1;
	snprintf(pinned, sizeof pinned, "pinned%.20s", strchr(name, ':') ? strchr(name, ':') : "");
	if (device_open(&g->device, name, e) || device_open(&g->pinned, pinned, e) ||
	    device_enter(g->device, e))
		goto fail;
	if (open_code(g, e)) {
		err_in(e, "%s", name);
		goto fail;
	}
	*out = g;
	return 0;
fail:
	gpu_close(g, NULL);
	return -1;
}

int gpu_fits(const struct gpu *g, const struct plan *p, struct err *e)
{
	uint64_t have, need = 0;

	if (device_free(g->device, &have, e))
		return -1;
	for (int i = 0; i < PLAN_REGIONS; i++) {
		need += p->region[i].device;
		if (p->region[i].device && need > have)
			return err_unsupported(e,
			                       "%s: %s: the plan needs %llu bytes up to here and "
			                       "%llu in all, %llu are free",
			                       device_info(g->device)->name, p->region[i].name,
			                       (unsigned long long)need,
			                       (unsigned long long)plan_device_total(p),
			                       (unsigned long long)have);
	}
	return 0;
}

/* ---- memory ---- */

cuda_address gpu_carve(struct gpu *g, enum plan_index region, uint64_t bytes)
{
	struct gpu_region *r = &g->region[region];
	cuda_address p = r->base + r->used;

	if (bytes > r->bytes - r->used)
		return 0;
	r->used += bytes;
	return p;
}

/* Takes the device's part of each region as one block, and counts what the device says it took. */
static int take_regions(struct gpu *g, struct plan *taken, struct err *e)
{
	for (int i = 0; i < PLAN_REGIONS; i++) {
		uint64_t bytes = g->parts.plan->region[i].device;
		struct device_stats before, after;

		taken->region[i].device = 0;
		if (!bytes)
			continue;
		device_stats(g->device, &before);
		void *p = device_take(g->device, bytes, e);
		if (!p)
			return err_in(e, "%s", taken->region[i].name);
		device_stats(g->device, &after);
		g->region[i] = (struct gpu_region){(uintptr_t)p, bytes, 0};
		taken->region[i].device = after.reserved - before.reserved;
	}
	return 0;
}

static int take_staging(struct gpu *g, struct plan *taken, struct err *e)
{
	struct plan_region *r = &taken->region[PLAN_STAGING];
	struct device_stats s;

	g->staging_bytes = g->parts.plan->region[PLAN_STAGING].bytes;
	g->staging = device_take(g->pinned, g->staging_bytes, e);
	if (!g->staging)
		return err_in(e, "%s", r->name);
	device_stats(g->pinned, &s);
	r->bytes = s.reserved;
	return 0;
}

static cuda_address carve(struct gpu *g, uint64_t bytes)
{
	return bytes ? gpu_carve(g, PLAN_ACTIVATION, bytes) : 0;
}

static void set_buffers(struct gpu *g)
{
	const struct plan_device_buffers *z = &g->sizes;
	struct gpu_buffers *b = &g->b;

	b->ids = carve(g, z->ids);
	b->pos = carve(g, z->pos);
	b->slot = carve(g, z->slot);
	b->x = carve(g, z->x);
	b->h = carve(g, z->h);
	b->qkv = carve(g, z->qkv);
	b->gate = carve(g, z->gate);
	b->up = carve(g, z->up);
	b->cosine = carve(g, z->cosine);
	b->sine = carve(g, z->sine);
	b->freq = carve(g, z->freq);
	b->divisor = carve(g, z->divisor);
	b->q8 = carve(g, z->q8);
	b->q8_scale = carve(g, z->q8_scale);
	b->q8_sum = carve(g, z->q8_sum);
	b->partial = carve(g, z->partial);
	b->ticket = carve(g, z->ticket);
	b->hidden = carve(g, z->hidden);
	b->best = carve(g, z->best);
	b->best_ticket = carve(g, z->best_ticket);
	b->id = carve(g, z->id);
	b->value = carve(g, z->value);
	b->screen_x = carve(g, z->screen_x);
	b->screen_bound = carve(g, z->screen_bound);
	b->screen_low = carve(g, z->screen_low);
	b->screen_limit = carve(g, z->screen_limit);
	b->wide = carve(g, z->wide);
	b->work = carve(g, z->work);
}

static void *next(uint8_t **p, uint64_t bytes)
{
	void *at = *p;

	*p += bytes;
	return at;
}

static void set_staging(struct gpu *g)
{
	const struct plan_device_staging *z = &g->staged;
	uint8_t *p = g->staging;

	g->s.ids = next(&p, z->ids);
	g->s.pos = next(&p, z->pos);
	g->s.slot = next(&p, z->slot);
	g->s.id = next(&p, z->id);
	g->s.value = next(&p, z->value);
	g->s.logits = next(&p, z->logits);
	g->s.x = next(&p, z->x);
	g->s.cosine = next(&p, z->cosine);
	g->s.sine = next(&p, z->sine);
}

/* Of a layer: [slot][KV head][position][row]. */
static void set_caches(struct gpu *g)
{
	const struct arch *a = g->parts.arch;
	const struct plan_options *o = g->parts.o;

	g->k = g->region[PLAN_KV_K].base;
	g->v = g->region[PLAN_KV_V].base;
	g->k_row = cuda_cache_row(o->k_type, a->dim_k);
	g->v_row = cuda_cache_row(o->v_type, a->dim_v);
	g->k_head = g->k_row * g->parts.plan->ctx;
	g->v_head = g->v_row * g->parts.plan->ctx;
	g->k_slot = g->k_head * a->n_head_kv;
	g->v_slot = g->v_head * a->n_head_kv;
	g->k_layer = g->k_slot * o->sequences;
	g->v_layer = g->v_slot * o->sequences;
}

static void set_screen(struct gpu *g)
{
	const struct gguf_tensor *t = g->parts.w->output.t;
	uint64_t each = plan_device_round(t->rows * sizeof(float));

	if (!g->region[PLAN_WEIGHTS_COPIED].bytes)
		return;
	g->screen = gpu_carve(g, PLAN_WEIGHTS_COPIED,
	                      plan_device_round(t->rows * cuda_q_stride((uint32_t)t->cols)));
	g->screen_scale = gpu_carve(g, PLAN_WEIGHTS_COPIED, each);
	g->screen_lost = gpu_carve(g, PLAN_WEIGHTS_COPIED, each);
	g->screen_norm = gpu_carve(g, PLAN_WEIGHTS_COPIED, each);
}

/* Counters begin at zero, and what no token wrote yet is a number. */
static int clear(struct gpu *g, struct err *e)
{
	static const enum plan_index region[] = {PLAN_ACTIVATION, PLAN_KV_K, PLAN_KV_V};

	for (size_t i = 0; i < sizeof region / sizeof *region; i++) {
		const struct gpu_region *r = &g->region[region[i]];

		if (r->bytes && CUDA_CALL(e, MemsetD8Async, r->base, 0, r->bytes, g->stream))
			return -1;
	}
	return 0;
}

static int start(struct gpu *g, struct plan *taken, struct err *e)
{
	const struct gpu_parts *p = &g->parts;

	g->first = plan_device_first(p->arch, p->o);
	g->head = plan_device_head(p->arch, p->o);
	g->layer = mem_calloc(MEM_OTHER, p->arch->n_layer - g->first, sizeof *g->layer, e);
	if (!g->layer || take_regions(g, taken, e) || take_staging(g, taken, e))
		return -1;
	plan_device_buffers(&g->sizes, &g->staged, p->arch, p->w, p->o);
	set_buffers(g);
	set_staging(g);
	set_caches(g);
	g->logits = g->region[PLAN_LOGITS].base;
	if (g->head)
		set_screen(g);
	if (g->b.work && cuda_blas_open(&g->blas, g->stream, g->b.work, g->sizes.work, e))
		return -1;
	return clear(g, e) || gpu_load(g, e) ? -1 : 0;
}

int gpu_start(struct gpu *g, const struct gpu_parts *parts, struct plan *taken, struct err *e)
{
	g->parts = *parts;
	if (device_enter(g->device, e))
		return -1;
	return start(g, taken, e) ? err_in(e, "%s", device_info(g->device)->name) : 0;
}

/* ---- graphs of single tokens ---- */

static int upload(struct gpu *g, cuda_address to, const void *from, size_t bytes, struct err *e)
{
	return CUDA_CALL(e, MemcpyHtoDAsync, to, from, bytes, g->stream);
}

static int download(struct gpu *g, void *to, cuda_address from, size_t bytes, struct err *e)
{
	return CUDA_CALL(e, MemcpyDtoHAsync, to, from, bytes, g->stream);
}

/* What a pass reads: ids, positions and slots lie side by side on both sides. */
static int send(struct gpu *g, size_t n, struct err *e)
{
	size_t half = g->parts.arch->n_rot / 2 * sizeof(float);

	if (upload(g, g->b.ids, g->s.ids, g->sizes.ids * 3, e))
		return -1;
	if (g->head)
		return gpu_embed(g, n, e);
	return upload(g, g->b.x, g->s.x, n * g->sizes.x_stride * sizeof(float), e) ||
	               upload(g, g->b.cosine, g->s.cosine, n * half, e) ||
	               upload(g, g->b.sine, g->s.sine, n * half, e)
	           ? -1
	           : 0;
}

/* What comes back of a pass: the greatest logits, or without the head everything. */
static int receive(struct gpu *g, size_t n, size_t want, struct err *e)
{
	if (!g->head)
		return download(g, g->s.x, g->b.x, n * g->sizes.x_stride * sizeof(float), e);
	if (!want)
		return 0;
	return download(g, g->s.id, g->b.id, n * want * sizeof(int32_t), e) ||
	               download(g, g->s.value, g->b.value, n * want * sizeof(float), e)
	           ? -1
	           : 0;
}

static int single_pass(struct gpu *g, size_t n, size_t want, struct err *e)
{
	return send(g, n, e) || gpu_layers(g, n, 1, e) || (g->head && gpu_head(g, 0, n, want, e)) ||
	               receive(g, n, want, e)
	           ? -1
	           : 0;
}

static int drop_graph(struct gpu_graph *p, struct err *e)
{
	int failed = 0;

	if (p->executable)
		failed |= CUDA_CALL(e, GraphExecDestroy, p->executable);
	if (p->graph)
		failed |= CUDA_CALL(failed ? NULL : e, GraphDestroy, p->graph);
	*p = (struct gpu_graph){0};
	return failed ? -1 : 0;
}

/* Nothing runs while launches are recorded.  The capture is ended in any case. */
static int capture(struct gpu *g, struct gpu_graph *p, struct err *e)
{
	struct err late = {0};

	if (CUDA_CALL(e, StreamBeginCapture, g->stream, CUDA_CAPTURE_THREAD_LOCAL))
		return -1;
	int failed = single_pass(g, p->n, p->want, e);
	if (CUDA_CALL(&late, StreamEndCapture, g->stream, &p->graph) && !failed) {
		failed = 1;
		if (e)
			*e = late;
	}
	if (!failed)
		failed = CUDA_CALL(e, GraphInstantiate, &p->executable, p->graph, 0);
	if (failed)
		drop_graph(p, NULL);
	return failed ? -1 : 0;
}

static struct gpu_graph *find_graph(struct gpu *g, size_t n, size_t want, struct err *e)
{
	for (size_t i = 0; i < GPU_GRAPHS; i++)
		if (g->graph[i].executable && g->graph[i].n == n && g->graph[i].want == want)
			return &g->graph[i];
	struct gpu_graph *p = &g->graph[g->graphs++ % GPU_GRAPHS];
	if (drop_graph(p, e))
		return NULL;
	p->n = n;
	p->want = want;
	return capture(g, p, e) ? NULL : p;
}

/* ---- a pass ---- */

static int wait(struct gpu *g, struct err *e)
{
	if (!g->busy)
		return 0;
	g->busy = 0;
	return CUDA_CALL(e, StreamSynchronize, g->stream);
}

static void stage(struct gpu *g, const struct gpu_rows *r)
{
	size_t half = g->parts.arch->n_rot / 2;

	memcpy(g->s.ids, r->ids, r->n * sizeof *r->ids);
	memcpy(g->s.pos, r->pos, r->n * sizeof *r->pos);
	memcpy(g->s.slot, r->slot, r->n * sizeof *r->slot);
	if (g->head)
		return;
	memcpy(g->s.x, r->x, r->n * g->sizes.x_stride * sizeof *r->x);
	memcpy(g->s.cosine, r->cosine, r->n * half * sizeof *r->cosine);
	memcpy(g->s.sine, r->sine, r->n * half * sizeof *r->sine);
}

static int eval(struct gpu *g, const struct gpu_rows *r, size_t want, struct err *e)
{
	struct gpu_graph *p;

	if (wait(g, e))
		return -1;
	stage(g, r);
	g->n = r->n;
	g->topped = 0;
	g->headed = 0;
	if (!r->single) {
		g->busy = 1;
		return send(g, r->n, e) || gpu_layers(g, r->n, 0, e) || receive(g, r->n, 0, e) ? -1
		                                                                               : 0;
	}
	p = find_graph(g, r->n, want, e);
	g->busy = 1;
	if (!p || CUDA_CALL(e, GraphLaunch, p->executable, g->stream))
		return -1;
	g->topped = want;
	g->headed = g->head && !(g->screen && want);
	return 0;
}

static int named(const struct gpu *g, int status, struct err *e)
{
	return status ? err_in(e, "%s", device_info(g->device)->name) : 0;
}

int gpu_eval(struct gpu *g, const struct gpu_rows *r, size_t want, struct err *e)
{
	if (device_enter(g->device, e))
		return -1;
	return named(g, eval(g, r, g->head && want <= PLAN_DEVICE_TOP ? want : 0, e), e);
}

int gpu_result(struct gpu *g, float *x, struct err *e)
{
	if (device_enter(g->device, e) || named(g, wait(g, e), e))
		return -1;
	memcpy(x, g->s.x, g->n * g->sizes.x_stride * sizeof *x);
	return 0;
}

static int logits(struct gpu *g, size_t i, size_t n, struct err *e)
{
	size_t row = g->output.rows, first = i;

	if (!g->headed && gpu_head(g, i, n, 0, e))
		return -1;
	if (!g->headed) /* these rows only */
		first = 0;
	g->topped = 0;
	g->busy = 1;
	return download(g, g->s.logits, g->logits + first * row * sizeof(float),
	                n * row * sizeof(float), e) ||
	               wait(g, e)
	           ? -1
	           : 0;
}

int gpu_logits(struct gpu *g, size_t i, size_t n, const float **rows, struct err *e)
{
	*rows = g->s.logits;
	return device_enter(g->device, e) ? -1 : named(g, logits(g, i, n, e), e);
}

/* Finds the greatest of one row behind a pass that did not. */
static int top_later(struct gpu *g, size_t i, size_t want, struct err *e)
{
	g->topped = 0;
	g->headed = 0;
	g->busy = 1;
	return gpu_head(g, i, 1, want, e) || receive(g, 1, want, e) ? -1 : 0;
}

int gpu_top(struct gpu *g, size_t i, size_t want, const int32_t **ids, const float **values,
            struct err *e)
{
	size_t first = 0;

	if (device_enter(g->device, e))
		return -1;
	if (g->topped >= want)
		first = i * g->topped;
	else if (top_later(g, i, want, e))
		return named(g, -1, e);
	*ids = g->s.id + first;
	*values = g->s.value + first;
	return named(g, wait(g, e), e);
}

/* ---- the end ---- */

/* The first error counts; what comes behind it is done all the same. */
static void drop_parts(struct gpu *g, struct err *first)
{
#define LATE (first->status ? NULL : first)
	struct err enter = {0};

	if (device_enter(g->device, &enter))
		err_set(first, enter.status, "%s", enter.text);
	if (g->stream)
		CUDA_CALL(LATE, StreamSynchronize, g->stream);
	cuda_blas_close(g->blas, LATE);
	for (size_t i = 0; i < GPU_GRAPHS; i++)
		drop_graph(&g->graph[i], LATE);
	for (int i = 0; i < 2; i++)
		if (g->event[i])
			CUDA_CALL(LATE, EventDestroy, g->event[i]);
	if (g->stream)
		CUDA_CALL(LATE, StreamDestroy, g->stream);
	if (g->module)
		CUDA_CALL(LATE, ModuleUnload, g->module);
	if (first->status && !enter.status)
		err_in(first, "%s", device_info(g->device)->name);
	device_close(g->pinned, LATE);
	device_close(g->device, LATE);
#undef LATE
}

int gpu_close(struct gpu *g, struct err *e)
{
	struct err first = {0};

	if (!g)
		return 0;
	if (g->device)
		drop_parts(g, &first);
	if (first.status && e)
		*e = first;
	mem_free(g->layer);
	mem_free(g);
	return first.status ? -1 : 0;
}
