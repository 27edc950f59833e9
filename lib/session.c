#include "session.h"

#include <string.h>
#include <sys/mman.h>

#include "forward.h"
#include "gpu.h"
#include "plan_device.h"

struct session {
	struct arch arch;
	struct weights w;
	struct plan plan;  /* what was computed */
	struct plan taken; /* what was taken, counted at each taking */
	struct arena arena[PLAN_REGIONS];
	uint8_t *huge; /* weights in huge pages, which an arena does not hold */
	struct threads *pool;
	struct forward f;
	struct head screen; /* q is NULL: none */
	uint32_t *length;   /* tokens of each sequence, (sequences) */
	struct forward_row *row;
	int32_t *pos, *slot; /* for the device, (rows) */
	struct gpu *gpu;     /* NULL: none */
	size_t expected;
	struct plan_options o;
	const char *device;
};

/* Everything that is decided before memory is taken. */
static int decide(struct arch *a, struct weights *w, struct plan *p, struct plan_options *po,
                  const struct gguf *g, const struct session_options *o, struct err *e)
{
	struct weights_options wo = {o->plan.load, o->i2s_group ? o->i2s_group : 32, o->check};

	if (arch_read(a, g, o->act, e) || weights_find(w, a, g, &wo, e))
		return -1;
	*po = o->plan;
	if (!o->device)
		po->device_layers = 0;
	plan_settle(po, a);
	if (plan_make(p, a, w, o->vocab_bytes, po, e)) {
		weights_close(w);
		return -1;
	}
	return 0;
}

static int take_huge(struct session *s, uint64_t bytes, struct err *e)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(
		    e,
		    "weights.copied: no huge pages for %llu bytes (see /proc/sys/vm/nr_hugepages)",
		    (unsigned long long)bytes);
	s->huge = p;
	return 0;
}

/* Weights that are read whole for each token, and a cache that the plan says to be worth it. */
static int on_huge_pages(const struct session *s, enum plan_index i)
{
	return i == PLAN_WEIGHTS_COPIED ||
	       (s->plan.huge_cache && (i == PLAN_KV_K || i == PLAN_KV_V));
}

/* Takes the regions, each one arena of exactly the planned size. */
static int take_regions(struct session *s, struct err *e)
{
	static const enum plan_index mine[] = {PLAN_WEIGHTS_COPIED, PLAN_KV_K,   PLAN_KV_V,
	                                       PLAN_ACTIVATION,     PLAN_LOGITS, PLAN_SAMPLER,
	                                       PLAN_SCRATCH};

	s->taken = s->plan;
	for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) {
		struct plan_region *r = &s->plan.region[mine[i]];
		struct arena *a = &s->arena[mine[i]];

		if (mine[i] == PLAN_WEIGHTS_COPIED && s->o.load == WEIGHTS_HUGETLB && r->bytes) {
			if (take_huge(s, r->bytes, e))
				return -1;
			*a = (struct arena){
			    .base = s->huge, .size = r->bytes, .tag = r->tag, .name = r->name};
		} else if (on_huge_pages(s, mine[i])
		               ? arena_init_huge(a, r->tag, r->name, r->bytes, e)
		               : arena_init(a, r->tag, r->name, r->bytes, e)) {
			return -1;
		}
		s->taken.region[mine[i]].bytes = a->size;
	}
	return 0;
}

static void *carve(struct session *s, enum plan_index i, uint64_t bytes)
{
	return arena_take(&s->arena[i], bytes);
}

static void set_cache(struct session *s)
{
	struct forward_cache *c = &s->f.cache;

	c->k_row = plan_kv_row(s->o.k_type, s->arch.dim_k);
	c->v_row = plan_kv_row(s->o.v_type, s->arch.dim_v);
	c->k_head = c->k_row * KERNELS_CHUNK;
	c->v_head = c->v_row * KERNELS_CHUNK;
	c->k_layer = c->k_head * s->arch.n_head_kv;
	c->v_layer = c->v_head * s->arch.n_head_kv;
	c->k_chunk = c->k_layer * s->f.layers;
	c->v_chunk = c->v_layer * s->f.layers;
}

