/* The built-in workloads: what they are called, that their steps pass, and that two steps leave no
 * more behind than one.  With names of workloads only these run. */
#include "workload.h"

#include "mem.h"
#include "unit.h"

static uint64_t held(void)
{
	uint64_t sum = 0;

	for (int t = 0; t < MEM_TAGS; t++)
		sum += mem_live((enum mem_tag)t);
	return sum;
}

static void names(void)
{
	size_t n = 0;

	while (workload_get(n)) {
		CHECK(workload_find(workload_get(n)->name) == workload_get(n));
		CHECK(workload_get(n)->steps >= 20);
		n++;
	}
	CHECK_INT(n, 7);
	CHECK(workload_find("nothing") == NULL);
}

static void unknown(void)
{
	const struct workload_options o = {0};
	struct workload *w;
	struct err e = {0};

	CHECK_INT(workload_init(&w, "nothing", &o, &e), -1);
	CHECK_STR(e.text, "no workload is called nothing");
	CHECK_INT(e.status, ERR_TROUBLE);
}

static void missing_model(void)
{
	const struct workload_options o = {.model = "/nonexistent.gguf"};
	const uint64_t before = held();
	struct workload *w;
	struct err e = {0};

	CHECK_INT(workload_init(&w, "load", &o, &e), -1);
	CHECK(strstr(e.text, "/nonexistent.gguf") != NULL);
	CHECK_INT(held(), before);
}

/* Failures that one step provoked; -1 when the workload is skipped here. */
static int steps(const char *name)
{
	const struct workload_options o = {.model = "tests/data/shakespeare.gguf", .seed = 1};
	const uint64_t before = held();
	struct workload *w;
	unsigned failures = 0;
	struct err e = {0};
	int r = workload_init(&w, name, &o, &e);

	if (r == WORKLOAD_SKIP) {
		printf("# %s: %s\n", name, e.text);
		CHECK_INT(held(), before);
		return -1;
	}
	CHECK_INT(r, 0);
	uint64_t after[3] = {0};
	for (int i = 0; r == 0 && i < 3; i++) {
		r = workload_step(w, &failures, &e);
		after[i] = held();
	}
	if (r != 0)
		printf("# %s: %s\n", name, e.text);
	CHECK_INT(r, 0);
	CHECK_INT(after[2], after[1]);
	workload_fini(w);
	CHECK_INT(held(), before);
	return (int)failures;
}

static void quantize(void)
{
	CHECK_INT(steps("quantize"), 0);
}

static void load(void)
{
	CHECK_INT(steps("load"), 0);
}

static void infer(void)
{
	CHECK_INT(steps("infer"), 0);
}

static void errors(void)
{
	CHECK(steps("errors") >= 20); /* a dozen of them allocations */
}

static void stress(void)
{
	CHECK_INT(steps("stress"), 0);
}

static void tokenizer(void)
{
	CHECK_INT(steps("tokenizer"), 0);
}

static void gpu(void)
{
	int failures = steps("gpu");

	CHECK(failures == -1 || failures == 1);
}

static int wanted(const char *name, char **names)
{
	if (!*names)
		return 1;
	while (*names)
		if (strcmp(*names++, name) == 0)
			return 1;
	return 0;
}

#define SELECT(test)                                                                               \
	do {                                                                                       \
		if (wanted(#test, argv + 1))                                                       \
			RUN(test);                                                                 \
	} while (0)

int main(int argc, char **argv)
{
	(void)argc;
	SELECT(names);
	SELECT(unknown);
	SELECT(missing_model);
	SELECT(quantize);
	SELECT(load);
	SELECT(infer);
	SELECT(errors);
	SELECT(stress);
	SELECT(tokenizer);
	SELECT(gpu);
	return unit_end();
}
