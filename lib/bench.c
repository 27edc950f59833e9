#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "bench_ceiling.h"
#include "bench_private.h"
#include "clock.h"
#include "head.h"
#include "session.h"
#include "threads.h"

int bench_list_parse(struct bench_list *l, const char *text, uint32_t least, struct err *e)
{
	char *end;

	for (l->n = 0;; text = end + 1) {
		unsigned long v = strtoul(text, &end, 10);

		if (end == text || (*end && *end != ',') || v < least || v > 1u << 24)
			return err_set(e, ERR_TROUBLE,
			               "'%s' is not a list of numbers from %u on, by commas", text,
			               least);
		if (l->n == BENCH_LIST)
			return err_set(e, ERR_TROUBLE, "more than %d numbers", BENCH_LIST);
		l->v[l->n++] = (uint32_t)v;
		if (!*end)
			return 0;
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void bench_settle(struct bench_row *r, double *v, unsigned n)
{
	qsort(v, n, sizeof *v, by_value);
	r->low = v[0];
	r->high = v[n - 1];
	r->median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

int bench_figure(struct bench *b, struct bench_row *r, struct err *e)
{
	bench_settle(r, b->run, b->o->repeat);
	return b->row(b->arg, r, e);
}

/* What the machine gives these threads. */
static int measure_ceilings(struct bench *b, uint32_t threads, struct err *e)
{
	struct bench_row r = {.what = BENCH_READ, .threads = threads};
	struct bench_ceiling *c;
	int failed;

	if (bench_ceiling_open(&c, b->kern, (int)threads, b->o->pin, e))
		return -1;
	for (unsigned i = 0; i < b->o->repeat; i++)
		b->run[i] = bench_ceiling_read(c) * 1e-9;
	failed = bench_figure(b, &r, e);
	b->read = r.median * 1e9;
	r.what = BENCH_INT8;
	for (unsigned i = 0; !failed && i < b->o->repeat; i++)
		b->run[i] = bench_ceiling_int8(c) * 1e-9;
	bench_ceiling_close(c);
	if (failed || bench_figure(b, &r, e))
		return -1;
	b->int8 = r.median * 1e9;
	return 0;
}

static void add_head(struct bench_load *l, const struct gguf_tensor *t)
{
	l->head_bytes = (double)t->bytes;
	l->screen_bytes = (double)head_reads(t->rows, t->cols);
	l->head = t->type;
}

static void add_matrix(struct bench_load *l, double by_type[DTYPE_COUNT],
                       const struct gguf_tensor *t)
{
	l->bytes += (double)t->bytes;
	l->dense_bytes += (double)(weights_dense_bytes(t) ? weights_dense_bytes(t) : t->bytes);
	l->products += (double)t->rows * (double)t->cols;
	by_type[t->type] += (double)t->bytes;
	if (by_type[t->type] >= by_type[l->weights])
		l->weights = t->type;
}

static int is(const struct gguf_tensor *t, const char *name)
{
	return t->name.n == strlen(name) && !memcmp(t->name.p, name, t->name.n);
}

/* The embedding table is the head of a model that has no other. */
static struct bench_load load_of(const struct gguf *g)
{
	const struct gguf_tensor *table = NULL, *output = NULL;
	double by_type[DTYPE_COUNT] = {0};
	struct bench_load l = {0};

	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];

		if (is(t, "token_embd.weight"))
			table = t;
		else if (is(t, "output.weight"))
			output = t;
		else if (t->n_dims > 1)
			add_matrix(&l, by_type, t);
	}
	if (output || table)
		add_head(&l, output ? output : table);
	return l;
}

/* Bytes of keys and values that a token at this depth reads. */
static double cache_bytes(const struct session *s, const struct bench_options *o, double depth)
{
	const struct arch *a = session_arch(s);
	double row =
	    (double)plan_kv_row(o->k_type, a->dim_k) + (double)plan_kv_row(o->v_type, a->dim_v);

	return row * depth * a->n_layer * a->n_head_kv;
}

static int eval(struct session *s, uint32_t n, uint32_t at_once, struct err *e)
{
	const struct arch *a = session_arch(s);
	int32_t ids[1024];

	at_once = at_once < 1024 ? at_once : 1024;
	for (uint32_t i = 0; i < n; i += at_once) {
		uint32_t m = n - i < at_once ? n - i : at_once;

		for (uint32_t k = 0; k < m; k++)
			ids[k] = (int32_t)((uint64_t)(i + k) * 7919 % a->n_vocab);
		if (session_eval(s, 0, ids, m, e))
			return -1;
	}
	return 0;
}

/* A prompt and the logits of its last token. */
static int prefill_once(struct session *s, const struct bench_row *r, double *speed, struct err *e)
{
	const float *rows;
	double t = clock_now();

	session_rewind(s, 0, 0);
	/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a row has a ubatch of at least one */
	uint32_t last = r->tokens % r->ubatch ? r->tokens % r->ubatch : r->ubatch;
	if (eval(s, r->tokens, r->ubatch, e) || session_logits(s, last - 1, 1, &rows, e))
		return -1;
	*speed = r->tokens / (clock_now() - t);
	return 0;
}

/* The greatest logit of each row of a step. */
static int choose(struct session *s, const struct bench_row *r, struct err *e)
{
	struct sample_candidate best;
	const float *rows;

	for (uint32_t i = 0; i < r->ubatch; i++) {
		int found = session_top(s, i, 1, &best, e);

		if (found < 0)
			return -1;
		if (found)
			continue;
		return r->screened ? session_greatest(s, 0, r->ubatch, 1, &rows, e)
		                   : session_logits(s, 0, r->ubatch, &rows, e);
	}
	return 0;
}

/* Steps of r->ubatch sequences, a token each. */
static int decode_once(struct session *s, const struct bench_row *r, double *speed, struct err *e)
{
	uint32_t seq[BENCH_BATCH];
	int32_t ids[BENCH_BATCH];

	for (uint32_t i = 0; i < r->ubatch; i++) {
		seq[i] = i;
		ids[i] = (int32_t)(i * 31 % session_arch(s)->n_vocab);
		session_rewind(s, i, r->depth);
	}
	double t = clock_now();
	for (uint32_t i = 0; i < r->tokens; i++)
		if (session_eval_batch(s, seq, ids, r->ubatch, e) || choose(s, r, e))
			return -1;
	*speed = (double)r->tokens * r->ubatch / (clock_now() - t);
	return 0;
}

/* Runs of one row of the model. */
static int measure(struct bench *b, struct session *s, struct bench_row *r,
                   int (*once)(struct session *s, const struct bench_row *r, double *speed,
                               struct err *e),
                   struct err *e)
{
	r->threads = b->o->device ? 0 : (uint32_t)session_threads(s);
	r->weights = b->load.weights;
	r->head = b->load.head;
	r->dense = b->dense;
	for (unsigned n = 0; n < b->o->repeat; n++)
		if (once(s, r, &b->run[n], e))
			return -1;
	return bench_figure(b, r, e);
}

static int prefills(struct bench *b, struct session *s, struct err *e)
{
	for (size_t i = 0; i < b->o->prompts.n; i++)
		for (size_t k = 0; k < b->o->ubatches.n; k++) {
			struct bench_row r = {.what = BENCH_PREFILL};

			r.tokens = b->o->prompts.v[i];
			r.ubatch = b->o->ubatches.v[k] < r.tokens ? b->o->ubatches.v[k] : r.tokens;
			r.bound = b->int8 / b->load.products;
			if (measure(b, s, &r, prefill_once, e))
				return -1;
		}
	return 0;
}

static int decode_row(struct bench *b, struct session *s, struct bench_row *r, struct err *e)
{
	const struct bench_load *l = &b->load;
	double shared = (b->dense ? l->dense_bytes : l->bytes) +
	                (r->screened ? l->screen_bytes : l->head_bytes);

	r->bound = r->ubatch * b->read /
	           (shared + r->ubatch * cache_bytes(s, b->o, r->depth + r->tokens / 2.0));
	for (uint32_t i = 0; i < r->ubatch; i++) {
		session_rewind(s, i, 0);
		if (session_pretend(s, i, r->depth, e))
			return -1;
	}
	session_expect(s, 1);
	int failed = measure(b, s, r, decode_once, e);
	session_expect(s, 0);
	return failed;
}

/* Every batch at every depth with every head. */
static int decodes(struct bench *b, struct session *s, struct err *e)
{
	int screens = head_screens(b->load.head);

	for (size_t i = 0; b->o->decode && i < b->o->depths.n * b->o->batches.n; i++)
		for (int head = BENCH_FULL; head <= BENCH_SCREENED; head <<= 1) {
			struct bench_row r = {.what = BENCH_DECODE,
			                      .tokens = b->o->decode,
			                      .ubatch = b->o->batches.v[i / b->o->depths.n],
			                      .depth = b->o->depths.v[i % b->o->depths.n],
			                      .screened = head == BENCH_SCREENED};

			if (!(b->o->heads & head) || (r.screened && !screens))
				continue;
			if (decode_row(b, s, &r, e))
				return -1;
		}
	return 0;
}

static uint32_t most(const struct bench_list *l)
{
	uint32_t m = 0;

	for (size_t i = 0; i < l->n; i++)
		m = l->v[i] > m ? l->v[i] : m;
	return m;
}

/* Everything of a device (threads 0), or with one number of threads, behind its ceilings. */
static int with_session(struct bench *b, uint32_t threads, struct err *e)
{
	struct session_options so = {
	    .kernel = b->o->kernel, .pin = b->o->pin, .plan = {.threads = (int)threads}};
	uint32_t deep = most(&b->o->depths) + b->o->decode, prompt = most(&b->o->prompts);
	uint32_t batch = most(&b->o->batches), ubatch = most(&b->o->ubatches);
	struct session *s = NULL;

	if (!threads) {
		so.device = b->o->device;
		so.plan.device_layers = PLAN_DEVICE_ALL;
		so.plan.threads = threads_available();
	}
	so.plan.ctx = (deep > prompt ? deep : prompt) + 1;
	so.plan.ctx = so.plan.ctx > batch ? so.plan.ctx : batch;
	so.plan.ubatch = ubatch > batch ? ubatch : batch;
	so.plan.sequences = so.plan.logits_rows = batch;
	so.plan.k_type = b->o->k_type;
	so.plan.v_type = b->o->v_type;
	so.plan.load = b->dense ? WEIGHTS_DENSE : WEIGHTS_MMAP;
	so.plan.screen = !!(b->o->heads & BENCH_SCREENED);
	if (session_open(&s, b->model, &so, e))
		return -1;
	int failed = prefills(b, s, e) || decodes(b, s, e) || session_leave_device(s, e);
	session_close(s);
	return failed ? -1 : 0;
}

/* The ceilings, then the model with every way of loading; dense where that makes a difference. */
static int with_threads(struct bench *b, uint32_t threads, struct err *e)
{
	int denser = threads && b->load.dense_bytes < b->load.bytes;

	if (threads ? measure_ceilings(b, threads, e) : bench_device(b, e))
		return -1;
	for (int how = BENCH_MMAP; how <= BENCH_DENSE; how <<= 1) {
		b->dense = how == BENCH_DENSE;
		if ((b->o->loads & how) && (denser || !b->dense) && with_session(b, threads, e))
			return -1;
	}
	return 0;
}

int bench_run(const struct bench_options *o, const struct gguf *model,
              int (*row)(void *arg, const struct bench_row *r, struct err *e), void *arg,
              struct err *e)
{
	struct bench b = {
	    .o = o, .row = row, .arg = arg, .kern = kernels_get(o->kernel), .model = model};

	if (!b.kern)
		return err_set(e, ERR_TROUBLE,
		               "kernel set '%s' does not exist or this CPU cannot run it",
		               o->kernel);
	if (o->repeat < 1 || o->repeat > BENCH_REPEAT)
		return err_set(e, ERR_TROUBLE, "%u runs, expected 1 to %d", o->repeat,
		               BENCH_REPEAT);
	if (most(&o->batches) > BENCH_BATCH)
		return err_set(e, ERR_TROUBLE, "%u sequences at once, expected at most %d",
		               most(&o->batches), BENCH_BATCH);
	b.load = load_of(model);
	if (o->device)
		return with_threads(&b, 0, e);
	for (size_t i = 0; i < o->threads.n; i++)
		if (with_threads(&b, o->threads.v[i], e))
			return -1;
	return 0;
}
