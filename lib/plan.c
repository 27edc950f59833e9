#include "plan.h"

#include <string.h>

#include "fmt.h"
#include "head.h"
#include "plan_device.h"
#include "threads.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

uint64_t plan_kv_row(enum dtype t, uint32_t n)
{
	return dtype_row_bytes(t, n);
}

static uint64_t round_up(uint64_t n, uint64_t step)
{
	return (n + step - 1) / step * step;
}

static uint64_t max2(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/*
 * What one ubatch of U tokens needs, in bytes, rounded as arena_take rounds:
 *   x       (U, n_embd)                    residual stream
 *   h       (U, max(n_embd, heads))        normed input; attention output
 *   qkv     (U, q + k + v values)          projections before the cache takes k and v
 *   gate,up (U, n_ff)                      feed-forward; gate becomes their product
 *   out     (U, n_embd)                    float products before they are added to x
 *   hidden  (U, n_embd)                    normed final states, kept for the head
 *   q8      (U, widest input)              int8 activations, with scale and sums per token
 *   rope    (U, n_rot)                     cosines, then sines
 *   dealt   (n_layer, PLAN_STAGES)         blocks of work that threads have taken
 *   states  (chunks of ctx, n_head, state) attention by chunks of the cache, where there are two
 */
void plan_buffers(struct plan_buffers *b, const struct arch *a, uint32_t ubatch, uint32_t ctx)
{
	uint64_t n = ubatch, f = sizeof(float);
	uint64_t chunks = round_up(ctx, KERNELS_CHUNK) / KERNELS_CHUNK;
	uint64_t heads = (uint64_t)a->n_head * max2(a->dim_k, a->dim_v);
	uint64_t qkv =
	    (uint64_t)a->n_head * a->dim_k + (uint64_t)a->n_head_kv * (a->dim_k + a->dim_v);

	memset(b, 0, sizeof *b);
	b->x_stride = round_up(a->n_embd, PLAN_STRIDE);
	b->h_stride = round_up(max2(a->n_embd, heads), PLAN_STRIDE);
	b->qkv_stride = round_up(qkv, PLAN_STRIDE);
	b->ff_stride = round_up(a->n_ff, PLAN_STRIDE);
	uint64_t widest = max2(b->h_stride, b->ff_stride);
	b->sum_stride = round_up(widest, 256) / 256;
	b->x = b->out = b->hidden = arena_round(n * b->x_stride * f);
	b->h = arena_round(n * b->h_stride * f);
	b->qkv = arena_round(n * b->qkv_stride * f);
	b->gate = b->up = arena_round(n * b->ff_stride * f);
	b->q8 = arena_round(n * widest);
	b->q8_scale = arena_round(n * f);
	b->q8_sum = arena_round(n * sizeof(int32_t));
	b->q8_sum256 = arena_round(n * b->sum_stride * sizeof(int32_t));
	b->dealt = arena_round((uint64_t)a->n_layer * PLAN_STAGES * sizeof(uint32_t));
	b->states = chunks > 1 ? arena_round(chunks * a->n_head * kernel_state(a->dim_v) * f) : 0;
	b->rope = 2 * arena_round(n * a->n_rot / 2 * f);
}

static uint64_t activation_bytes(const struct arch *a, uint32_t ubatch, uint32_t ctx)
{
	struct plan_buffers b;

	plan_buffers(&b, a, ubatch, ctx);
	return b.x + b.h + b.qkv + b.gate + b.up + b.out + b.hidden + b.q8 + b.q8_scale + b.q8_sum +
	       b.q8_sum256 + b.rope + b.dealt + b.states;
}

static int kv_bytes(const struct arch *a, const struct plan_options *o, uint32_t ctx, enum dtype t,
                    uint32_t dim, uint64_t *bytes, struct err *e)
{
	const struct dtype_info *d = dtype_get(t);
	uint64_t heads = (uint64_t)plan_device_first(a, o) * o->sequences * a->n_head_kv, rows;

	if (dim % d->block)
		return err_set(
		    e, ERR_TROUBLE,
		    "a KV cache of type %s needs heads of a multiple of %u values, found %u",
		    d->name, d->block, dim);
	if (__builtin_mul_overflow(heads, (uint64_t)ctx, &rows) ||
	    __builtin_mul_overflow(rows, plan_kv_row(t, dim), bytes) || *bytes > INT64_MAX)
		return err_set(e, ERR_TROUBLE, "a KV cache of %u positions is too large", ctx);
	return 0;
}

static void set(struct plan *p, enum plan_index i, const char *name, enum mem_tag tag,
                enum plan_kind kind, uint64_t bytes, const char *what)
{
	p->region[i] = (struct plan_region){name, what, tag, kind, bytes, 0};
}

void plan_settle(struct plan_options *p, const struct arch *a)
{
	if (p->ctx == PLAN_CTX_ALL)
		p->ctx = a->n_ctx;
	if (!p->ctx)
		p->ctx = a->n_ctx < PLAN_CTX ? a->n_ctx : PLAN_CTX;
	if (!p->sequences)
		p->sequences = 1;
	if (p->logits_rows < p->sequences)
		p->logits_rows = p->sequences;
	if (p->threads < 1)
		p->threads = 1;
	if (!p->ubatch)
		p->ubatch = PLAN_UBATCH;
	if (p->ubatch > p->ctx)
		p->ubatch = p->ctx;
	if (p->logits_rows > p->ubatch)
		p->logits_rows = p->ubatch;
	if (p->k_type == DTYPE_NONE)
		p->k_type = DTYPE_F16;
	if (p->v_type == DTYPE_NONE)
		p->v_type = DTYPE_F16;
}

uint64_t plan_screen(const struct weights *w, const struct plan_options *o)
{
	const struct gguf_tensor *t = w->output.t;

	if (t && o->device_layers > w->n_layer)
		return 0;
	return o->screen && t && head_screens(t->type) && t->cols <= HEAD_WIDEST
	           ? head_bytes(t->rows, t->cols, o->logits_rows)
	           : 0;
}

int plan_make(struct plan *p, const struct arch *a, const struct weights *w, uint64_t vocab_bytes,
              const struct plan_options *o, struct err *e)
{
	uint64_t k, v, copied = w->copied + plan_screen(w, o);

	memset(p, 0, sizeof *p);
	p->ctx = (uint32_t)round_up(o->ctx, PLAN_CTX_STEP);
	p->host_layers = plan_device_first(a, o);
	if (o->load == WEIGHTS_DENSE && o->device_layers)
		return err_unsupported(e, "weights that are loaded dense are computed with on the "
		                          "host, not on a device");
	if (kv_bytes(a, o, p->ctx, o->k_type, a->dim_k, &k, e) ||
	    kv_bytes(a, o, p->ctx, o->v_type, a->dim_v, &v, e))
		return -1;
	if (o->load == WEIGHTS_HUGETLB)
		copied = round_up(copied, HUGE_PAGE);
	p->huge_cache = (uint64_t)p->host_layers * a->n_head_kv * KERNELS_CHUNK *
	                    (plan_kv_row(o->k_type, a->dim_k) + plan_kv_row(o->v_type, a->dim_v)) >=
	                2 * PLAN_HUGE_CHUNK;
	set(p, PLAN_WEIGHTS_MAPPED, "weights.mapped", MEM_WEIGHTS, PLAN_MAPPED, w->mapped,
	    "tensors used where the file is mapped");
	set(p, PLAN_WEIGHTS_COPIED, "weights.copied", MEM_WEIGHTS, PLAN_PRIVATE, copied,
	    "tensors converted or copied");
	set(p, PLAN_VOCAB, "vocab", MEM_VOCAB, PLAN_PRIVATE, vocab_bytes, "tokenizer tables");
	set(p, PLAN_KV_K, "kv.k", MEM_KV, PLAN_PRIVATE, k, "cached keys");
	set(p, PLAN_KV_V, "kv.v", MEM_KV, PLAN_PRIVATE, v, "cached values");
	set(p, PLAN_ACTIVATION, "activation", MEM_ACTIVATION, PLAN_PRIVATE,
	    activation_bytes(a, o->ubatch, p->ctx), "buffers of one ubatch");
	set(p, PLAN_LOGITS, "logits", MEM_ACTIVATION, PLAN_PRIVATE,
	    arena_round((uint64_t)o->logits_rows * a->n_vocab * sizeof(float)),
	    "logits of the positions asked for");
	set(p, PLAN_SAMPLER, "sampler", MEM_ACTIVATION, PLAN_PRIVATE,
	    2 * arena_round((uint64_t)a->n_vocab * 8), "candidates and counts of the sampler");
	set(p, PLAN_SCRATCH, "scratch", MEM_SCRATCH, PLAN_PRIVATE,
	    (uint64_t)o->threads * KERNELS_SCRATCH, "work space of the threads");
	set(p, PLAN_STACKS, "stacks", MEM_SCRATCH, PLAN_RESERVED,
	    (uint64_t)(o->threads - 1) * THREADS_STACK, "stacks of the workers");
	set(p, PLAN_STAGING, "staging", MEM_IO, PLAN_PRIVATE, 0, "buffers between host and device");
	return plan_device_add(p, a, w, o, e);
}

uint64_t plan_total(const struct plan *p, enum plan_kind kind)
{
	uint64_t sum = 0;

	for (int i = 0; i < PLAN_REGIONS; i++)
		if (p->region[i].kind == kind)
			sum += p->region[i].bytes;
	return sum;
}

uint64_t plan_device_total(const struct plan *p)
{
	uint64_t sum = 0;

	for (int i = 0; i < PLAN_REGIONS; i++)
		sum += p->region[i].device;
	return sum;
}

const char *plan_kind_name(enum plan_kind kind)
{
	static const char *const name[] = {"mapped", "private", "reserved"};
	return name[kind];
}

const char *plan_load_name(enum weights_load load)
{
	static const char *const name[] = {"mmap", "mlock", "read", "hugetlb", "dense"};
	return name[load];
}

static void print_row(FILE *out, const char *name, const char *kind, uint64_t bytes)
{
	char size[FMT_SIZE];

	fprintf(out, "%-16s %-9s %16llu %12s\n", name, kind, (unsigned long long)bytes,
	        fmt_size(size, bytes));
}

int plan_print(const struct plan *p, FILE *out)
{
	uint64_t device = plan_device_total(p);

	fprintf(out, "%-16s %-9s %16s %12s\n", "region", "kind", "bytes", "");
	for (int i = 0; i < PLAN_REGIONS; i++) {
		const struct plan_region *r = &p->region[i];
		print_row(out, r->name, plan_kind_name(r->kind), r->bytes);
	}
	for (int i = 0; i < PLAN_REGIONS; i++)
		if (p->region[i].device)
			print_row(out, p->region[i].name, "device", p->region[i].device);
	for (int k = PLAN_MAPPED; k <= PLAN_RESERVED; k++)
		print_row(out, "total", plan_kind_name((enum plan_kind)k),
		          plan_total(p, (enum plan_kind)k));
	if (device)
		print_row(out, "total", "device", device);
	return ferror(out) ? -1 : 0;
}

json_t *plan_json(const struct plan *p)
{
	json_t *regions = json_array(), *totals = json_object();

	for (int i = 0; i < PLAN_REGIONS; i++) {
		const struct plan_region *r = &p->region[i];
		json_array_append_new(regions,
		                      json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", r->name,
		                                "kind", plan_kind_name(r->kind), "tag",
		                                mem_tag_name(r->tag), "bytes", (json_int_t)r->bytes,
		                                "device", (json_int_t)r->device));
	}
	for (int k = PLAN_MAPPED; k <= PLAN_RESERVED; k++)
		json_object_set_new(totals, plan_kind_name((enum plan_kind)k),
		                    json_integer((json_int_t)plan_total(p, (enum plan_kind)k)));
	json_object_set_new(totals, "device", json_integer((json_int_t)plan_device_total(p)));
	return json_pack("{s:o, s:o}", "regions", regions, "totals", totals);
}
