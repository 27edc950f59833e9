/*
 * How the sizes of a plan's regions come about, with the values put into the formulas.  The rules
 * themselves are plan.c's.
 */
#include "forecast_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "plan_device.h"
#include "pretok.h"
#include "strindex.h"
#include "threads.h"

typedef unsigned long long ull;

void forecast_formula(struct forecast_region *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->formula, sizeof r->formula, fmt, ap);
	va_end(ap);
}

static void append(struct forecast_region *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void append(struct forecast_region *r, const char *fmt, ...)
{
	size_t n = strlen(r->formula);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->formula + n, sizeof r->formula - n, fmt, ap);
	va_end(ap);
}

/* "F32 25600 + F16 524288 + I2_S 787328": bytes by type. */
static void append_types(struct forecast_region *r, const struct tally *t)
{
	const char *plus = "";

	for (int i = 1; i < DTYPE_COUNT; i++)
		if (t->type[i].bytes) {
			append(r, "%s%s %llu", plus, dtype_get((enum dtype)i)->name,
			       (ull)t->type[i].bytes);
			plus = " + ";
		}
}

void forecast_explain_weights(struct forecast *f)
{
	struct forecast_region *mapped = &f->region[PLAN_WEIGHTS_MAPPED];
	struct forecast_region *copied = &f->region[PLAN_WEIGHTS_COPIED];
	uint64_t all = f->tally.all.bytes;

	mapped->formula[0] = copied->formula[0] = 0;
	if (mapped->bytes) {
		append_types(mapped, &f->tally);
		if (all > mapped->bytes)
			append(mapped, " - %llu that are copied or unused",
			       (ull)(all - mapped->bytes));
	}
	if (!copied->bytes)
		return;
	if (mapped->bytes)
		append(copied, f->options.load == WEIGHTS_DENSE
		                   ? "the others, I2_S in blocks of 64 bytes for 320 weights, each "
		                     "rounded up to 64 bytes"
		                   : "the others, each rounded up to 64 bytes");
	else
		append_types(copied, &f->tally);
	if (!mapped->bytes)
		append(copied, ", each tensor rounded up to 64 bytes");
	if (f->options.load == WEIGHTS_HUGETLB)
		append(copied, ", the whole to 2 MiB");
	if (f->options.screen)
		append(copied, ", and a 6-bit copy of the head");
}

static void explain_cache(struct forecast *f)
{
	const struct arch *a = &f->arch;
	const struct plan_options *o = &f->options;

	for (int v = 0; v < 2; v++) {
		enum dtype t = v ? o->v_type : o->k_type;
		uint32_t dim = v ? a->dim_v : a->dim_k;
		forecast_formula(
		    &f->region[PLAN_KV_K + v],
		    "%u layers x %u sequences x %u KV heads x %u positions x %llu bytes (a row of "
		    "%u values in %s)",
		    f->layers - f->device_layers, o->sequences, a->n_head_kv, f->ctx,
		    (ull)plan_kv_row(t, dim), dim, dtype_get(t)->name);
	}
}

/* Whether two layers keep the same: then one product stands for both. */
static int alike(const struct shape_layer *a, const struct shape_layer *b, int values)
{
	return a->kv_heads == b->kv_heads && a->window == b->window &&
	       (values ? a->dim_v == b->dim_v : a->dim_k == b->dim_k);
}

/* Layers like layer i; 0 when one of them comes before it. */
static uint32_t layers_like(const struct shape *s, uint32_t i, int values)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < s->n_layer; k++) {
		if (!alike(&s->layer[k], &s->layer[i], values))
			continue;
		if (k < i)
			return 0;
		n++;
	}
	return n;
}

/* "5 layers x 1 sequences x 2 KV heads x 128 positions x 128 bytes + 1 layers x ...": a product for
 * each kind of layer, as far as there is room. */
