/*
 * Whole models against the logits that an independent float64 reference gave, on every kernel set
 * of this CPU; and the trained model's loss on text that it has not seen.
 *
 * The cases come from tests/data/golden, and from vectors/logits of $BITNET_SHARED when that is
 * there: manifest.tsv names model, ids, the file of logits, the tolerances, and the tokens that
 * greedy choice gives.  With BITNET_TEST_DEVICE=cuda:0 the device computes in place of the sets.
 */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "io.h"
#include "session.h"
#include "unit.h"
#include "vocab.h"

#define MAX_IDS 64

static const char *kernel; /* the set under test */
static const char *device; /* or the device */
static int dense;          /* weights are loaded so */
static char dir[512];      /* where the cases lie */

struct model {
	struct gguf g;
	struct session *s;
};

static int model_open(struct model *m, const char *path, const struct plan_options *p,
                      struct err *e)
{
	struct session_options o = {
	    .plan = *p, .kernel = device ? NULL : kernel, .device = device, .check = 1};

	o.plan.device_layers = device ? PLAN_DEVICE_ALL : 0;
	o.plan.load = dense ? WEIGHTS_DENSE : WEIGHTS_MMAP;

	memset(m, 0, sizeof *m);
	return gguf_open(&m->g, path, 0, e) || session_open(&m->s, &m->g, &o, e) ? -1 : 0;
}

static void model_close(struct model *m)
{
	session_close(m->s);
	gguf_close(&m->g);
}

/* Logits of every position, (n, n_vocab), computed `step` tokens at a time. */
static float *logits_of(struct model *m, const int32_t *ids, size_t n, size_t step, struct err *e)
{
	size_t v = session_arch(m->s)->n_vocab;
	float *out = malloc(n * v * sizeof *out);

	session_rewind(m->s, 0, 0);
	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		if (session_eval(m->s, 0, ids + i, k, e)) {
			free(out);
			return NULL;
		}
		for (size_t j = 0; j < k; j++) {
			const float *row;
			if (session_logits(m->s, j, 1, &row, e)) {
				free(out);
				return NULL;
			}
			memcpy(out + (i + j) * v, row, v * sizeof *row);
		}
	}
	return out;
}

struct golden {
	char file[128], ids[512], logits[128], greedy[128];
	int vocab;
	double tol_abs, tol_rel;
};

/* Columns: file arch type act kv ids logits vocab tol_abs tol_rel ... */
static int read_row(char *line, struct golden *g)
{
	char *c[16];
	int n = 0;

	for (char *p = line; n < 16 && p; n++) {
		c[n] = p;
		p = strchr(p, '\t');
		if (p)
			*p++ = 0;
	}
	if (n < 10)
		return -1;
	snprintf(g->file, sizeof g->file, "%s", c[0]);
	snprintf(g->ids, sizeof g->ids, "%s", c[5]);
	snprintf(g->logits, sizeof g->logits, "%s", c[6]);
	g->vocab = atoi(c[7]);
	g->tol_abs = atof(c[8]);
	g->tol_rel = atof(c[9]);
	snprintf(g->greedy, sizeof g->greedy, "%s", n > 10 ? c[10] : "");
	return 0;
}

static size_t read_ids(const char *s, int32_t *ids)
{
	size_t n = 0;
	char *end;

	for (long id = strtol(s, &end, 10); end != s && n < MAX_IDS; id = strtol(s, &end, 10)) {
		ids[n++] = (int32_t)id;
		s = end;
	}
	return n;
}

/* How far got is from the row's logits, as a share of the tolerance: at most 1 passes. */
static double distance(const struct golden *g, const float *got, size_t n)
{
	char path[1024], *raw;
	size_t bytes;
	double worst = 0;

	snprintf(path, sizeof path, "%s/%s", dir, g->logits);
	if (io_slurp(path, 1 << 24, &raw, &bytes, NULL) ||
	    bytes != n * (size_t)g->vocab * sizeof(float))
		return INFINITY;
	for (size_t p = 0; p < n; p++) {
		double num = 0, den = 0;
		for (int i = 0; i < g->vocab; i++) {
			float want;
			memcpy(&want, raw + (p * (size_t)g->vocab + (size_t)i) * 4, 4);
			double d = (double)got[p * (size_t)g->vocab + (size_t)i] - (double)want;
			if (!isfinite(d))
				worst = INFINITY;
			worst = fmax(worst, fabs(d) / g->tol_abs);
			num += d * d;
			den += (double)want * (double)want;
		}
		worst = fmax(worst, sqrt(num / den) / g->tol_rel);
	}
	free(raw);
	return worst;
}