static void set_buffers(struct session *s)
{
	struct plan_buffers b;
	struct forward *f = &s->f;

	plan_buffers(&b, &s->arch, s->o.ubatch, s->plan.ctx);
	f->x = carve(s, PLAN_ACTIVATION, b.x);
	f->h = carve(s, PLAN_ACTIVATION, b.h);
	f->qkv = carve(s, PLAN_ACTIVATION, b.qkv);
	f->gate = carve(s, PLAN_ACTIVATION, b.gate);
	f->up = carve(s, PLAN_ACTIVATION, b.up);
	f->out = carve(s, PLAN_ACTIVATION, b.out);
	f->hidden = carve(s, PLAN_ACTIVATION, b.hidden);
	f->q8 = carve(s, PLAN_ACTIVATION, b.q8);
	f->q8_scale = carve(s, PLAN_ACTIVATION, b.q8_scale);
	f->q8_sum = carve(s, PLAN_ACTIVATION, b.q8_sum);
	f->q8_sum256 = carve(s, PLAN_ACTIVATION, b.q8_sum256);
	f->cos = carve(s, PLAN_ACTIVATION, b.rope / 2);
	f->sin = carve(s, PLAN_ACTIVATION, b.rope / 2);
	f->dealt = carve(s, PLAN_ACTIVATION, b.dealt);
	f->states = carve(s, PLAN_ACTIVATION, b.states);
	f->state_chunks = b.states ? s->plan.ctx / KERNELS_CHUNK : 0;
	f->x_stride = b.x_stride;
	f->h_stride = b.h_stride;
	f->qkv_stride = b.qkv_stride;
	f->ff_stride = b.ff_stride;
	f->sum_stride = b.sum_stride;
	f->scratch = s->arena[PLAN_SCRATCH].base;
}

static int check_cache_types(const struct session *s, struct err *e)
{
	if (!s->f.kern->quantize[s->o.k_type] || !s->f.kern->quantize[s->o.v_type])
		return err_set(
		    e, ERR_TROUBLE, "a KV cache of type %s is not supported",
		    dtype_get(s->f.kern->quantize[s->o.k_type] ? s->o.v_type : s->o.k_type)->name);
	return 0;
}

static int has_float_layers(const struct weights *w)
{
	for (uint32_t i = 0; i < w->n_layer; i++) {
		const struct weights_layer *l = &w->layer[i];
		const struct weight *all[] = {&l->q,    &l->k,  &l->v,   &l->o,
		                              &l->gate, &l->up, &l->down};
		for (size_t m = 0; m < sizeof all / sizeof *all; m++)
			if (!dtype_get(all[m]->t->type)->ternary)
				return 1;
	}
	return 0;
}

static int start_device(struct session *s, struct err *e)
{
	const struct gpu_parts parts = {
	    .arch = &s->arch, .w = &s->w, .o = &s->o, .plan = &s->plan, .pool = s->pool};
	size_t rows = s->o.ubatch;

	s->pos = mem_calloc(MEM_KV, rows, sizeof *s->pos, e);
	s->slot = mem_calloc(MEM_KV, rows, sizeof *s->slot, e);
	return s->pos && s->slot ? gpu_start(s->gpu, &parts, &s->taken, e) : -1;
}

static int check_weights(const struct session *s, struct err *e)
{
	if (s->o.load == WEIGHTS_DENSE && !s->f.kern->mul_strips)
		return err_set(e, ERR_TROUBLE,
		               "dense weights are not computed with by the kernel set %s",
		               s->f.kern->name);
	return 0;
}

static int open_parts(struct session *s, const struct gguf *g, const struct session_options *o,
                      struct err *e)
{
	struct weights_options wo = {s->o.load, o->i2s_group ? o->i2s_group : 32, o->check};

