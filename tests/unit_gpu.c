/*
 * Models on a device against the same models on the host: what is taken is what was planned, the
 * tokens are the same, wherever the layers are split, alone or several at once; and when a call
 * of the driver fails, whichever it is, there is one message and nothing is left.
 *
 * The device is the stand-in of tests/cuda, on which the kernels' own source runs; with
 * BITNET_TEST_DEVICE=cuda:0 it is a real one.
 */
#include "unit.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>

#include "cuda/cuda.h"
#include "cuda_driver.h"
#include "forecast.h"
#include "leaks/preload/cuda.h"
#include "session.h"

#define MODEL "tests/data/golden/b158-flt-i2s.gguf"

static const char *device;
static struct {
	void (*fail_at)(uint64_t n);
	uint64_t (*calls)(void);
	const char *(*failed)(void);
	uint64_t (*live)(enum kind k);
} standin; /* NULLs: a real device */

struct model {
	struct gguf g;
	struct session *s;
};

static int model_open(struct model *m, const char *path, const char *where,
                      const struct plan_options *p, struct err *e)
{
	struct session_options o = {.plan = *p, .device = where, .check = 1};

	memset(m, 0, sizeof *m);
	return gguf_open(&m->g, path, 0, e) || session_open(&m->s, &m->g, &o, e) ? -1 : 0;
}

static void model_close(struct model *m)
{
	session_close(m->s);
	gguf_close(&m->g);
}

static uint64_t left(void)
{
	uint64_t sum = 0;

	for (int k = 0; standin.live && k < KINDS; k++)
		sum += standin.live((enum kind)k);
	return sum;
}

/* ---- memory ---- */

static int differs(const char *path, const struct plan_options *p)
{
	struct forecast_options fo = {.plan = *p};
	struct forecast f;
	struct model m;
	struct err e = {0};
	uint64_t sum = 0;
	int bad = 0;

	if (model_open(&m, path, device, p, &e) || forecast_make(&f, &m.g, &fo, &e)) {
		printf("# %s: %s\n", path, e.text);
		model_close(&m);
		return 1;
	}
	for (int i = 0; i < PLAN_REGIONS; i++) {
		const struct plan_region *r = &session_memory(m.s)->region[i];

		if (i != PLAN_VOCAB &&
		    (f.region[i].bytes != r->bytes || f.region[i].device != r->device)) {
			printf("# %s: %s: %llu and %llu, taken %llu and %llu\n", path, r->name,
			       (unsigned long long)f.region[i].bytes,
			       (unsigned long long)f.region[i].device, (unsigned long long)r->bytes,
			       (unsigned long long)r->device);
			bad = 1;
		}
		sum += r->device;
	}
	if (standin.live) {
		bad |= standin.live(DEVICE) != sum;
		bad |= standin.live(PINNED) != session_memory(m.s)->region[PLAN_STAGING].bytes;
	}
	forecast_free(&f);
	model_close(&m);
	return bad || left();
}

static void a_device_gives_what_was_planned(void)
{
	static const char *const model[] = {MODEL, "tests/data/golden/llama-f16-f16.gguf",
	                                    "tests/data/golden/b158-q4k-tq2.gguf",
	                                    "tests/data/shakespeare.gguf"};
	static const enum dtype kv[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_F32};
	static const uint32_t layers[] = {1, 2, PLAN_DEVICE_ALL};

	for (unsigned i = 0; i < 4 * 3 * 3; i++) {
		struct plan_options p = {.ctx = 100 + i, .threads = 1};

		p.k_type = kv[i / 4 % 3];
		p.v_type = kv[i / 4 % 3];
		p.device_layers = layers[i / 12];
		p.sequences = i % 5 + 1;
		p.ubatch = i % 3 * 20;
		p.screen = i % 2;
		CHECK(!differs(model[i % 4], &p));
	}
}

static void what_does_not_fit_is_refused_by_region(void)
{
	struct plan_options p = {
	    .ctx = UINT32_C(1) << 30, .threads = 1, .device_layers = PLAN_DEVICE_ALL};
	struct model m;
	struct err e = {0};

	CHECK(model_open(&m, MODEL, device, &p, &e) == -1);
	CHECK_INT(e.status, ERR_TROUBLE);
	CHECK(strstr(e.text, "cuda:0: kv.k: the plan needs ") == e.text);
	model_close(&m);
	CHECK_INT(left(), 0);
}

/* ---- tokens ---- */

#define TOKENS 6

