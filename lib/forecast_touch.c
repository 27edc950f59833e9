/*
 * Which pages of the regions are really touched.  "start" is what is resident when the model is
 * loaded and nothing was computed, "full" when the tokens asked for are stored.
 *
 * Computed: weights (what loading checks, what computing reads), cache and activations (the part
 * of each strip that is written, in whole pages).  Measured: small parts of regions that are there
 * for the worst case.
 */
#include "forecast_private.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels.h"
#include "pretok.h"

/* Measured with bitnet-run on Debian 12, x86-64 (smaps), in bytes. */
#define STACK_RESIDENT   (UINT64_C(8) << 10)  /* of a worker's stack */
#define PRETOK_RESIDENT  (UINT64_C(28) << 10) /* of PRETOK_BYTES, once expressions are compiled */
#define SAMPLER_RESIDENT FORECAST_PAGE        /* the usual sampling keeps few candidates */
/* Of a thread's KERNELS_SCRATCH: few tokens; many, and each of them. */
#define FEW_TOKENS    32
#define SCRATCH_FEW   (UINT64_C(40) << 10)
#define SCRATCH_MANY  (UINT64_C(64) << 10)
#define SCRATCH_TOKEN UINT64_C(256)
#define HUGE_PAGE     (UINT64_C(2) << 20)
/* A page that is touched in a mapped file brings its neighbours along (fault-around). */
#define AROUND (UINT64_C(64) << 10)

void forecast_touched(struct forecast_region *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->touched, sizeof r->touched, fmt, ap);
	va_end(ap);
}

/* Pages of a region that were counted. */
struct touched {
	uint64_t page;      /* bytes */
	uint64_t next, sum; /* the first page that is not yet counted; pages */
};

static void touch(struct touched *t, uint64_t from, uint64_t bytes)
{
	uint64_t first = from / t->page, end = (from + bytes + t->page - 1) / t->page;

	if (!bytes)
		return;
	first = first < t->next ? t->next : first;
	t->sum += end > first ? end - first : 0;
	t->next = end > t->next ? end : t->next;
}

/* The pages of a cache: huge ones up to limit, small ones behind it. */
struct cache_pages {
	uint64_t limit;
	struct touched huge, small;
};

static void touch_cached(struct cache_pages *c, uint64_t from, uint64_t bytes)
{
	uint64_t end = from + bytes, middle = end < c->limit ? end : c->limit;

	if (from < middle)
		touch(&c->huge, from, middle - from);
	middle = from > c->limit ? from : c->limit;
	if (middle < end)
		touch(&c->small, middle, end - middle);
}

/* One sequence: whole chunks, then the front of each head's strip of the last one. */
static void touch_sequence(struct cache_pages *c, uint64_t from, uint64_t heads, uint64_t row,
                           uint32_t fill)
{
	uint64_t strip = row * PLAN_CTX_STEP, whole = fill / PLAN_CTX_STEP * heads * strip,
		 part = fill % PLAN_CTX_STEP * row;

	touch_cached(c, from, whole);
	for (uint64_t i = 0; i < heads; i++)
		touch_cached(c, from + whole + i * strip, part);
}

static void touch_cache(struct forecast *f)
{
	const struct arch *a = &f->arch;
	const struct plan_options *o = &f->options;
	uint64_t heads = (uint64_t)(f->layers - f->device_layers) * a->n_head_kv;

	for (int v = 0; v < 2; v++) {
		struct forecast_region *r = &f->region[PLAN_KV_K + v];
		uint64_t row = plan_kv_row(v ? o->v_type : o->k_type, v ? a->dim_v : a->dim_k);
		struct cache_pages c = {.huge = {HUGE_PAGE, 0, 0}, .small = {FORECAST_PAGE, 0, 0}};

		c.limit = f->huge_cache ? r->bytes / HUGE_PAGE * HUGE_PAGE : 0;
		for (uint32_t i = 0; i < o->sequences; i++)
			touch_sequence(&c, i * heads * row * f->ctx, heads, row, f->fill);
		r->start = 0;
		r->full = c.huge.sum * HUGE_PAGE + c.small.sum * FORECAST_PAGE;
		forecast_touched(r,
		                 "%spages of %u sequences of %u tokens stored, %llu strips of %llu "
		                 "bytes a token; at the start none",
		                 f->huge_cache ? "huge " : "", o->sequences, f->fill,
		                 (unsigned long long)heads, (unsigned long long)row);
	}
}