void forecast_explain_layers(struct forecast *f, int values)
{
	struct forecast_region *r = &f->region[PLAN_KV_K + values];
	const struct plan_options *o = &f->options;
	const struct shape *s = &f->shape;
	const char *plus = "";

	r->formula[0] = 0;
	for (uint32_t i = 0; i < s->n_layer && strlen(r->formula) < sizeof r->formula - 1; i++) {
		const struct shape_layer *l = &s->layer[i];
		uint32_t dim = values ? l->dim_v : l->dim_k;
		uint32_t same = l->kv_heads && dim ? layers_like(s, i, values) : 0;
		if (!same)
			continue;
		append(r, "%s%u layers x %u sequences x %u KV heads x %u positions x %llu bytes",
		       plus, same, o->sequences, l->kv_heads,
		       shape_positions(s, i, o->ctx, o->ubatch),
		       (ull)dtype_row_bytes(values ? o->v_type : o->k_type, dim));
		plus = " + ";
	}
}

static void explain_activation(struct forecast *f)
{
	const struct plan_options *o = &f->options;
	struct plan_buffers b;

	plan_buffers(&b, &f->arch, o->ubatch, f->ctx);
	forecast_formula(
	    &f->region[PLAN_ACTIVATION],
	    "for %u rows: x %llu + h %llu + qkv %llu + gate, up 2 x %llu + out %llu + hidden %llu "
	    "+ int8 input %llu + scales %llu + sums %llu + %llu + angles %llu + counters "
	    "%llu + states %llu",
	    o->ubatch, (ull)b.x, (ull)b.h, (ull)b.qkv, (ull)b.gate, (ull)b.out, (ull)b.hidden,
	    (ull)b.q8, (ull)b.q8_scale, (ull)b.q8_sum, (ull)b.q8_sum256, (ull)b.rope, (ull)b.dealt,
	    (ull)b.states);
}

static uint32_t count_of(const struct gguf *g, const char *key)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	return kv && kv->type == GGUF_ARRAY && kv->count <= UINT32_MAX ? (uint32_t)kv->count : 0;
}

void forecast_explain_vocab(struct forecast *f, const struct gguf *g)
{
	struct forecast_region *r = &f->region[PLAN_VOCAB];
	uint32_t tokens = count_of(g, "tokenizer.ggml.tokens"),
		 merges = count_of(g, "tokenizer.ggml.merges");
	uint64_t known;

	r->formula[0] = 0;
	if (!r->bytes)
		return;
	known = 5 * (uint64_t)tokens + 4 + strindex_bytes(tokens);
	append(r, "%u tokens x 5 bytes + 4 + index %zu", tokens, strindex_bytes(tokens));
	if (merges && known < r->bytes) {
		known += 4 * (uint64_t)merges + 4 + strindex_bytes(merges) + PRETOK_BYTES;
		append(r, " + %u merges x 4 bytes + 4 + index %zu + expressions %u", merges,
		       strindex_bytes(merges), PRETOK_BYTES);
	}
	append(r, " + %llu for the rest and rounding",
	       (ull)(r->bytes - forecast_least(known, r->bytes)));
}

void forecast_explain_stacks(struct forecast *f)
{
	forecast_formula(&f->region[PLAN_STACKS], "%d workers x %d bytes", f->options.threads - 1,
	                 THREADS_STACK);
}

void forecast_explain(struct forecast *f, const struct gguf *g)
{
	const struct plan_options *o = &f->options;
	struct forecast_region *r = f->region;

	forecast_explain_weights(f);
	forecast_explain_vocab(f, g);
	explain_cache(f);
	explain_activation(f);
	forecast_formula(&r[PLAN_LOGITS], "%u rows x %u tokens x 4 bytes", o->logits_rows,
	                 f->arch.n_vocab);
	forecast_formula(&r[PLAN_SAMPLER], "2 x %u tokens x 8 bytes", f->arch.n_vocab);
	forecast_formula(&r[PLAN_SCRATCH], "%d threads x %d bytes", o->threads, KERNELS_SCRATCH);
	forecast_explain_stacks(f);
	if (f->device_layers)
		forecast_formula(&r[PLAN_STAGING],
		                 "rows of %u tokens and what comes back, at least %u MiB",
		                 o->ubatch, (unsigned)(PLAN_DEVICE_LOAD >> 20));
}
