#include "forecast.h"

#include <stdio.h>
#include <string.h>

#include "chunk.h"
#include "forecast_private.h"
#include "plan_device.h"
#include "resident.h"
#include "threads.h"
#include "vocab.h"

/*
 * What a process takes whatever the model: measured with bitnet-run on Debian 12, x86-64, between
 * closing the model and the end (smaps: file pages when loaded and at the peak; private pages;
 * address space).  File pages vary by 150 KiB from run to run, with the addresses that libraries
 * get: what is mapped around a fault depends on them.
 */
#define CODE_START       (UINT64_C(3168) << 10)
#define CODE_RESIDENT    (UINT64_C(3480) << 10)
#define CODE_RESERVED    (UINT64_C(4068) << 10)
#define PROCESS_RESIDENT (UINT64_C(312) << 10)
#define PROCESS_RESERVED (UINT64_C(620) << 10)
#define KERNEL_STACK     (UINT64_C(16) << 10) /* of a thread, in the kernel */
#define HUGE_PAGE        (UINT64_C(2) << 20)
#define PER_TABLE        512 /* bytes that a byte of a page table tells the places of */
#define MAX_BYTES        (UINT64_C(1) << 62)

static void set(struct forecast *f, int i, const char *name, enum mem_tag tag, enum plan_kind kind,
                uint64_t bytes, const char *what)
{
	struct forecast_region *r = &f->region[i];

	r->name = name;
	r->what = what;
	r->tag = tag;
	r->kind = kind;
	r->bytes = bytes;
	r->start = r->full = forecast_pages(bytes);
}

/* ---- regions ---- */

static void from_plan(struct forecast *f, const struct plan *p, const struct weights *w,
                      const struct gguf *g)
{
	f->ctx = p->ctx;
	f->device_layers = f->layers - p->host_layers;
	f->huge_cache = p->huge_cache && resident_huge();
	f->device_head = f->options.device_layers > f->layers;
	for (int i = 0; i < PLAN_REGIONS; i++) {
		set(f, i, p->region[i].name, p->region[i].tag, p->region[i].kind,
		    p->region[i].bytes, p->region[i].what);
		f->region[i].device = p->region[i].device;
	}
	forecast_touch(f, w, g);
	forecast_explain(f, g);
}

/* ---- architectures that are not computed here: by shape.c's rules ---- */

/* Bytes of the keys or values of layer i with n positions, for all sequences. */
static int layer_cache(const struct forecast *f, uint32_t i, uint32_t n, int values,
                       uint64_t *bytes, struct err *e)
{
	enum dtype t = values ? f->options.v_type : f->options.k_type;

	if (shape_kv(&f->shape, i, n, t, values, bytes, e))
		return -1;
	if (__builtin_mul_overflow(*bytes, (uint64_t)f->options.sequences, bytes) ||
	    *bytes >= MAX_BYTES)
		return err_set(e, ERR_TROUBLE, "a KV cache of %u positions is too large", n);
	return 0;
}

static int add_caches(struct forecast *f, int values, struct err *e)
{
	struct forecast_region *r = &f->region[PLAN_KV_K + values];
	uint64_t sum = 0, filled = 0, one, held;

	for (uint32_t i = 0; i < f->shape.n_layer; i++) {
		uint32_t n = shape_positions(&f->shape, i, f->options.ctx, f->options.ubatch);
		uint32_t have = (uint32_t)forecast_least(n, f->fill);
		if (layer_cache(f, i, n, values, &one, e) ||
		    layer_cache(f, i, have, values, &held, e))
			return -1;
		if (__builtin_add_overflow(sum, one, &sum) || sum >= MAX_BYTES)
			return err_set(e, ERR_TROUBLE, "a KV cache of %u positions is too large",
			               n);
		filled += held;
	}
	set(f, PLAN_KV_K + values, values ? "kv.v" : "kv.k", MEM_KV, PLAN_PRIVATE, sum,
	    values ? "cached values" : "cached keys");
	r->start = 0;
	r->full = forecast_pages(filled);
	forecast_explain_layers(f, values);
	return 0;
}

static void add_weights(struct forecast *f)
{
	int copied = f->options.load == WEIGHTS_READ || f->options.load == WEIGHTS_HUGETLB;
	uint64_t bytes = f->tally.all.bytes;

	set(f, PLAN_WEIGHTS_MAPPED, "weights.mapped", MEM_WEIGHTS, PLAN_MAPPED, copied ? 0 : bytes,
	    "tensors used where the file is mapped");
	if (f->options.load == WEIGHTS_HUGETLB)
		bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	set(f, PLAN_WEIGHTS_COPIED, "weights.copied", MEM_WEIGHTS, PLAN_PRIVATE, copied ? bytes : 0,
	    "tensors converted or copied");
	forecast_touch_copied(f);
	forecast_explain_weights(f);
}