/* Each buffer's first rows, for as many tokens as are ever computed at once. */
static void touch_activation(struct forecast *f)
{
	struct plan_buffers b, t;
	uint32_t all = f->options.ubatch, n = (uint32_t)forecast_least(f->prompt, all);
	struct forecast_region *r = &f->region[PLAN_ACTIVATION];
	struct touched sum = {FORECAST_PAGE, 0, 0};
	uint64_t at = 0;

	n = n ? n : 1;
	plan_buffers(&b, &f->arch, all, f->ctx);
	plan_buffers(&t, &f->arch, n, f->fill);
	const uint64_t whole[] = {b.x,         b.h,        b.qkv,      b.gate,     b.up,
	                          b.out,       b.hidden,   b.q8,       b.q8_scale, b.q8_sum,
	                          b.q8_sum256, b.rope / 2, b.rope / 2, b.dealt,    b.states};
	const uint64_t part[] = {t.x,         t.h,        t.qkv,      t.gate,     t.up,
	                         t.out,       t.hidden,   t.q8,       t.q8_scale, t.q8_sum,
	                         t.q8_sum256, t.rope / 2, t.rope / 2, t.dealt,    t.states};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
		touch(&sum, at, part[i]);
		at += whole[i];
	}
	r->start = 0;
	r->full = sum.sum * sum.page;
	forecast_touched(r, "pages of the first %u of %u rows of each buffer; at the start none", n,
	                 all);
}

/* Only I2_S codes are looked at while loading, and vectors: bytes of these. */
static uint64_t checked_bytes(const struct gguf *g)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < g->n_tensors; i++)
		if (g->tensors[i].type == DTYPE_I2_S || g->tensors[i].rows == 1)
			sum += g->tensors[i].bytes;
	return sum;
}

/* Different tokens among n of a text: measured on English with the vocabularies of llama-bpe,
 * falcon and llama-spm, 16 to 16,384 tokens, within 12 %. */
static double different_tokens(double n)
{
	return n / pow(1 + n / 64, 0.32);
}

/* A table that is only looked up is read where a token points to, and around it: so many of the
 * table's windows are hit by rows that lie anywhere. */
static uint64_t looked_up(const struct forecast *f, const struct gguf_tensor *t)
{
	double n = different_tokens((double)f->fill * f->options.sequences);
	double row = (double)dtype_row_bytes(t->type, t->cols);
	double hit = AROUND > row ? (double)AROUND : row, windows = (double)t->bytes / hit;

	if (windows <= 1)
		return t->bytes;
	double bytes = hit * windows * (1 - pow(1 - 1 / windows, n));
	return bytes < (double)t->bytes ? (uint64_t)bytes : t->bytes;
}

static void touch_mapped(struct forecast *f, const struct weights *w, const struct gguf *g)
{
	struct forecast_region *r = &f->region[PLAN_WEIGHTS_MAPPED];
	const struct gguf_tensor *embd = gguf_tensor(g, "token_embd.weight");
	int tied = w->embd.t == w->output.t;

	r->start = r->full = forecast_pages(r->bytes);
	forecast_touched(r, "every tensor is read");
	if (!r->bytes)
		return;
	if (f->options.load == WEIGHTS_MLOCK) {
		forecast_touched(r, "locked in memory as a whole");
		return;
	}
	/* Loading lets go of everything when some was made denser. */
	uint64_t checked = f->options.load == WEIGHTS_DENSE ? 0 : checked_bytes(g);
	if (!tied && embd && !w->embd.copy) {
		uint64_t rows = looked_up(f, embd);
		r->full = forecast_pages(r->bytes - forecast_least(r->bytes, embd->bytes) + rows);
		forecast_touched(
		    r,
		    "all but the table of embeddings, of which %llu bytes are looked up by "
		    "%.0f different tokens (estimated)",
		    (unsigned long long)rows,
		    different_tokens((double)f->fill * f->options.sequences));
	}
	size_t n = strlen(r->touched);
	if (!checked) {
		r->start = 0;
		snprintf(r->touched + n, sizeof r->touched - n, "; at the start none");
		return;
	}
	r->start = forecast_least(forecast_pages(checked + AROUND), r->full);
	snprintf(r->touched + n, sizeof r->touched - n,
	         "; at the start %llu bytes that loading checks (I2_S, vectors)",
	         (unsigned long long)checked);
}

void forecast_touch_copied(struct forecast *f)
{
	struct forecast_region *r = &f->region[PLAN_WEIGHTS_COPIED];

	r->start = r->full = forecast_pages(r->bytes);
	forecast_touched(r, "all is written while loading");
	/* Huge pages are taken from their own pool: nobody counts them as resident. */
	if (f->options.load == WEIGHTS_HUGETLB) {
		r->start = r->full = 0;
		forecast_touched(r, "huge pages, which no count of resident memory has");
	}
}

void forecast_touch_weights(struct forecast *f, const struct weights *w, const struct gguf *g)
{
	touch_mapped(f, w, g);
	forecast_touch_copied(f);
}