	if (check_cache_types(s, e) || check_weights(s, e) ||
	    (s->gpu && gpu_fits(s->gpu, &s->plan, e)) || take_regions(s, e) ||
	    threads_start(&s->pool, s->o.threads, e) || (o->pin && threads_pin(s->pool, e)))
		return -1;
	if (weights_load(&s->w, g, &wo, s->f.kern, &s->arena[PLAN_WEIGHTS_COPIED], s->pool, e))
		return -1;
	s->length = mem_calloc(MEM_KV, s->o.sequences, sizeof *s->length, e);
	s->row = mem_calloc(MEM_KV, s->o.sequences, sizeof *s->row, e);
	if (!s->length || !s->row)
		return -1;
	s->taken.region[PLAN_STACKS].bytes = (uint64_t)(threads_count(s->pool) - 1) * THREADS_STACK;
	s->f.arch = &s->arch;
	s->f.w = &s->w;
	s->f.pool = s->pool;
	s->f.blas = has_float_layers(&s->w) ? blas_open() : NULL;
	s->f.k_type = s->o.k_type;
	s->f.v_type = s->o.v_type;
	s->f.stop = o->stop;
	s->f.layers = s->plan.host_layers;
	set_cache(s);
	set_buffers(s);
	if (plan_screen(&s->w, &s->o)) {
		head_take(&s->screen, &s->w.output.mat, s->o.logits_rows,
		          &s->arena[PLAN_WEIGHTS_COPIED]);
		forward_fill_screen(&s->f, &s->screen);
	}
	return s->gpu ? start_device(s, e) : 0;
}

int session_open(struct session **out, const struct gguf *g, const struct session_options *o,
                 struct err *e)
{
	struct session *s = mem_calloc(MEM_OTHER, 1, sizeof *s, e);

	if (!s)
		return -1;
	s->f.kern = kernels_get(o->kernel);
	if (!s->f.kern) {
		err_set(
		    e, ERR_TROUBLE,
		    "kernel set '%s' does not exist or this CPU cannot run it (see --list-kernels)",
		    o->kernel ? o->kernel : "");
		goto fail;
	}
	if (decide(&s->arch, &s->w, &s->plan, &s->o, g, o, e) ||
	    (s->o.device_layers && gpu_open(&s->gpu, o->device, e)) || open_parts(s, g, o, e))
		goto fail;
	s->device = s->gpu ? o->device : NULL;
	*out = s;
	return 0;
fail:
	session_close(s);
	return -1;
}

int session_leave_device(struct session *s, struct err *e)
{
	struct gpu *g = s->gpu;

	s->gpu = NULL;
	return gpu_close(g, e);
}

void session_close(struct session *s)
{
	if (!s)
		return;
	gpu_close(s->gpu, NULL);
	threads_stop(s->pool);
	if (s->huge) {
		munmap(s->huge, s->plan.region[PLAN_WEIGHTS_COPIED].bytes);
		s->arena[PLAN_WEIGHTS_COPIED].base = NULL;
	}
	for (int i = 0; i < PLAN_REGIONS; i++)
		arena_fini(&s->arena[i]);
	weights_close(&s->w);
	mem_free(s->length);
	mem_free(s->row);
	mem_free(s->pos);
	mem_free(s->slot);
	mem_free(s);
}

/* The cache of a sequence on the host. */
static struct forward_row row_of(const struct session *s, uint32_t seq)
{
	const struct forward_cache *c = &s->f.cache;

	size_t chunk = seq * (size_t)(s->plan.ctx / KERNELS_CHUNK);

	return (struct forward_row){s->arena[PLAN_KV_K].base + chunk * c->k_chunk,
	                            s->arena[PLAN_KV_V].base + chunk * c->v_chunk, s->length[seq]};
}

static int check_ids(const struct session *s, const int32_t *ids, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || (uint32_t)ids[i] >= s->arch.n_vocab)
			return err_set(e, ERR_TROUBLE, "token id %d, expected 0 to %u", ids[i],
			               s->arch.n_vocab - 1);
	return 0;
}

