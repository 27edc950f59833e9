/*
 * The forecast against sessions that are really opened, over a grid of options; against the sum of
 * its own parts; and limits of memory in a tree of files.
 */
#include "unit.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "budget.h"
#include "forecast.h"
#include "session.h"
#include "solve.h"
#include "vocab.h"

#define MODEL "tests/data/shakespeare.gguf"

static struct gguf g;
static uint64_t vocab;

/* 0 when every region is the same. */
static int differs(const struct plan_options *p)
{
	struct session_options so = {.plan = *p, .vocab_bytes = vocab};
	struct forecast_options fo = {.plan = *p};
	struct session *s = NULL;
	struct forecast f;
	struct err e = {0};
	int bad = 0;

	if (session_open(&s, &g, &so, &e) || forecast_make(&f, &g, &fo, &e)) {
		printf("# %s\n", e.text);
		session_close(s);
		return 1;
	}
	for (int i = 0; i < PLAN_REGIONS; i++)
		bad |= f.region[i].bytes != session_memory(s)->region[i].bytes;
	forecast_free(&f);
	session_close(s);
	return bad;
}

static void sessions_take_what_is_forecast(void)
{
	static const enum dtype kv[][2] = {{DTYPE_F16, DTYPE_F16},
	                                   {DTYPE_F32, DTYPE_BF16},
	                                   {DTYPE_Q8_0, DTYPE_F16},
	                                   {DTYPE_Q4_0, DTYPE_Q8_0}};
	static const uint32_t ctx[] = {0, 1, 65, 1000}, batch[] = {1, 3}, ubatch[] = {0, 1, 17};
	static const enum weights_load load[] = {WEIGHTS_MMAP, WEIGHTS_READ, WEIGHTS_DENSE};
	/* the last one where this CPU computes with them */
	unsigned n = 0, loads = kernels_get(NULL)->mul_strips ? 3 : 2;

	for (unsigned i = 0; i < 4 * 4 * 2 * 3 * 3 * loads; i++) {
		unsigned k = i;
		struct plan_options p = {.logits_rows = 1};
		p.k_type = kv[k % 4][0];
		p.v_type = kv[k % 4][1];
		p.ctx = ctx[(k /= 4) % 4];
		p.sequences = batch[(k /= 4) % 2];
		p.ubatch = ubatch[(k /= 2) % 3];
		p.threads = (int)((k /= 3) % 3 + 1);
		p.load = load[k / 3];
		CHECK(!differs(&p));
		n++;
	}
	CHECK_INT(n, 288 * loads);
}

static void both_rules_of_caches_agree(void)
{
	struct forecast_options o = {.plan = {.ctx = 300, .sequences = 2, .k_type = DTYPE_Q8_0}};
	struct forecast f;
	struct err e = {0};
	uint64_t w, kv, sum = 0;

	CHECK(!forecast_make(&f, &g, &o, &e));
	for (uint32_t i = 0; i < f.layers; i++) {
		forecast_layer(&f, &g, i, &w, &kv);
		sum += kv;
	}
	CHECK_INT(sum, f.region[PLAN_KV_K].bytes + f.region[PLAN_KV_V].bytes);
	forecast_free(&f);
}

static void totals_are_sums_and_grow_with_the_fill(void)
{
	uint64_t last = 0;

	for (uint64_t fill = 0; fill <= 1024; fill += 64) {
		struct forecast_options o = {.has_fill = 1, .fill = fill, .prompt = 8};
		struct forecast f;
		struct err e = {0};
		uint64_t reserved = 0, full = 0, private = 0;
		CHECK(!forecast_make(&f, &g, &o, &e));
		for (int i = 0; i < FORECAST_REGIONS; i++) {
			const struct forecast_region *r = &f.region[i];
			reserved += r->bytes;
			full += r->full;
			private += r->kind == PLAN_PRIVATE ? r->bytes : 0;
			CHECK(r->full <= r->bytes + 4095);
		}
		CHECK_INT(f.total.reserved, reserved);
		CHECK_INT(f.total.full, full);
		CHECK_INT(f.total.private, private);
		CHECK(full >= last);
		last = full;
		forecast_free(&f);
	}
}