/* The greedy tokens behind a prompt; with top, from the device's own choice. */
static int greedy(struct model *m, const int32_t *ids, size_t n, size_t want, int32_t *out,
                  size_t tokens, struct err *e)
{
	struct sample_candidate c[64];
	const float *row;
	uint32_t vocab = session_arch(m->s)->n_vocab;

	session_rewind(m->s, 0, 0);
	session_expect(m->s, want);
	if (session_eval(m->s, 0, ids, n, e))
		return -1;
	for (size_t i = 0; i < tokens; i++) {
		int found = want ? session_top(m->s, i ? 0 : n - 1, want, c, e) : 0;

		if (found < 0 || (!found && session_logits(m->s, i ? 0 : n - 1, 1, &row, e)))
			return -1;
		out[i] = found ? c[0].id : 0;
		for (uint32_t k = 1; !found && k < vocab; k++)
			if (row[k] > row[out[i]])
				out[i] = (int32_t)k;
		if (session_eval(m->s, 0, &out[i], 1, e))
			return -1;
	}
	return 0;
}

static const int32_t prompt[] = {7, 100, 33, 250, 18, 66, 2};
#define PROMPT (sizeof prompt / sizeof *prompt)

static void same_tokens(const char *path, const struct plan_options *p)
{
	struct plan_options host = *p;
	struct model a, b;
	struct err e = {0};
	int32_t want[TOKENS], got[TOKENS];

	host.device_layers = 0;
	CHECK(!model_open(&a, path, NULL, &host, &e) &&
	      !greedy(&a, prompt, PROMPT, 0, want, TOKENS, &e));
	CHECK(!model_open(&b, path, device, p, &e));
	for (size_t top = 0; b.s && top < 3; top++) {
		if (greedy(&b, prompt, PROMPT, top * top * top, got, TOKENS, &e)) {
			printf("# %s: %s\n", path, e.text);
			unit_bad++;
		} else if (memcmp(want, got, sizeof want) != 0) {
			printf("# %s: %u layers on the device, %zu wanted: other tokens\n", path,
			       p->device_layers, top);
			unit_bad++;
		}
	}
	model_close(&a);
	model_close(&b);
}

static void tokens_are_those_of_the_host_wherever_it_is_split(void)
{
	static const uint32_t layers[] = {1, 2, PLAN_DEVICE_ALL};

	for (unsigned i = 0; i < 6; i++) {
		struct plan_options p = {.ctx = 64,
		                         .threads = 1,
		                         .device_layers = layers[i % 3],
		                         .k_type = i < 3 ? DTYPE_F16 : DTYPE_Q8_0,
		                         .v_type = i < 3 ? DTYPE_F16 : DTYPE_Q8_0,
		                         .screen = i % 2};

		same_tokens(MODEL, &p);
	}
	struct plan_options p = {.ctx = 64, .threads = 1, .device_layers = PLAN_DEVICE_ALL};
	same_tokens("tests/data/golden/llama-f16-f16.gguf", &p);
	same_tokens("tests/data/golden/llama-h4-tq1.gguf", &p);
	same_tokens("tests/data/golden/b158-q4k-tq2.gguf", &p);
}

/* Each of several sequences at once goes on as it would alone. */
static void batches(const char *where, int exact)
{
	enum { N = 3, STEPS = 5 };
	struct plan_options p = {.ctx = 64,
	                         .threads = 2,
	                         .sequences = N,
	                         .logits_rows = N,
	                         .device_layers = where ? PLAN_DEVICE_ALL : 0};
	uint32_t vocab, seq[N] = {2, 0, 1};
	struct model one = {0}, all = {0};
	struct err e = {0};
	double worst = 0;

	if (model_open(&one, MODEL, where, &p, &e) || model_open(&all, MODEL, where, &p, &e)) {
		printf("# %s\n", e.text);
		unit_bad++;
		goto done;
	}
	vocab = session_arch(one.s)->n_vocab;
	for (uint32_t i = 0; i < N; i++)
		CHECK(!session_eval(one.s, i, prompt, 2 + i, &e) &&
		      !session_eval(all.s, i, prompt, 2 + i, &e));
	for (int step = 0; step < STEPS; step++) {
		int32_t ids[N] = {step + 5, 3 * step, 200 - step};
		const float *rows = NULL, *row = NULL;
		float *kept = malloc(N * vocab * sizeof *kept);

		CHECK(!session_eval_batch(all.s, seq, ids, N, &e) &&
		      !session_logits(all.s, 0, N, &rows, &e));
		if (rows)
			memcpy(kept, rows, N * vocab * sizeof *kept);
		for (int i = 0; rows && i < N; i++) {
			CHECK(!session_eval(one.s, seq[i], &ids[i], 1, &e) &&
			      !session_logits(one.s, 0, 1, &row, &e));
			for (uint32_t k = 0; row && k < vocab; k++)
				worst = fmax(worst, fabs((double)row[k] -
				                         (double)kept[(uint32_t)i * vocab + k]));
		}
		free(kept);
	}
	printf("# %s: several at once are off by %g\n", where ? where : "cpu", worst);
	CHECK(worst <= (exact ? 0 : 1e-3));
	CHECK(session_eval_batch(all.s, (uint32_t[]){1, 1}, (int32_t[]){1, 1}, 2, &e) == -1);
	CHECK_STR(e.text, "sequence 1 is named twice");
done:
	model_close(&one);
	model_close(&all);
}