/* The layers of the device, behind those of the host. */
static int eval_device(struct session *s, int single, struct err *e)
{
	struct forward *f = &s->f;
	const struct gpu_rows r = {
	    .n = f->n,
	    .single = single,
	    .ids = f->ids,
	    .pos = s->pos,
	    .slot = s->slot,
	    .x = f->x,
	    .cosine = f->cos,
	    .sine = f->sin,
	};

	if (gpu_eval(s->gpu, &r, s->expected, e))
		return -1;
	if (plan_device_head(&s->arch, &s->o))
		return 0;
	if (gpu_result(s->gpu, f->x, e))
		return -1;
	forward_end(f);
	return 0;
}

/* What f was set up for.  0, 1: stopped, -1. */
static int eval(struct session *s, int single, struct err *e)
{
	struct forward *f = &s->f;

	f->stopped = f->stop && *f->stop;
	if (f->layers || !s->gpu || !plan_device_head(&s->arch, &s->o))
		forward_run(f);
	if (f->stopped)
		return 1;
	return s->gpu ? eval_device(s, single, e) : 0;
}

static void set_row(struct session *s, size_t i, uint32_t seq, size_t pos)
{
	if (!s->gpu)
		return;
	s->pos[i] = (int32_t)pos;
	s->slot[i] = (int32_t)seq;
}

int session_eval(struct session *s, uint32_t seq, const int32_t *ids, size_t n, struct err *e)
{
	struct forward *f = &s->f;

	if (n < 1 || n > s->o.ubatch || seq >= s->o.sequences)
		return err_set(e, ERR_TROUBLE,
		               "%zu tokens at once in sequence %u, expected 1 to %u tokens", n, seq,
		               s->o.ubatch);
	if (n > s->o.ctx - s->length[seq])
		return err_set(e, ERR_TROUBLE, "the context of %u tokens is full", s->o.ctx);
	if (check_ids(s, ids, n, e))
		return -1;
	f->ids = ids;
	f->n = n;
	f->row = NULL;
	f->pos = s->length[seq];
	f->cache.k = row_of(s, seq).k;
	f->cache.v = row_of(s, seq).v;
	for (size_t i = 0; i < n; i++)
		set_row(s, i, seq, f->pos + i);
	int status = eval(s, n == 1, e);
	if (status == 0)
		s->length[seq] += (uint32_t)n;
	return status;
}

static int check_sequences(const struct session *s, const uint32_t *seq, size_t n, struct err *e)
{
	if (n < 1 || n > s->o.ubatch || n > s->o.sequences)
		return err_set(e, ERR_TROUBLE, "%zu sequences at once, expected 1 to %u", n,
		               s->o.ubatch < s->o.sequences ? s->o.ubatch : s->o.sequences);
	for (size_t i = 0; i < n; i++) {
		if (seq[i] >= s->o.sequences)
			return err_set(e, ERR_TROUBLE, "sequence %u, expected 0 to %u", seq[i],
			               s->o.sequences - 1);
		if (s->length[seq[i]] >= s->o.ctx)
			return err_set(e, ERR_TROUBLE, "the context of %u tokens is full",
			               s->o.ctx);
		for (size_t k = 0; k < i; k++)
			if (seq[k] == seq[i])
				return err_set(e, ERR_TROUBLE, "sequence %u is named twice",
				               seq[i]);
	}
	return 0;
}

int session_eval_batch(struct session *s, const uint32_t *seq, const int32_t *ids, size_t n,
                       struct err *e)
{
	struct forward *f = &s->f;

	if (check_sequences(s, seq, n, e) || check_ids(s, ids, n, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		s->row[i] = row_of(s, seq[i]);
		set_row(s, i, seq[i], s->row[i].pos);
	}
	f->ids = ids;
	f->n = n;
	f->row = s->row;
	int status = eval(s, 1, e);
	for (size_t i = 0; i < n && status == 0; i++)
		s->length[seq[i]]++;
	return status;
}

static int head_on_device(const struct session *s)
{
	return s->gpu && plan_device_head(&s->arch, &s->o);
}

int session_logits(struct session *s, size_t i, size_t n, const float **rows, struct err *e)
{
	float *logits = (float *)(void *)s->arena[PLAN_LOGITS].base;

	if (n < 1 || n > s->o.logits_rows || i + n > s->f.n)
		return err_set(e, ERR_TROUBLE,
		               "logits of %zu rows from %zu, expected at most %u of %zu", n, i,
		               s->o.logits_rows, s->f.n);
	if (head_on_device(s))
		return gpu_logits(s->gpu, i, n, rows, e);
	forward_head(&s->f, i, n, logits);
	*rows = logits;
	return 0;
}

int session_greatest(struct session *s, size_t i, size_t n, size_t want, const float **rows,
                     struct err *e)
{
	float *logits = (float *)(void *)s->arena[PLAN_LOGITS].base;