/* One model and prompt against all of its rows: the nearest one counts. */
static void one_case(const struct golden *rows, size_t n_rows, enum dtype kv)
{
	char path[1024];
	struct model m;
	struct err e = {0};
	int32_t ids[MAX_IDS];
	size_t n = read_ids(rows->ids, ids);
	struct plan_options o = {.ctx = 64, .threads = 2, .k_type = kv, .v_type = kv};
	double best = INFINITY;

	snprintf(path, sizeof path, "%s/%s", dir, rows->file);
	float *got = model_open(&m, path, &o, &e) ? NULL : logits_of(&m, ids, n, 64, &e);
	for (size_t i = 0; got && i < n_rows; i++)
		best = fmin(best, distance(&rows[i], got, n));
	if (!(best <= 1)) {
		printf("# %s%s: %s, %zu tokens, cache %s: %.2f times the tolerance %s\n",
		       device ? device : kernel, dense ? ", dense" : "", path, n,
		       dtype_get(kv)->name, best, e.text);
		unit_bad++;
	}
	free(got);
	model_close(&m);
}

/* The tokens that follow, each the greatest. */
static void one_greedy(const struct golden *row)
{
	char path[1024];
	struct model m;
	struct err e = {0};
	int32_t ids[MAX_IDS], want[MAX_IDS], id;
	size_t n = read_ids(row->ids, ids), tokens = read_ids(row->greedy, want), wrong = 0;
	struct plan_options o = {.ctx = 64, .threads = 2, .k_type = DTYPE_F32, .v_type = DTYPE_F32};
	struct sample_candidate best;
	const float *logits;

	snprintf(path, sizeof path, "%s/%s", dir, row->file);
	int failed = model_open(&m, path, &o, &e);
	if (!failed) {
		session_expect(m.s, 1);
		failed = session_eval(m.s, 0, ids, n, &e);
	}
	for (size_t i = 0; i < tokens && !failed; i++) {
		size_t at = i ? 0 : n - 1;
		int found = session_top(m.s, at, 1, &best, &e);

		failed = found < 0 || (!found && session_greatest(m.s, at, 1, 1, &logits, &e));
		id = found > 0 ? best.id : 0;
		for (int k = 1; !failed && !found && k < row->vocab; k++)
			if (logits[k] > logits[id])
				id = k;
		wrong += id != want[i];
		failed = failed || session_eval(m.s, 0, &want[i], 1, &e);
	}
	if (failed || wrong) {
		printf("# %s: %s: %zu of %zu greedy tokens differ %s\n", device ? device : kernel,
		       path, wrong, tokens, e.text);
		unit_bad++;
	}
	model_close(&m);
}

static void cases(void)
{
	struct golden rows[16], row;
	size_t n_rows = 0, seen = 0;
	char path[600], line[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/manifest.tsv", dir);
	f = fopen(path, "r");
	CHECK(f != NULL);
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "file\t", 5) || read_row(line, &row))
			continue;
		if (n_rows &&
		    (strcmp(row.file, rows[0].file) != 0 || strcmp(row.ids, rows[0].ids) != 0)) {
			one_case(rows, n_rows, DTYPE_F16);
			one_case(rows, n_rows, DTYPE_F32);
			if (rows[0].greedy[0])
				one_greedy(&rows[0]);
			n_rows = 0;
			seen++;
		}
		if (n_rows < 16)
			rows[n_rows++] = row;
	}
	if (n_rows) {
		one_case(rows, n_rows, DTYPE_F16);
		one_case(rows, n_rows, DTYPE_F32);
		seen++;
	}
	CHECK(seen > 0);
	if (f)
		fclose(f);
}

/* The same bits whatever the chunk, the number of threads and how weights are loaded. */
static void same_bits(const char *file)
{
	int32_t ids[40];
	char path[1024];
	float *want = NULL;
	int loads = !device && kernels_get(kernel)->mul_strips ? 2 : 1;

	for (int i = 0; i < 40; i++)
		ids[i] = (i * 37 + 11) % 256;
	snprintf(path, sizeof path, "tests/data/%s", file);
	for (int i = 0; i < 3 * loads; i++) {
		static const size_t steps[] = {40, 1, 7, 16};
		int threads = i % 3 + 1;
		struct plan_options o = {.ctx = 64, .threads = threads};
		struct model m;
		struct err e = {0};

		dense = i >= 3;
		CHECK(model_open(&m, path, &o, &e) == 0);
		size_t bytes = m.s ? 40 * session_arch(m.s)->n_vocab * sizeof(float) : 0;
		for (size_t k = 0; m.s && k < sizeof steps / sizeof *steps; k++) {
			float *got = logits_of(&m, ids, 40, steps[k], &e);
			if (!want) {
				want = got;
				continue;
			}
			if (!got || memcmp(got, want, bytes) != 0) {
				printf("# %s%s: %s: %d threads, steps of %zu: other bits\n", kernel,
				       dense ? ", dense" : "", file, threads, steps[k]);
				unit_bad++;
			}
			free(got);
		}
		model_close(&m);
	}
	dense = 0;
	free(want);
}

