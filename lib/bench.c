#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "clock.h"
#include "head.h"
#include "kernels.h"
#include "mem.h"
#include "session.h"
#include "threads.h"

#define READ_BYTES ((size_t)512 << 20) /* more than caches hold, on most machines */
#define PROBE_TIME 0.2                 /* seconds of one probe of the int8 rate */
#define RUNS_MAX   101

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

/* Runs of one figure to median and spread. */
static void settle(struct bench_row *r, double *v, unsigned n)
{
	qsort(v, n, sizeof *v, by_value);
	r->low = v[0];
	r->high = v[n - 1];
	r->median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

struct bench {
	const struct bench_options *o;
	int (*row)(void *arg, const struct bench_row *r, struct err *e);
	void *arg;
	const struct kernels *kern;
	double read, int8; /* ceilings of the threads at hand: bytes and multiply-adds a second */
	double run[RUNS_MAX];
};

struct probe {
	const struct kernels *kern;
	const uint8_t *memory;
	uint64_t rounds, done;
	volatile uint64_t sink;
};

static void read_part(void *arg, int i, int count)
{
	struct probe *p = arg;
	size_t a, b;

	threads_split(READ_BYTES, 16384, i, count, &a, &b);
	p->sink = p->kern->probe_read(p->memory + a, b - a);
}

static void multiply(void *arg, int i, int count)
{
	struct probe *p = arg;
	uint64_t n = p->kern->probe_int8(p->rounds);

	(void)i;
	(void)count;
	__atomic_fetch_add(&p->done, n, __ATOMIC_RELAXED);
}

static double read_speed(struct threads *t, struct probe *p)
{
	double s = clock_now();

	threads_run(t, read_part, p);
	return (double)READ_BYTES / (clock_now() - s);
}

static double int8_speed(struct threads *t, struct probe *p)
{
	double s = clock_now(), took;

	p->done = 0;
	threads_run(t, multiply, p);
	took = clock_now() - s;
	double speed = (double)p->done / took;
	/* the next one takes as long as it should */
	p->rounds = (uint64_t)((double)p->rounds * PROBE_TIME / took) + 1;
	return speed;
}

static int figure(struct bench *b, struct bench_row *r, struct err *e)
{
	settle(r, b->run, b->o->repeat);
	return b->row(b->arg, r, e);
}

/* What the machine gives these threads. */
static int ceilings(struct bench *b, struct threads *t, const uint8_t *memory, struct err *e)
{
	struct probe p = {.kern = b->kern, .memory = memory, .rounds = 100000};
	struct bench_row r = {.what = BENCH_READ, .threads = (uint32_t)threads_count(t)};

	read_speed(t, &p);
	for (unsigned i = 0; i < b->o->repeat; i++)
		b->run[i] = read_speed(t, &p) * 1e-9;
	if (figure(b, &r, e))
		return -1;
	b->read = r.median * 1e9;
	r.what = BENCH_INT8;
	int8_speed(t, &p);
	for (unsigned i = 0; i < b->o->repeat; i++)
		b->run[i] = int8_speed(t, &p) * 1e-9;
	if (figure(b, &r, e))
		return -1;
	b->int8 = r.median * 1e9;
	return 0;
}

static int measure_ceilings(struct bench *b, uint32_t threads, struct err *e)
{
	uint8_t *memory =
	    mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct threads *t = NULL;

	if (memory == MAP_FAILED)
		return err_sys(e, "%zu bytes to read", READ_BYTES);
	madvise(memory, READ_BYTES, MADV_HUGEPAGE);
	memset(memory, 1, READ_BYTES);
	int failed = threads_start(&t, (int)threads, e) || (b->o->pin && threads_pin(t, e)) ||
	             ceilings(b, t, memory, e);
	threads_stop(t);
	munmap(memory, READ_BYTES);
	return failed ? -1 : 0;
}

/* Bytes and multiply-adds of the matrices, once each: of the layers, and of the head. */
struct load {
	double bytes, head_bytes, products;
	double screen_bytes; /* of the head's int8 copy */
};

static void add_matrix(struct load *l, const struct gguf_tensor *t, int head)
{
	double n = 1;

	for (uint32_t d = 0; d < t->n_dims; d++)
		n *= (double)t->ne[d];
	if (head) {
		l->head_bytes += (double)t->bytes;
		l->screen_bytes = (double)head_bytes(t->rows, t->cols);
		return;
	}
	l->bytes += (double)t->bytes;
	l->products += n;
}

static int is(const struct gguf_tensor *t, const char *name)
{
	return t->name.n == strlen(name) && !memcmp(t->name.p, name, t->name.n);
}

/* The embedding table is the head of a model that has no other. */
static struct load load_of(const struct gguf *g)
{
	const struct gguf_tensor *table = NULL, *output = NULL;
	struct load l = {0};

	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];

		if (is(t, "token_embd.weight"))
			table = t;
		else if (is(t, "output.weight"))
			output = t;
		else if (t->n_dims > 1)
			add_matrix(&l, t, 0);
	}
	if (output || table)
		add_matrix(&l, output ? output : table, 1);
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