/* What needs a graph to be known.  One row of logits does not: it is left out all the same, so that
 * what is unknown stays whole. */
static void add_unknown(struct forecast *f)
{
	static const struct {
		enum plan_index i;
		enum mem_tag tag;
		const char *name, *what;
	} unknown[] = {
	    {PLAN_ACTIVATION, MEM_ACTIVATION, "activation", "buffers of one ubatch"},
	    {PLAN_LOGITS, MEM_ACTIVATION, "logits", "logits of the positions asked for"},
	    {PLAN_SAMPLER, MEM_ACTIVATION, "sampler", "candidates and counts of the sampler"},
	    {PLAN_SCRATCH, MEM_SCRATCH, "scratch", "work space of the threads"},
	};

	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
		set(f, (int)unknown[i].i, unknown[i].name, unknown[i].tag, PLAN_PRIVATE, 0,
		    unknown[i].what);
		f->region[unknown[i].i].unknown = 1;
	}
}

static int from_shape(struct forecast *f, uint64_t vocab_bytes, const struct gguf *g, struct err *e)
{
	const uint64_t step = SHAPE_STEP;

	f->ctx = (uint32_t)((f->options.ctx + step - 1) / step * step);
	add_weights(f);
	set(f, PLAN_VOCAB, "vocab", MEM_VOCAB, PLAN_PRIVATE, vocab_bytes, "tokenizer tables");
	forecast_explain_vocab(f, g);
	if (add_caches(f, 0, e) || add_caches(f, 1, e))
		return -1;
	add_unknown(f);
	set(f, PLAN_STACKS, "stacks", MEM_SCRATCH, PLAN_RESERVED,
	    (uint64_t)(f->options.threads - 1) * THREADS_STACK, "stacks of the workers");
	forecast_touch_stacks(f);
	forecast_explain_stacks(f);
	set(f, PLAN_STAGING, "staging", MEM_IO, PLAN_PRIVATE, 0, "buffers between host and device");
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
	forecast_formula(&f->region[FORECAST_STATE], "%llu layers x %u sequences x %llu bytes",
	                 (unsigned long long)n, f->options.sequences, (unsigned long long)one);
	return 0;
}