static void chunks_and_threads(void)
{
	same_bits("shakespeare.gguf");
	same_bits("golden/b158-q4k-tq2.gguf");
	same_bits("golden/llama-h4-tq1.gguf");
}

static void each_kernel_set(void (*test)(void))
{
	const struct kernels *k;
	int runs;

	if (device) {
		test();
		return;
	}
	for (size_t i = 0; (k = kernels_at(i, &runs)); i++)
		if (runs) {
			kernel = k->name;
			test();
		}
}

/* With the weights where they lie, then dense, where the set computes with them. */
static void cases_of_each_load(void)
{
	cases();
	dense = !device && kernels_get(kernel)->mul_strips;
	if (dense)
		cases();
	dense = 0;
}

static void golden_logits(void)
{
	snprintf(dir, sizeof dir, "tests/data/golden");
	each_kernel_set(cases_of_each_load);
}

static void shared_logits(void)
{
	each_kernel_set(cases_of_each_load);
}

static void chunk_and_thread_invariance(void)
{
	each_kernel_set(chunks_and_threads);
}

static double loss_at(const float *logits, size_t n, int32_t id)
{
	double top = -INFINITY, sum = 0;

	for (size_t i = 0; i < n; i++)
		top = fmax(top, (double)logits[i]);
	for (size_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - top);
	return top + log(sum) - (double)logits[id];
}

static double expected(const char *key)
{
	json_t *j = json_load_file("tests/data/shakespeare.json", 0, NULL);
	double v = json_number_value(json_object_get(j, key));

	json_decref(j);
	return v;
}

/* Windows of 256 tokens; within each, every token but the first is predicted. */
static void held_out_loss(void)
{
	struct plan_options o = {.ctx = 256, .threads = 2};
	struct model m;
	struct vocab *v = NULL;
	struct ids ids = {0};
	struct err e = {0};
	char *text;
	size_t n, count = 0;
	double sum = 0;

	kernel = NULL;
	CHECK(io_slurp("tests/data/shakespeare-held-out.txt", 1 << 20, &text, &n, &e) == 0);
	CHECK(model_open(&m, "tests/data/shakespeare.gguf", &o, &e) == 0);
	CHECK(vocab_open(&v, &m.g, NULL, &e) == 0);
	struct vocab_text t = {text, n, 0};
	CHECK(vocab_encode(v, &t, 1, 0, &ids, &e) == 0);
	CHECK(ids.n >= 4096);
	size_t vocab = session_arch(m.s)->n_vocab;
	for (size_t w = 0; w + 256 <= 4096; w += 256) {
		float *rows = logits_of(&m, ids.v + w, 256, 256, &e);
		CHECK(rows != NULL);
		for (size_t i = 0; rows && i < 255; i++, count++)
			sum += loss_at(rows + i * vocab, vocab, ids.v[w + i + 1]);
		free(rows);
	}
	double loss = sum / (double)count;
	double want = expected("first_4096_tokens_nats_per_token");
	printf("# held-out loss %.6f, reference %.6f\n", loss, want);
	CHECK(fabs(loss - want) <= expected("tolerance_nats_per_token"));
	ids_free(&ids);
	vocab_close(v);
	model_close(&m);
	free(text);
}

int main(void)
{
	const char *shared = getenv("BITNET_SHARED");

	device = getenv("BITNET_TEST_DEVICE");
	RUN(golden_logits);
	snprintf(dir, sizeof dir, "%s/vectors/logits", shared ? shared : "../shared");
	if (getenv("VALGRIND"))
		SKIP(shared_logits, "tests/data/golden has each kind of model");
	else if (access(dir, R_OK) == 0)
		RUN(shared_logits);
	else
		SKIP(shared_logits, "no shared vectors");
	if (device)
		return unit_end();
	if (getenv("VALGRIND")) {
		SKIP(invariance_and_loss, "the models above ran, and these take minutes");
		return unit_end();
	}
	RUN(chunk_and_thread_invariance);
	RUN(held_out_loss);
	return unit_end();
}