	if (!s->screen.q || want < 1 || want > s->screen.blocks || n > s->o.logits_rows ||
	    i + n > s->f.n)
		return session_logits(s, i, n, rows, e);
	forward_screened(&s->f, &s->screen, i, n, want, logits);
	*rows = logits;
	return 0;
}

void session_expect(struct session *s, size_t want)
{
	s->expected = want;
}

int session_top(struct session *s, size_t i, size_t want, struct sample_candidate *c, struct err *e)
{
	const int32_t *ids;
	const float *logits;

	if (want > s->arch.n_vocab)
		want = s->arch.n_vocab;
	if (!head_on_device(s) || want > PLAN_DEVICE_TOP || i >= s->f.n)
		return 0;
	if (gpu_top(s->gpu, i, want, &ids, &logits, e))
		return -1;
	for (size_t k = 0; k < want; k++)
		c[k] = (struct sample_candidate){logits[k], ids[k]};
	return (int)want;
}

uint32_t session_length(const struct session *s, uint32_t seq)
{
	return s->length[seq];
}

void session_rewind(struct session *s, uint32_t seq, uint32_t n)
{
	if (n < s->length[seq])
		s->length[seq] = n;
}

/* Bytes that are a small number, not 0, in every type of the cache. */
#define PRETENDED 0x2c

int session_pretend(struct session *s, uint32_t seq, uint32_t n, struct err *e)
{
	const struct forward_cache *c = &s->f.cache;
	size_t heads = (size_t)s->f.layers * s->arch.n_head_kv;

	if (n > s->o.ctx || seq >= s->o.sequences)
		return err_set(e, ERR_TROUBLE, "%u tokens in sequence %u, the context holds %u", n,
		               seq, s->o.ctx);
	/* A device's part holds zeros, or what was there before. */
	struct forward_row at = row_of(s, seq);
	for (size_t p = 0; p < n; p += KERNELS_CHUNK, at.k += c->k_chunk, at.v += c->v_chunk) {
		size_t m = n - p < KERNELS_CHUNK ? n - p : KERNELS_CHUNK;

		for (size_t h = 0; h < heads; h++) {
			memset(at.k + h * c->k_head, PRETENDED, m * c->k_row);
			memset(at.v + h * c->v_head, PRETENDED, m * c->v_row);
		}
	}
	s->length[seq] = n;
	return 0;
}

void session_forget(struct session *s)
{
	for (uint32_t i = 0; i < s->o.sequences; i++)
		session_rewind(s, i, 0);
	arena_forget(&s->arena[PLAN_KV_K]);
	arena_forget(&s->arena[PLAN_KV_V]);
}

const struct arch *session_arch(const struct session *s)
{
	return &s->arch;
}

const char *session_kernel(const struct session *s)
{
	return s->f.kern->name;
}

const char *session_device(const struct session *s)
{
	return s->device;
}

uint32_t session_ctx(const struct session *s)
{
	return s->o.ctx;
}

uint32_t session_sequences(const struct session *s)
{
	return s->o.sequences;
}

uint32_t session_ubatch(const struct session *s)
{
	return s->o.ubatch;
}

uint32_t session_logits_rows(const struct session *s)
{
	return s->o.logits_rows;
}

int session_threads(const struct session *s)
{
	return threads_count(s->pool);
}

const struct plan *session_memory(const struct session *s)
{
	return &s->taken;
}

struct arena *session_sampler(struct session *s)
{
	return &s->arena[PLAN_SAMPLER];
}