static int decode_once(struct session *s, const struct bench_row *r, double *speed, struct err *e)
{
	const float *rows;

	session_rewind(s, 0, r->depth);
	double t = clock_now();
	for (uint32_t i = 0; i < r->tokens; i++)
		if (eval(s, 1, 1, e) || session_greatest(s, 0, 1, &rows, e))
			return -1;
	*speed = r->tokens / (clock_now() - t);
	return 0;
}

static int prefills(struct bench *b, struct session *s, const struct load *l, uint32_t threads,
                    struct err *e)
{
	for (size_t i = 0; i < b->o->prompts.n; i++)
		for (size_t k = 0; k < b->o->ubatches.n; k++) {
			struct bench_row r = {.what = BENCH_PREFILL, .threads = threads};

			r.tokens = b->o->prompts.v[i];
			r.ubatch = b->o->ubatches.v[k] < r.tokens ? b->o->ubatches.v[k] : r.tokens;
			r.bound = b->int8 / l->products;
			for (unsigned n = 0; n < b->o->repeat; n++)
				if (prefill_once(s, &r, &b->run[n], e))
					return -1;
			if (figure(b, &r, e))
				return -1;
		}
	return 0;
}

static int decodes(struct bench *b, struct session *s, const struct load *l, uint32_t threads,
                   struct err *e)
{
	for (size_t i = 0; b->o->decode && i < b->o->depths.n; i++) {
		struct bench_row r = {
		    .what = BENCH_DECODE, .threads = threads, .tokens = b->o->decode, .ubatch = 1};

		r.depth = b->o->depths.v[i];
		double middle = r.depth + r.tokens / 2.0;
		double head = b->o->screen ? l->screen_bytes : l->head_bytes;
		r.bound = b->read / (l->bytes + head + cache_bytes(s, b->o, middle));
		session_rewind(s, 0, 0);
		if (eval(s, r.depth, session_ubatch(s), e))
			return -1;
		for (unsigned n = 0; n < b->o->repeat; n++)
			if (decode_once(s, &r, &b->run[n], e))
				return -1;
		if (figure(b, &r, e))
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

/* Everything with one number of threads: the ceilings first. */
static int with_threads(struct bench *b, const struct gguf *g, const struct load *l,
                        uint32_t threads, struct err *e)
{
	struct session_options so = {.kernel = b->o->kernel, .plan = {.threads = (int)threads}};
	uint32_t deep = most(&b->o->depths) + b->o->decode, prompt = most(&b->o->prompts);
	struct session *s = NULL;

	if (measure_ceilings(b, threads, e))
		return -1;
	so.plan.ctx = (deep > prompt ? deep : prompt) + 1;
	so.plan.ubatch = most(&b->o->ubatches);
	so.plan.k_type = b->o->k_type;
	so.plan.v_type = b->o->v_type;
	so.plan.screen = b->o->screen;
	if (session_open(&s, g, &so, e))
		return -1;
	int failed = prefills(b, s, l, threads, e) || decodes(b, s, l, threads, e);
	session_close(s);
	return failed ? -1 : 0;
}

int bench_run(const struct bench_options *o,
              int (*row)(void *arg, const struct bench_row *r, struct err *e), void *arg,
              struct err *e)
{
	struct bench b = {.o = o, .row = row, .arg = arg, .kern = kernels_get(o->kernel)};
	struct gguf g = {0};
	int failed = 0;

	if (!b.kern)
		return err_set(e, ERR_TROUBLE,
		               "kernel set '%s' does not exist or this CPU cannot run it",
		               o->kernel);
	if (o->repeat < 1 || o->repeat > RUNS_MAX)
		return err_set(e, ERR_TROUBLE, "%u runs, expected 1 to %d", o->repeat, RUNS_MAX);
	if (gguf_open(&g, o->model, 0, e))
		return -1;
	struct load l = load_of(&g);
	for (size_t i = 0; !failed && i < o->threads.n; i++)
		failed = with_threads(&b, &g, &l, o->threads.v[i], e);
	gguf_close(&g);
	return failed ? -1 : 0;
}

static int shell(const char *command, double *seconds, struct err *e)
{
	double t = clock_now();
	int status = system(command);

	*seconds = clock_now() - t;
	if (status == -1)
		return err_sys(e, "%s", command);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(e, ERR_TROUBLE, "'%s' failed", command);
	return 0;
}

int bench_versus(const char *ours, const char *theirs, unsigned repeat, FILE *out, struct err *e)
{
	double ratio[RUNS_MAX], a, b;
	struct bench_row r;

	if (repeat < 1 || repeat > RUNS_MAX)
		return err_set(e, ERR_TROUBLE, "%u runs, expected 1 to %d", repeat, RUNS_MAX);
	fprintf(out, "pair      ours    theirs    theirs / ours\n");
	for (unsigned i = 0; i < repeat; i++) {
		fflush(out);
		if (shell(ours, &a, e) || shell(theirs, &b, e))
			return -1;
		ratio[i] = b / a;
		fprintf(out, "%4u %8.3f s %8.3f s %10.3f\n", i + 1, a, b, ratio[i]);
	}
	settle(&r, ratio, repeat);
	fprintf(out, "median %34.3f  (%.3f to %.3f)\n", r.median, r.low, r.high);
	return 0;
}
