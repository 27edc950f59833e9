#include "forecast.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chunk.h"
#include "pretok.h"
#include "threads.h"
#include "vocab.h"

#define PAGE UINT64_C(4096)

/*
 * What a process takes whatever the model: measured with bitnet-run on Debian 12, x86-64, between
 * closing the model and the end (smaps: file pages; private pages; address space).
 */
#define CODE_RESIDENT    (UINT64_C(3200) << 10)
#define CODE_RESERVED    (UINT64_C(4068) << 10)
#define PROCESS_RESIDENT (UINT64_C(264) << 10)
#define PROCESS_RESERVED (UINT64_C(620) << 10)
#define STACK_RESIDENT   (UINT64_C(8) << 10)  /* of a worker */
#define KERNEL_STACK     (UINT64_C(16) << 10) /* of a thread, in the kernel */
#define PRETOK_RESIDENT                                                                            \
	(UINT64_C(28) << 10) /* of PRETOK_BYTES, once the expressions are compiled */
#define SCRATCH_DECODE                                                                             \
	(UINT64_C(64) << 10) /* of a thread's KERNELS_SCRATCH: a few tokens at once */
#define SCRATCH_PREFILL (UINT64_C(188) << 10) /* and many */
#define FEW_TOKENS      16
#define MAX_BYTES       (UINT64_C(1) << 62)