/* What every process has. */
static void add_process(struct forecast *f, const struct gguf *g)
{
	struct forecast_region *r = f->region;
	uint64_t layers = f->computed ? f->layers : 0;
	uint64_t tables = g->n_tensors * (sizeof(struct gguf_tensor) + 8) +
	                  (g->n_kv + 1) * sizeof(struct gguf_kv) + 8 * g->n_kv +
	                  layers * sizeof(struct weights_layer);
	size_t image; /* the kernels for GPUs: a part of the program that a host never reads */

	set(f, FORECAST_HEADER, "header", MEM_IO, PLAN_MAPPED, f->tally.header_bytes,
	    "metadata and tensor list, where the file is mapped");
	forecast_formula(&r[FORECAST_HEADER], "%llu bytes in front of the data section",
	                 (unsigned long long)f->tally.header_bytes);
	set(f, FORECAST_TABLES, "tables", MEM_IO, PLAN_PRIVATE, tables,
	    "lists of tensors and keys");
	forecast_formula(&r[FORECAST_TABLES],
	                 "%llu tensors x %zu bytes + %llu keys x %zu + %zu + %llu layers x %zu",
	                 (unsigned long long)g->n_tensors, sizeof(struct gguf_tensor) + 8,
	                 (unsigned long long)g->n_kv, sizeof(struct gguf_kv) + 8,
	                 sizeof(struct gguf_kv), (unsigned long long)layers,
	                 sizeof(struct weights_layer));
	set(f, FORECAST_PROCESS, "process", MEM_OTHER, PLAN_PRIVATE, PROCESS_RESERVED,
	    "private pages of libraries, heap and stack");
	r[FORECAST_PROCESS].start = r[FORECAST_PROCESS].full = PROCESS_RESIDENT;
	forecast_formula(&r[FORECAST_PROCESS], "measured, the same for every model");
	set(f, FORECAST_POOL, "pool", MEM_OTHER, PLAN_RESERVED, CHUNK_BYTES + CHUNK_SPACE / 8,
	    "address space of the allocator");
	r[FORECAST_POOL].start = r[FORECAST_POOL].full = 0;
	forecast_formula(&r[FORECAST_POOL], "one chunk of %zu bytes and %zu of marks",
	                 (size_t)CHUNK_BYTES, (size_t)(CHUNK_SPACE / 8));
	cuda_image(&image);
	set(f, FORECAST_CODE, "code", MEM_OTHER, PLAN_MAPPED, CODE_RESERVED + image,
	    "program and libraries");
	r[FORECAST_CODE].start = CODE_START;
	r[FORECAST_CODE].full = CODE_RESIDENT;
	forecast_formula(&r[FORECAST_CODE], "measured, the same for every model");
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

/* Bytes of the tensors that go to the device, as they are in the file. */
static uint64_t device_weights(const struct forecast *f, const struct gguf *g)
{
	uint64_t sum = 0, w, kv;

	for (uint32_t i = f->layers - f->device_layers; i < f->layers; i++) {
		forecast_layer(f, g, i, &w, &kv);
		sum += w;
	}
	for (uint64_t t = 0; t < g->n_tensors && f->device_head; t++) {
		enum tally_group group = tally_group_of(&g->tensors[t]);
		if (tally_layer_of(&g->tensors[t]) < 0 &&
		    (group == TALLY_OUTPUT || group == TALLY_NORMS))
			sum += g->tensors[t].bytes;
	}
	if (f->device_head && !f->tally.group[TALLY_OUTPUT].bytes)
		sum += f->tally.group[TALLY_EMBEDDING].bytes; /* tied: the head is a second copy */
	return sum;
}

/* An estimate for graphs that are not computed: the last layers, and with all of them the head, go
 * to the device with their tensors and caches.  The host keeps what it keeps, and buffers through
 * which each ubatch goes. */
static void split(struct forecast *f, const struct gguf *g)
{
	uint32_t n = f->options.device_layers > f->layers ? f->layers : f->options.device_layers;
	struct forecast_region *r = f->region;
	uint64_t w, kv, k = r[PLAN_KV_K].bytes, v = r[PLAN_KV_V].bytes, both = 0;

	if (!n)
		return;
	f->device_layers = n;
	f->device_head = f->options.device_layers > f->layers;
	r[PLAN_WEIGHTS_MAPPED].device = device_weights(f, g);
	for (uint32_t i = f->layers - n; i < f->layers; i++) {
		forecast_layer(f, g, i, &w, &kv);
		both += kv;
	}
	both -= forecast_least(both, r[FORECAST_STATE].bytes * n / f->layers);
	/* Layers without a cache of their own may count one that the regions do not hold. */
	both = forecast_least(both, k + v);
	r[PLAN_KV_K].device = share(both, k, k + v);
	r[PLAN_KV_V].device = forecast_least(both - r[PLAN_KV_K].device, v);
	r[FORECAST_STATE].device = r[FORECAST_STATE].bytes * n / f->layers;
	set(f, PLAN_STAGING, "staging", MEM_IO, PLAN_PRIVATE,
	    2 * (uint64_t)f->options.ubatch * f->shape.n_embd * sizeof(float),
	    "buffers between host and device");
	forecast_formula(&r[PLAN_STAGING], "2 x %u rows x %u values x 4 bytes", f->options.ubatch,
	                 f->shape.n_embd);
	/* Caches on the device are not on the host. */
	for (int i = PLAN_KV_K; i <= PLAN_KV_V; i++) {
		r[i].full = forecast_pages(share(r[i].full, r[i].bytes - r[i].device, r[i].bytes));
		r[i].bytes -= r[i].device;
	}
	r[FORECAST_STATE].bytes -= r[FORECAST_STATE].device;
	r[FORECAST_STATE].start = r[FORECAST_STATE].full = forecast_pages(r[FORECAST_STATE].bytes);
}

/* ---- totals ---- */

static int add_up(struct forecast *f, const struct gguf *g, const struct forecast_options *o,
                  struct err *e)
{
	struct forecast_totals *t = &f->total;

	for (int i = 0; i < FORECAST_REGIONS; i++) {
		const struct forecast_region *r = &f->region[i];
		t->reserved += r->bytes;
		t->private += r->kind == PLAN_PRIVATE ? r->bytes : 0;
		t->data += r->kind == PLAN_MAPPED ? 0 : r->bytes;
		t->start += r->start;
		t->full += r->full;
		t->device += r->device;
		if (t->reserved >= MAX_BYTES)
			return err_set(e, ERR_TROUBLE, "more than 2^62 bytes");
	}
	if (f->device_layers)
		t->device += o->device_overhead;
	t->complete = f->computed && !f->vocab[0];
	const struct forecast_region *copied = &f->region[PLAN_WEIGHTS_COPIED];
	int huge = f->options.load == WEIGHTS_HUGETLB;
	t->load = t->start + forecast_load_extra(f, g);
	t->peak = t->full > t->load ? t->full : t->load;
	t->tables = forecast_pages(t->full / PER_TABLE);
	t->stacks = (uint64_t)f->options.threads * KERNEL_STACK;
	t->huge = huge ? copied->bytes : 0;
	/* Tensors that are mapped are resident, so their pages are counted. */
	t->cache =
	    huge || f->options.load == WEIGHTS_READ ? forecast_pages(f->tally.data_bytes) : 0;
	t->charged = t->full + t->tables + t->stacks + t->cache;
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
		f->fill = (uint32_t)((uint64_t)p->ctx * forecast_least(o->fill, 100) / 100);
	else if (o->has_fill)
		f->fill = (uint32_t)forecast_least(o->fill, p->ctx);
	f->prompt = (uint32_t)forecast_least(o->prompt ? o->prompt : f->fill, p->ctx);
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
	if (!f->computed) {
		if (from_shape(f, vocab, g, e))
			return -1;
	} else {
		if (plan_make(&p, &f->arch, w, vocab, &f->options, e))
			return -1;
		from_plan(f, &p, w, g);
	}
	f->region[PLAN_VOCAB].unknown = f->vocab[0] != 0;
	return 0;
}

/* What loading makes of the tensors of g when it makes them denser: as weights.c does. */
static void exchange_dense(struct forecast *f, const struct weights *w, const struct gguf *g)
{
	uint64_t mapped = 0, copied = f->region[PLAN_WEIGHTS_COPIED].bytes - w->copied;

	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];
		uint64_t dense = tally_layer_of(t) >= 0 ? weights_dense_bytes(t) : 0;

		if (t->rows == 1 && t->cols > 1) /* one value is a scale, which nobody keeps */
			copied += arena_round(t->cols * sizeof(float));
		else if (dense)
			copied += arena_round(dense);
		else if (t->rows > 1)
			mapped += t->bytes;
	}
	f->region[PLAN_WEIGHTS_MAPPED].bytes = mapped;
	f->region[PLAN_WEIGHTS_COPIED].bytes = copied;
}