/* Bytes of the file that threads hold while they make weights denser, a piece each. */
static uint64_t packing_extra(const struct forecast *f, const struct gguf *g)
{
	uint64_t most = 0;

	for (uint64_t i = 0; i < g->n_tensors; i++)
		if (weights_dense_bytes(&g->tensors[i]) && g->tensors[i].bytes > most)
			most = g->tensors[i].bytes;
	return (uint64_t)f->options.threads * forecast_least(most, WEIGHTS_PIECE);
}

/* Copying lets go of a file's pages piece by piece: what is resident is what was copied, and one
 * piece.  The table of embeddings is copied first, the output head last. */
uint64_t forecast_load_extra(const struct forecast *f, const struct gguf *g)
{
	const struct gguf_tensor *last = gguf_tensor(g, "output.weight");
	uint64_t copied = 0, most = 0;

	if (!f->region[PLAN_WEIGHTS_COPIED].bytes)
		return 0;
	if (f->options.load == WEIGHTS_DENSE)
		return packing_extra(f, g);
	for (uint64_t i = 0; i <= g->n_tensors; i++) {
		const struct gguf_tensor *t = i < g->n_tensors ? &g->tensors[i] : last;
		if (!t || (i < g->n_tensors && t == last))
			continue;
		uint64_t rest = t->bytes % WEIGHTS_PIECE, whole = t->bytes - rest;
		if (whole && copied + whole + WEIGHTS_PIECE > most)
			most = copied + whole + WEIGHTS_PIECE;
		copied += t->bytes;
		if (copied + rest > most)
			most = copied + rest;
	}
	return most > copied ? most - copied : 0;
}

/* Bytes of a thread's scratch that passes of n tokens touch. */
static uint64_t scratch_touched(uint64_t n)
{
	const struct kernels *k = kernels_get(NULL);
	uint64_t prepared = k->prepared ? k->prepared(n) : 0;
	uint64_t bytes = SCRATCH_MANY + n * SCRATCH_TOKEN;

	if (n <= FEW_TOKENS)
		return SCRATCH_FEW;
	bytes = bytes > prepared ? bytes : prepared;
	return forecast_pages(forecast_least(bytes, KERNELS_SCRATCH));
}

/* What was measured rather than computed. */
static void touch_rest(struct forecast *f, const struct gguf *g)
{
	struct forecast_region *r = f->region;
	uint64_t tokens = forecast_least(f->prompt, f->options.ubatch);
	uint64_t scratch = scratch_touched(tokens), vocab;
	int threads = f->options.threads;
	struct gguf_str model = {"", 0};

	if (gguf_get_str(g, "tokenizer.ggml.model", &model, NULL) < 0)
		model.n = 0;
	vocab = r[PLAN_VOCAB].bytes;
	if (model.n == 4 && !memcmp(model.p, "gpt2", 4) && vocab > PRETOK_BYTES) {
		vocab -= PRETOK_BYTES - PRETOK_RESIDENT;
		forecast_touched(&r[PLAN_VOCAB], "all but %llu bytes for expressions (measured)",
		                 (unsigned long long)(PRETOK_BYTES - PRETOK_RESIDENT));
	}
	r[PLAN_VOCAB].start = r[PLAN_VOCAB].full = forecast_pages(vocab);
	r[PLAN_LOGITS].start = 0;
	forecast_touched(&r[PLAN_LOGITS], "all; at the start none");
	r[PLAN_SAMPLER].start = 0;
	r[PLAN_SAMPLER].full = SAMPLER_RESIDENT;
	forecast_touched(&r[PLAN_SAMPLER], "the likeliest candidates (measured)");
	r[PLAN_SCRATCH].start = 0;
	r[PLAN_SCRATCH].full = (uint64_t)threads * scratch;
	forecast_touched(&r[PLAN_SCRATCH], "%d threads x %llu bytes with %llu tokens (measured)",
	                 threads, (unsigned long long)scratch, (unsigned long long)tokens);
}

void forecast_touch_stacks(struct forecast *f)
{
	struct forecast_region *r = &f->region[PLAN_STACKS];
	int n = f->options.threads - 1;

	r->start = r->full = (uint64_t)n * STACK_RESIDENT;
	forecast_touched(r, "%d workers x %llu bytes (measured)", n,
	                 (unsigned long long)STACK_RESIDENT);
}

void forecast_touch(struct forecast *f, const struct weights *w, const struct gguf *g)
{
	touch_cache(f);
	touch_activation(f);
	forecast_touch_weights(f, w, g);
	touch_rest(f, g);
	forecast_touch_stacks(f);
	/* What the device took over. */
	for (int i = 0; i < PLAN_REGIONS; i++)
		if (!f->region[i].bytes) {
			f->region[i].start = f->region[i].full = 0;
			f->region[i].touched[0] = 0;
		}
}