static uint64_t pages(uint64_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

static uint64_t min2(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void formula(struct forecast_region *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void formula(struct forecast_region *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->formula, sizeof r->formula, fmt, ap);
	va_end(ap);
}

static void set(struct forecast *f, int i, const char *name, enum mem_tag tag, enum plan_kind kind,
                uint64_t bytes, const char *what)
{
	struct forecast_region *r = &f->region[i];

	r->name = name;
	r->what = what;
	r->tag = tag;
	r->kind = kind;
	r->bytes = bytes;
	r->start = r->full = pages(bytes);
}

/* ---- what is touched ---- */

/* Pages that the first `part` bytes of each of n strips of `whole` bytes lie on, strips side by
 * side from a page's start. */
static uint64_t strips(uint64_t n, uint64_t whole, uint64_t part)
{
	uint64_t next = 0, sum = 0; /* first page that is not yet counted */

	if (part >= whole)
		return pages(n * whole);
	if (n > 100000) /* where counting would take long, the last page of each is an average */
		return min2(n * (part + PAGE / 2), pages(n * whole));
	for (uint64_t i = 0; i < n && part; i++) {
		uint64_t first = i * whole / PAGE, end = (i * whole + part + PAGE - 1) / PAGE;
		if (first < next)
			first = next;
		sum += end > first ? end - first : 0;
		next = end > next ? end : next;
	}
	return sum * PAGE;
}

static void touch_cache(struct forecast *f, int i, uint64_t row, uint64_t n)
{
	f->region[i].start = 0;
	f->region[i].full = strips(n, row * f->ctx, row * f->fill);
}

/* Each buffer's first rows, for as many tokens as are ever computed at once. */
static void touch_activation(struct forecast *f)
{
	struct plan_buffers b, t;
	uint32_t n = (uint32_t)min2(f->prompt, f->options.ubatch), all = f->options.ubatch;
	struct forecast_region *r = &f->region[PLAN_ACTIVATION];
	uint64_t at = 0, next = 0, sum = 0;

	plan_buffers(&b, &f->arch, all);
	plan_buffers(&t, &f->arch, n ? n : 1);
	const uint64_t whole[] = {b.x,         b.h,        b.qkv,     b.gate,     b.up,
	                          b.out,       b.hidden,   b.q8,      b.q8_scale, b.q8_sum,
	                          b.q8_sum256, b.rope / 2, b.rope / 2};
	const uint64_t part[] = {t.x,         t.h,        t.qkv,     t.gate,     t.up,
	                         t.out,       t.hidden,   t.q8,      t.q8_scale, t.q8_sum,
	                         t.q8_sum256, t.rope / 2, t.rope / 2};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
		uint64_t first = at / PAGE, end = (at + part[i] + PAGE - 1) / PAGE;
		if (first < next)
			first = next;
		sum += end > first ? end - first : 0;
		next = end > next ? end : next;
		at += whole[i];
	}
	r->start = r->full = sum * PAGE;
}

/* What was measured rather than computed: small parts of regions that are there for the worst case.
 */
static void touch_rest(struct forecast *f, const struct gguf *g)
{
	struct forecast_region *r = f->region;
	uint64_t scratch = f->prompt > FEW_TOKENS ? SCRATCH_PREFILL : SCRATCH_DECODE, vocab;
	struct gguf_str model = {"", 0};

	if (gguf_get_str(g, "tokenizer.ggml.model", &model, NULL) < 0)
		model.n = 0;
	vocab = r[PLAN_VOCAB].bytes;
	if (model.n == 4 && !memcmp(model.p, "gpt2", 4) && vocab > PRETOK_BYTES)
		vocab -= PRETOK_BYTES - PRETOK_RESIDENT;
	r[PLAN_VOCAB].start = r[PLAN_VOCAB].full = pages(vocab);
	/* The usual sampling keeps the few likeliest candidates. */
	r[PLAN_SAMPLER].start = r[PLAN_SAMPLER].full = PAGE;
	r[PLAN_SCRATCH].start = r[PLAN_SCRATCH].full = (uint64_t)f->options.threads * scratch;
	r[PLAN_STACKS].start = r[PLAN_STACKS].full =
	    (uint64_t)(f->options.threads - 1) * STACK_RESIDENT;
}

/* A table that is only looked up is read where a token points to: a row each, and other rows of the
 * same pages for tokens that come again. */
static void touch_weights(struct forecast *f, const struct weights *w)
{
	struct forecast_region *r = &f->region[PLAN_WEIGHTS_MAPPED];
	const struct gguf_tensor *embd = w->embd.t;

	if (embd == w->output.t || w->embd.copy || !r->bytes || !embd)
		return;
	uint64_t rows = (uint64_t)f->fill * f->options.sequences;
	uint64_t read = min2(embd->bytes, rows * pages(dtype_row_bytes(embd->type, embd->cols)));
	r->full = pages(r->bytes - embd->bytes + read);
	r->start = pages(r->bytes - embd->bytes);
}

/* ---- regions ---- */

static void from_plan(struct forecast *f, const struct plan *p, const struct weights *w,
                      const struct gguf *g)
{
	const struct arch *a = &f->arch;
	const struct plan_options *o = &f->options;
	uint64_t caches = (uint64_t)o->sequences * a->n_layer * a->n_head_kv;
	struct forecast_region *r = f->region;

	f->ctx = p->ctx;
	for (int i = 0; i < PLAN_REGIONS; i++)
		set(f, i, p->region[i].name, p->region[i].tag, p->region[i].kind,
		    p->region[i].bytes, p->region[i].what);
	touch_cache(f, PLAN_KV_K, plan_kv_row(o->k_type, a->dim_k), caches);
	touch_cache(f, PLAN_KV_V, plan_kv_row(o->v_type, a->dim_v), caches);
	touch_activation(f);
	touch_weights(f, w);
	touch_rest(f, g);
	for (int v = 0; v < 2; v++) {
		enum dtype t = v ? o->v_type : o->k_type;
		uint32_t dim = v ? a->dim_v : a->dim_k;
		formula(
		    &r[PLAN_KV_K + v],
		    "%u layers x %u sequences x %u KV heads x %u positions x %llu bytes (a row of "
		    "%u values in %s)",
		    a->n_layer, o->sequences, a->n_head_kv, p->ctx,
		    (unsigned long long)plan_kv_row(t, dim), dim, dtype_get(t)->name);
	}
	formula(&r[PLAN_WEIGHTS_MAPPED], "sum of the tensors used in place (-x lists them)");
	formula(&r[PLAN_WEIGHTS_COPIED], "sum of the tensors copied, each rounded up to 64 bytes%s",
	        o->load == WEIGHTS_HUGETLB ? ", the whole to 2 MiB" : "");
	formula(&r[PLAN_VOCAB], "tables of %u tokens and their merges", f->shape.n_vocab);
	formula(&r[PLAN_ACTIVATION],
	        "%u rows x (3 x %u + 1 attention + Q, K, V + 2 x %u values x 4 bytes, int8 inputs, "
	        "scales, sums, angles), rounded up",
	        o->ubatch, a->n_embd, a->n_ff);
	formula(&r[PLAN_LOGITS], "%u rows x %u tokens x 4 bytes", o->logits_rows, a->n_vocab);
	formula(&r[PLAN_SAMPLER], "2 x %u tokens x 8 bytes", a->n_vocab);
	formula(&r[PLAN_SCRATCH], "%d threads x %d bytes", o->threads, KERNELS_SCRATCH);
	formula(&r[PLAN_STACKS], "%d workers x %d bytes", o->threads - 1, THREADS_STACK);
}

/* Caches of an architecture that is not computed here: by shape.c's rules. */
static int from_shape(struct forecast *f, uint64_t vocab_bytes, struct err *e)
{
	static const int unknown[] = {PLAN_ACTIVATION, PLAN_LOGITS, PLAN_SAMPLER, PLAN_SCRATCH};
	struct forecast_region *r = f->region;
	uint64_t sum[2] = {0, 0}, filled[2] = {0, 0}, layers = 0;

	set(f, PLAN_WEIGHTS_MAPPED, "weights.mapped", MEM_WEIGHTS, PLAN_MAPPED, f->tally.all.bytes,
	    "tensors used where the file is mapped");
	set(f, PLAN_WEIGHTS_COPIED, "weights.copied", MEM_WEIGHTS, PLAN_PRIVATE, 0,
	    "tensors converted or copied");
	set(f, PLAN_VOCAB, "vocab", MEM_VOCAB, PLAN_PRIVATE, vocab_bytes, "tokenizer tables");
	for (uint32_t i = 0; i < f->shape.n_layer; i++) {
		uint32_t n = shape_positions(&f->shape, i, f->options.ctx, f->options.ubatch);
		uint32_t have = (uint32_t)min2(n, f->fill);
		for (int v = 0; v < 2; v++) {
			uint64_t one, held;
			enum dtype t = v ? f->options.v_type : f->options.k_type;
			if (shape_kv(&f->shape, i, n, t, v, &one, e) ||
			    shape_kv(&f->shape, i, have, t, v, &held, e))
				return -1;
			if (__builtin_mul_overflow(one, (uint64_t)f->options.sequences, &one) ||
			    __builtin_add_overflow(sum[v], one, &sum[v]) || sum[v] >= MAX_BYTES)
				return err_set(e, ERR_TROUBLE,
				               "a KV cache of %u positions is too large", n);
			filled[v] += held * f->options.sequences;
		}
		layers += f->shape.layer[i].kv_heads > 0;
	}
	set(f, PLAN_KV_K, "kv.k", MEM_KV, PLAN_PRIVATE, sum[0], "cached keys");
	set(f, PLAN_KV_V, "kv.v", MEM_KV, PLAN_PRIVATE, sum[1], "cached values");
	for (int v = 0; v < 2; v++) {
		r[PLAN_KV_K + v].start = 0;
		r[PLAN_KV_K + v].full = pages(filled[v]);
		formula(&r[PLAN_KV_K + v],
		        "sum over %llu layers of sequences x KV heads x positions x row (-l lists "
		        "them)",
		        (unsigned long long)layers);
	}
	set(f, PLAN_ACTIVATION, "activation", MEM_ACTIVATION, PLAN_PRIVATE, 0,
	    "buffers of one ubatch");
	set(f, PLAN_LOGITS, "logits", MEM_ACTIVATION, PLAN_PRIVATE, 0,
	    "logits of the positions asked for");
	set(f, PLAN_SAMPLER, "sampler", MEM_ACTIVATION, PLAN_PRIVATE, 0,
	    "candidates and counts of the sampler");
	set(f, PLAN_SCRATCH, "scratch", MEM_SCRATCH, PLAN_PRIVATE, 0, "work space of the threads");
	set(f, PLAN_STACKS, "stacks", MEM_SCRATCH, PLAN_RESERVED,
	    (uint64_t)(f->options.threads - 1) * THREADS_STACK, "stacks of the workers");
	r[PLAN_STACKS].start = r[PLAN_STACKS].full =
	    (uint64_t)(f->options.threads - 1) * STACK_RESIDENT;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		r[unknown[i]].unknown = 1;
	f->ctx = (uint32_t)((f->options.ctx + (uint64_t)PLAN_CTX_STEP - 1) / PLAN_CTX_STEP *
	                    PLAN_CTX_STEP);
	formula(&r[PLAN_WEIGHTS_MAPPED], "sum of all tensors (-x lists them)");
	formula(&r[PLAN_VOCAB], "tables of %u tokens and their merges", f->shape.n_vocab);
	formula(&r[PLAN_STACKS], "%d workers x %d bytes", f->options.threads - 1, THREADS_STACK);
	/* One row of logits needs no graph to be known: it is left out all the same, so that what
	 * is unknown stays whole. */
	return 0;
}

static int add_state(struct forecast *f, struct err *e)
{
	uint64_t sum = 0, one = 0, n = 0;

	for (uint32_t i = 0; i < f->shape.n_layer; i++) {
		one = f->shape.layer[i].state ? f->shape.layer[i].state : one;
		n += f->shape.layer[i].state > 0;
		if (__builtin_add_overflow(sum, f->shape.layer[i].state, &sum) || sum >= MAX_BYTES)
			return err_set(e, ERR_TROUBLE, "the recurrent state is too large");
	}
	if (__builtin_mul_overflow(sum, (uint64_t)f->options.sequences, &sum) || sum >= MAX_BYTES)
		return err_set(e, ERR_TROUBLE, "the recurrent state is too large");
	set(f, FORECAST_STATE, "state", MEM_KV, PLAN_PRIVATE, sum, "recurrent state");
	formula(&f->region[FORECAST_STATE], "%llu layers x %u sequences x %llu bytes",
	        (unsigned long long)n, f->options.sequences, (unsigned long long)one);
	return 0;
}

/* What every process has. */
static void add_process(struct forecast *f, const struct gguf *g)
{
	struct forecast_region *r = f->region;
	uint64_t tables = g->n_tensors * sizeof(struct gguf_tensor) +
	                  (g->n_kv + 1) * sizeof(struct gguf_kv) + 8 * (g->n_tensors + g->n_kv) +
	                  (f->computed ? f->layers * sizeof(struct weights_layer) : 0);

	set(f, FORECAST_HEADER, "header", MEM_IO, PLAN_MAPPED, f->tally.header_bytes,
	    "metadata and tensor list, where the file is mapped");
	formula(&r[FORECAST_HEADER], "bytes in front of the data section");
	set(f, FORECAST_TABLES, "tables", MEM_IO, PLAN_PRIVATE, tables,
	    "lists of tensors and keys");
	formula(&r[FORECAST_TABLES], "%llu tensors, %llu keys, %u layers",
	        (unsigned long long)g->n_tensors, (unsigned long long)g->n_kv, f->layers);
	set(f, FORECAST_STAGING, "staging", MEM_IO, PLAN_PRIVATE, 0,
	    "buffers between host and device");
	set(f, FORECAST_PROCESS, "process", MEM_OTHER, PLAN_PRIVATE, PROCESS_RESERVED,
	    "private pages of libraries, heap and stack");
	r[FORECAST_PROCESS].start = r[FORECAST_PROCESS].full = PROCESS_RESIDENT;
	formula(&r[FORECAST_PROCESS], "measured, the same for every model");
	set(f, FORECAST_POOL, "pool", MEM_OTHER, PLAN_RESERVED, CHUNK_BYTES + CHUNK_SPACE / 8,
	    "address space of the allocator");
	r[FORECAST_POOL].start = r[FORECAST_POOL].full = 0;
	formula(&r[FORECAST_POOL], "one chunk of %zu bytes and a bit for each that could be",
	        (size_t)CHUNK_BYTES);
	set(f, FORECAST_CODE, "code", MEM_OTHER, PLAN_MAPPED, CODE_RESERVED,
	    "program and libraries");
	r[FORECAST_CODE].start = r[FORECAST_CODE].full = CODE_RESIDENT;
	formula(&r[FORECAST_CODE], "measured, the same for every model");
}

/* ---- device ---- */

void forecast_layer(const struct forecast *f, const struct gguf *g, uint32_t i, uint64_t *weights,
                    uint64_t *kv)
{
	const struct plan_options *o = &f->options;

	*weights = *kv = 0;
	for (uint64_t t = 0; t < g->n_tensors; t++)
		if (tally_layer_of(&g->tensors[t]) == (int)i)
			*weights += g->tensors[t].bytes;
	for (int v = 0; v < 2 && i < f->shape.n_layer; v++) {
		uint32_t n = shape_positions(&f->shape, i, o->ctx, o->ubatch);
		uint64_t one;
		if (!shape_kv(&f->shape, i, n, v ? o->v_type : o->k_type, v, &one, NULL))
			*kv += one * o->sequences;
	}
	if (i < f->shape.n_layer)
		*kv += f->shape.layer[i].state * o->sequences;
}

/* n * part / whole, without overflow; 0 of nothing.  part is at most whole. */
static uint64_t share(uint64_t n, uint64_t part, uint64_t whole)
{
	return whole ? (uint64_t)((unsigned __int128)n * part / whole) : 0;
}

/* Moves the last layers, and with all of them the head, to the device.  There: their tensors and
 * caches, and one set of the buffers of a pass.  The host keeps what it keeps, and buffers through
 * which each ubatch goes. */
static void split(struct forecast *f, const struct gguf *g, const struct forecast_options *o)
{
	uint32_t n = o->device_layers > f->layers ? f->layers : o->device_layers;
	struct forecast_region *r = f->region;
	uint64_t weights = 0, w, kv, k = r[PLAN_KV_K].bytes, v = r[PLAN_KV_V].bytes, both = 0;

	if (!o->device)
		return;
	f->device_layers = n;
	f->device_head = o->device_layers > f->layers;
	for (uint32_t i = f->layers - n; i < f->layers; i++) {
		forecast_layer(f, g, i, &w, &kv);
		weights += w;
		both += kv;
	}
	for (uint64_t t = 0; t < g->n_tensors && f->device_head; t++) {
		enum tally_group group = tally_group_of(&g->tensors[t]);
		if (tally_layer_of(&g->tensors[t]) < 0 &&
		    (group == TALLY_OUTPUT || group == TALLY_NORMS))
			weights += g->tensors[t].bytes;
	}
	if (f->device_head && !f->tally.group[TALLY_OUTPUT].bytes)
		weights +=
		    f->tally.group[TALLY_EMBEDDING].bytes; /* tied: the head is a second copy */
	r[PLAN_WEIGHTS_MAPPED].device = weights;
	both -= min2(both, n ? r[FORECAST_STATE].bytes * n / f->layers : 0);
	/* Layers without a cache of their own may count one that the regions do not hold. */
	both = min2(both, k + v);
	r[PLAN_KV_K].device = share(both, k, k + v);
	r[PLAN_KV_V].device = min2(both - r[PLAN_KV_K].device, v);
	if (n) {
		r[PLAN_ACTIVATION].device = r[PLAN_ACTIVATION].bytes;
		r[PLAN_LOGITS].device = f->device_head ? r[PLAN_LOGITS].bytes : 0;
		r[FORECAST_STATE].device = f->layers ? r[FORECAST_STATE].bytes * n / f->layers : 0;
		set(f, FORECAST_STAGING, "staging", MEM_IO, PLAN_PRIVATE,
		    2 * (uint64_t)f->options.ubatch * f->shape.n_embd * sizeof(float),
		    "buffers between host and device");
		formula(&r[FORECAST_STAGING], "2 x %u rows x %u values x 4 bytes",
		        f->options.ubatch, f->shape.n_embd);
	}
	/* Caches on the device are not on the host. */
	for (int i = PLAN_KV_K; i <= PLAN_KV_V; i++) {
		r[i].full = pages(share(r[i].full, r[i].bytes - r[i].device, r[i].bytes));
		r[i].bytes -= r[i].device;
	}
	r[FORECAST_STATE].bytes -= r[FORECAST_STATE].device;
	r[FORECAST_STATE].start = r[FORECAST_STATE].full = pages(r[FORECAST_STATE].bytes);
}

/* ---- totals ---- */

static int add_up(struct forecast *f, const struct forecast_options *o, struct err *e)
{
	struct forecast_totals *t = &f->total;

	for (int i = 0; i < FORECAST_REGIONS; i++) {
		const struct forecast_region *r = &f->region[i];
		t->reserved += r->bytes;
		t->private += r->kind == PLAN_PRIVATE ? r->bytes : 0;
		t->start += r->start;
		t->full += r->full;
		t->device += r->device;
		if (t->reserved >= MAX_BYTES)
			return err_set(e, ERR_TROUBLE, "more than 2^62 bytes");
	}
	if (f->device_layers)
		t->device += o->device_overhead;
	t->charged = t->full + pages(t->full / 512) + (uint64_t)f->options.threads * KERNEL_STACK;
	return 0;
}

/* ---- what the options become for this model ---- */

static void settle(struct forecast *f, const struct forecast_options *o)
{
	struct plan_options *p = &f->options;
	struct arch a = f->arch;

	if (!f->computed)
		a.n_ctx = f->shape.n_ctx ? f->shape.n_ctx : PLAN_CTX;
	*p = o->plan;
	plan_settle(p, &a);
	f->fill = p->ctx;
	if (o->has_fill && o->fill_percent)
		f->fill = (uint32_t)((uint64_t)p->ctx * min2(o->fill, 100) / 100);
	else if (o->has_fill)
		f->fill = (uint32_t)min2(o->fill, p->ctx);
	f->prompt = (uint32_t)min2(o->prompt ? o->prompt : f->fill, p->ctx);
}

/* The graph that bitnet-run computes, when it is one; sets reason when not. */
static int known_graph(struct forecast *f, const struct gguf *g, struct weights *w,
                       const struct weights_options *wo, struct err *e)
{
	struct err why = {0};

	if (!g->n_tensors) {
		snprintf(f->reason, sizeof f->reason,
		         "the file holds no tensors (vocabulary only)");
		return 0;
	}
	if (!arch_read(&f->arch, g, NULL, &why) && !weights_find(w, &f->arch, g, wo, &why)) {
		f->computed = 1;
		return 0;
	}
	if (!why.unsupported) {
		if (e)
			*e = why;
		return -1;
	}
	snprintf(f->reason, sizeof f->reason, "%.199s", why.text);
	return 0;
}

static int regions(struct forecast *f, const struct gguf *g, const struct weights *w, struct err *e)
{
	struct err no_vocab = {0};
	uint64_t vocab = 0;
	struct plan p;

	if (vocab_plan(g, &vocab, &no_vocab))
		snprintf(f->vocab, sizeof f->vocab, "%.199s", no_vocab.text);
	if (!f->computed)
		return from_shape(f, vocab, e);
	if (plan_make(&p, &f->arch, w, vocab, &f->options, e))
		return -1;
	from_plan(f, &p, w, g);
	return 0;
}

/* The weights of g in place of those of the graph that was planned. */
static void exchange_weights(struct forecast *f, const struct gguf *graph)
{
	struct forecast_region *r = &f->region[PLAN_WEIGHTS_MAPPED];
	struct tally t;

	if (!r->bytes)
		r = &f->region[PLAN_WEIGHTS_COPIED];
	tally_make(&t, graph);
	r->bytes = r->bytes - min2(r->bytes, t.all.bytes) + f->tally.all.bytes;
	r->start = r->full = pages(r->bytes);
}

/* Ids that mean other types to other programs, and what they are here. */
static void note_shared_ids(struct forecast *f, const struct gguf *g)
{
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];
		if (t->id != 36 && t->id != 38)
			continue;
		snprintf(f->shared, sizeof f->shared,
		         "type %u was another type once: taken for %s by the tensors' sizes", t->id,
		         dtype_get(t->type)->name);
		return;
	}
}

int forecast_make(struct forecast *f, const struct gguf *g, const struct forecast_options *o,
                  struct err *e)
{
	const struct gguf *graph = o->graph ? o->graph : g;
	struct weights w = {0};
	struct weights_options wo = {o->plan.load, 32, 0};

	memset(f, 0, sizeof *f);
	if (shape_read(&f->shape, g, e))
		return -1;
	tally_make(&f->tally, g);
	note_shared_ids(f, g);
	if (known_graph(f, graph, &w, &wo, e))
		goto fail;
	f->layers = f->computed ? f->arch.n_layer : f->shape.n_layer;
	settle(f, o);
	if (regions(f, g, &w, e) || add_state(f, e))
		goto fail;
	if (graph != g)
		exchange_weights(f, graph);
	add_process(f, g);
	split(f, g, o);
	if (add_up(f, o, e))
		goto fail;
	weights_close(&w);
	return 0;
fail:
	weights_close(&w);
	forecast_free(f);
	return -1;
}

void forecast_free(struct forecast *f)
{
	shape_free(&f->shape);
}

uint64_t forecast_need(const struct forecast *f)
{
	return f->total.charged > f->total.full ? f->total.charged : f->total.full;
}