static void several_at_once_on_the_host(void)
{
	batches(NULL, 1);
}

static void several_at_once_on_the_device(void)
{
	batches(device, 0);
}

/* ---- faults ---- */

/* A load, a prompt and some tokens; -1 with a message when a call failed. */
static int life(const struct plan_options *p, struct err *e)
{
	int32_t out[TOKENS];
	struct model m;
	int status = model_open(&m, MODEL, device, p, e);

	if (!status)
		status = greedy(&m, prompt, 2, 1, out, 2, e);
	if (m.s && session_leave_device(m.s, status ? NULL : e))
		status = -1;
	model_close(&m);
	return status;
}

static void each_call_fails(const struct plan_options *p)
{
	struct err e = {0};

	standin.fail_at(0);
	CHECK(!life(p, &e));
	uint64_t all = standin.calls();
	printf("# %llu calls\n", (unsigned long long)all);
	CHECK(all > 100);
	for (uint64_t n = 1; n <= all; n++) {
		e = (struct err){0};
		standin.fail_at(n);
		int status = life(p, &e);
		const char *call = standin.failed();

		standin.fail_at(0);
		int named = !strncmp(e.text, "cuda:0: ", 8) || !strncmp(e.text, "pinned:0: ", 10);

		if (status != -1 || e.status != ERR_TROUBLE || !call || !named ||
		    !strstr(e.text, "CUDA_ERROR") || strstr(e.text, "cuda:0: cuda:0") ||
		    strchr(e.text, '\n') || left()) {
			printf("# call %llu, %s: %d, '%s', %llu left\n", (unsigned long long)n,
			       call ? call : "none", status, e.text, (unsigned long long)left());
			unit_bad++;
			break;
		}
	}
}

static void whichever_call_fails_all_is_given_back(void)
{
	const struct plan_options all = {.ctx = 64, .threads = 1, .device_layers = PLAN_DEVICE_ALL};
	const struct plan_options some = {.ctx = 64, .threads = 1, .device_layers = 1};

	each_call_fails(&all);
	each_call_fails(&some);
}

/* ---- the device ---- */

static int find(void *lib, const char *name, void *to)
{
	void *p = dlsym(lib, name);

	memcpy(to, &p, sizeof p);
	return !p;
}

/* A library of tests/cuda in place of the system's; NULL: it is not built. */
static void *stand_in(const char *name)
{
	const char *build = getenv("BUILD");
	char path[512];

	snprintf(path, sizeof path, "%s/tests/cuda/%s", build ? build : "build", name);
	return dlopen(path, RTLD_NOW | RTLD_GLOBAL);
}

/* Why there is nothing to test on; NULL: there is. */
static const char *prepare(void)
{
	size_t bytes;
	struct err e = {0};
	static char why[ERR_TEXT];

	if (!cuda_image(&bytes))
		return "built without nvcc";
	device = getenv("BITNET_TEST_DEVICE");
	if (!device) {
		device = "cuda:0";
		void *lib = stand_in("libcuda.so.1");
		if (!lib || !stand_in("libcublas.so.13") ||
		    find(lib, "standin_fail_at", &standin.fail_at) ||
		    find(lib, "standin_calls", &standin.calls) ||
		    find(lib, "standin_failed", &standin.failed) ||
		    find(lib, "standin_live", &standin.live))
			return "the stand-in for a driver is not built here";
	}
	if (cuda_driver(&e))
		return NULL;
	snprintf(why, sizeof why, "%s", e.text);
	return why;
}

#define ON_DEVICE(test)                                                                            \
	do {                                                                                       \
		if (why)                                                                           \
			SKIP(test, why);                                                           \
		else                                                                               \
			RUN(test);                                                                 \
	} while (0)

int main(void)
{
	const char *why = prepare();

	RUN(several_at_once_on_the_host);
	ON_DEVICE(a_device_gives_what_was_planned);
	ON_DEVICE(what_does_not_fit_is_refused_by_region);
	ON_DEVICE(tokens_are_those_of_the_host_wherever_it_is_split);
	ON_DEVICE(several_at_once_on_the_device);
	if (!why && !standin.fail_at)
		why = "a real device does not fail when it is told to";
	ON_DEVICE(whichever_call_fails_all_is_given_back);
	return unit_end();
}