/* The weights of g in place of those of the graph that was planned. */
static void exchange_weights(struct forecast *f, const struct weights *w, const struct gguf *g,
                             const struct gguf *graph)
{
	struct forecast_region *r = &f->region[PLAN_WEIGHTS_MAPPED];
	struct tally t;

	if (!r->bytes)
		r = &f->region[PLAN_WEIGHTS_COPIED];
	tally_make(&t, graph);
	if (f->options.load == WEIGHTS_DENSE)
		exchange_dense(f, w, g);
	else
		r->bytes = r->bytes - forecast_least(r->bytes, t.all.bytes) + f->tally.all.bytes;
	if (f->options.load == WEIGHTS_HUGETLB)
		r->bytes = (r->bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	forecast_touch_weights(f, w, g);
	forecast_explain_weights(f);
	if (f->device_layers)
		f->region[PLAN_WEIGHTS_MAPPED].device = device_weights(f, g);
}

/* Ids that mean other types to other programs, and what they are here. */
static void note_shared_ids(struct forecast *f, const struct gguf *g)
{
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];
		/* A view has other types than the file says; of other readings gguf.h warns. */
		if (dtype_get(t->type)->id != t->id ||
		    (t->type != DTYPE_I2_S && t->type != DTYPE_TL1 && t->type != DTYPE_IQ4_NL_4_8))
			continue;
		snprintf(f->shared, sizeof f->shared,
		         "type %u has several meanings: taken for %s %s", t->id,
		         dtype_get(t->type)->name,
		         t->room ? "by the tensors' sizes" : "as usual, no size tells");
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
		exchange_weights(f, &w, g, graph);
	add_process(f, g);
	if (!f->computed)
		split(f, g);
	if (add_up(f, g, o, e))
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

void forecast_add(struct forecast_totals *sum, const struct forecast_totals *t)
{
	sum->reserved += t->reserved;
	sum->private += t->private;
	sum->data += t->data;
	sum->start += t->start;
	sum->full += t->full;
	sum->load += t->load;
	sum->peak += t->peak;
	sum->tables += t->tables;
	sum->stacks += t->stacks;
	sum->cache += t->cache;
	sum->charged += t->charged;
	sum->huge += t->huge;
	sum->device += t->device;
	sum->complete = sum->complete && t->complete;
}

const char *forecast_lacks(const struct forecast *f)
{
	if (!f->computed && f->vocab[0])
		return " (without compute and the tokenizer, which are unknown)";
	if (!f->computed)
		return " (without compute, which is unknown)";
	return f->vocab[0] ? " (without the tokenizer, which is unknown)" : "";
}

uint64_t forecast_need(const struct forecast *f)
{
	return f->total.charged - f->total.cache;
}

uint64_t forecast_ram(const struct forecast *f)
{
	return forecast_need(f) + f->total.huge;
}