static void a_solved_context_is_the_largest(void)
{
	for (uint64_t bytes = 11 << 20; bytes < 15 << 20; bytes += 300001) {
		struct budget b;
		struct solve s = {.g = &g, .budget = &b};
		struct err e = {0};
		struct solve_answer best;
		budget_fixed(&b, "test", bytes);
		CHECK(!solve(&s, SOLVE_CTX, NULL, 0, &best, &e));
		uint32_t n = best.found ? (uint32_t)best.number : 0;
		for (uint32_t i = 0; i < 2; i++) {
			struct forecast_options o = {.plan = {.ctx = n + i}};
			struct forecast f;
			if (n + i == 0 || n + i > 1024)
				continue;
			CHECK(!forecast_make(&f, &g, &o, &e));
			CHECK_INT(forecast_ram(&f) <= bytes, i == 0);
			forecast_free(&f);
		}
	}
}

/* ---- limits ---- */

static char root[] = "/tmp/unit_forecast-XXXXXX";

static void put(const char *path, const char *text)
{
	char name[400];

	snprintf(name, sizeof name, "%s%s", root, path);
	for (char *p = name + strlen(root) + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			mkdir(name, 0777);
			*p = '/';
		}
	FILE *f = fopen(name, "w");
	CHECK(f != NULL);
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static const struct budget_source *source(const struct budget *b, const char *name)
{
	for (unsigned i = 0; i < b->n; i++)
		if (!strcmp(b->source[i].name, name))
			return &b->source[i];
	return NULL;
}

static uint64_t limit(const struct budget *b, const char *name)
{
	const struct budget_source *s = source(b, name);

	return s ? s->bytes : 0;
}

static void limits_are_found_up_the_tree(void)
{
	struct budget b;
	struct err e = {0};
	const uint64_t need[BUDGET_KINDS] = {1000, 2000, 3000, 4000, 5000};

	CHECK(mkdtemp(root) != NULL);
	CHECK(budget_find(&b, root, &e) < 0);
	put("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:       8000 kB\n");
	put("/proc/self/cgroup", "4:memory:/old/group\n3:cpu:/x\n0::/a/b\n");
	put("/sys/fs/cgroup/memory.max", "max\n");
	put("/sys/fs/cgroup/a/memory.max", "700000\n");
	put("/sys/fs/cgroup/a/b/memory.max", "900000\n");
	put("/sys/fs/cgroup/a/b/memory.high", "800000\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/old/group/memory.limit_in_bytes", "600000\n");
	CHECK(!budget_find(&b, root, &e));
	CHECK_INT(limit(&b, "available memory"), 8192000);
	CHECK_INT(limit(&b, "memory.max of cgroup /a"), 700000);
	CHECK_INT(limit(&b, "memory.max of cgroup /a/b"), 900000);
	CHECK_INT(limit(&b, "memory.high of cgroup /a/b"), 800000);
	CHECK_INT(limit(&b, "memory.limit_in_bytes of cgroup /old/group"), 600000);
	CHECK(!source(&b, "memory.max of cgroup /"));
	CHECK(!source(&b, "memory.limit_in_bytes of cgroup /"));
	CHECK_STR(budget_tightest(&b, need)->name, "memory.limit_in_bytes of cgroup /old/group");
	CHECK(!budget_exceeded(&b, need));
	budget_reserve(&b, 599000, 0);
	CHECK_INT(limit(&b, "memory.limit_in_bytes of cgroup /old/group"), 1000);
	CHECK(budget_exceeded(&b, need) != NULL);
	budget_reserve(&b, 0, 50);
	CHECK_INT(limit(&b, "memory.limit_in_bytes of cgroup /old/group"), 500);
}

static void limits_of_the_process_are_found(void)
{
	struct budget b;
	struct err e = {0};
	struct rlimit old, new;

	getrlimit(RLIMIT_DATA, &old);
	new = old;
	new.rlim_cur = UINT64_C(1) << 33;
	CHECK(!setrlimit(RLIMIT_DATA, &new));
	CHECK(!budget_find(&b, "", &e));
	CHECK_INT(limit(&b, "RLIMIT_DATA"), INT64_C(1) << 33);
	setrlimit(RLIMIT_DATA, &old);
}

int main(void)
{
	struct err e = {0};
	char command[sizeof root + 16];

	if (gguf_open(&g, MODEL, 0, &e) || vocab_plan(&g, &vocab, &e)) {
		printf("not ok open # %s\n", e.text);
		return 1;
	}
	RUN(sessions_take_what_is_forecast);
	RUN(both_rules_of_caches_agree);
	RUN(totals_are_sums_and_grow_with_the_fill);
	RUN(a_solved_context_is_the_largest);
	RUN(limits_are_found_up_the_tree);
	RUN(limits_of_the_process_are_found);
	gguf_close(&g);
	snprintf(command, sizeof command, "rm -rf %s", root);
	if (system(command))
		return 1;
	return unit_end();
}
