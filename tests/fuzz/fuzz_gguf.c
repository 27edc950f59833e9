/*
 * Fuzz target: any bytes as a GGUF header.  They are read as a whole file and as a header without
 * data; what is accepted is planned, in several types and with several caches, the plan is written
 * in every form, with advice, and the tokenizer is opened where it is small.
 */
#include <stdint.h>
#include <stdlib.h>

#include "emit.h"
#include "forecast_report.h"
#include "vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void plan(const struct gguf *g, const struct forecast_options *o)
{
	struct forecast f;
	struct err e = {0};

	if (forecast_make(&f, g, o, &e))
		return;
	/* Totals are sums of regions. */
	uint64_t sum = 0;
	for (int i = 0; i < FORECAST_REGIONS; i++)
		sum += f.region[i].bytes;
	if (sum != f.total.reserved)
		abort();
	forecast_free(&f);
}

/* Every form of a plan that does not fit, so that there is advice. */
static void report(const struct gguf *g, const struct forecast *f, struct solve *s)
{
	static FILE *null;
	struct forecast_report_options o = {
	    .layers = 1, .tensors = 1, .explain = 1, .bars = 1, .width = 80};
	struct forecast_report r = {.file = "a\n\xff", .g = g, .f = f, .budget = s->budget};
	struct advice advice;
	struct err e = {0};

	if (!null)
		null = fopen("/dev/null", "w");
	if (!advise(&advice, s, f, FMT_SI, &e))
		r.advice = &advice;
	forecast_report_text(&r, &o, null);
	forecast_report_verdict(&r, FMT_BYTES, null);
	json_t *j = forecast_report_json(&r, &o);
	if (!j)
		abort();
	json_decref(j);
	for (int form = 0; form < 4; form++)
		emit(&r, form, null, &e);
}

static void plan_all(const struct gguf *g)
{
	static const enum dtype kv[] = {DTYPE_F16, DTYPE_Q8_0};
	struct forecast f;
	struct err e = {0};
	struct budget budget;
	struct solve s = {.g = g, .type = DTYPE_TQ1_0, .embed = DTYPE_Q8_0, .budget = &budget};

	budget_fixed(&budget, "little", 1 << 20);

	for (size_t i = 0; i < 2; i++) {
		struct forecast_options o = {.plan = {.ctx = i ? PLAN_CTX_ALL : 300,
		                                      .sequences = 1 + (uint32_t)i,
		                                      .k_type = kv[i],
		                                      .v_type = DTYPE_F16}};
		plan(g, &o);
		o.plan.device_layers = i ? PLAN_DEVICE_ALL : 2;
		plan(g, &o);
	}
	if (solve_forecast(&s, &s.o, &f, NULL, &e))
		return;
	if (f.layers < 64 && g->n_tensors < 500)
		report(g, &f, &s);
	forecast_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct gguf g;
	struct vocab *v = NULL;
	struct err e = {0};

	if (!gguf_parse(&g, data, n, 0, &e))
		gguf_close(&g);
	if (gguf_parse(&g, data, n, GGUF_HEADER_ONLY, &e))
		return 0;
	plan_all(&g);
	if (n < 65536 && !vocab_open(&v, &g, NULL, &e))
		vocab_close(v);
	gguf_close(&g);
	return 0;
}
