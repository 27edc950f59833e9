#include "advise.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fmt.h"

/* What the system itself and its caches want beside the model. */
#define COMFORT (UINT64_C(512) << 20)

static void say(struct advice *a, const char *what, uint64_t bytes, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void say(struct advice *a, const char *what, uint64_t bytes, const char *fmt, ...)
{
	struct advice_item *i = &a->item[a->n];
	va_list ap;

	if (a->n == ADVICE_ITEMS)
		return;
	a->n++;
	i->bytes = bytes;
	snprintf(i->what, sizeof i->what, "%s", what);
	va_start(ap, fmt);
	vsnprintf(i->text, sizeof i->text, fmt, ap);
	va_end(ap);
}

/* Private pages that swap can take: huge and locked ones it cannot. */
static uint64_t swappable(const struct forecast *f)
{
	uint64_t sum = 0;

	for (int i = 0; i < FORECAST_REGIONS; i++)
		if (f->region[i].kind == PLAN_PRIVATE)
			sum += f->region[i].full;
	return sum;
}

static void say_sizes(struct advice *a, const struct forecast *f)
{
	char x[FMT_SIZE], y[FMT_SIZE];
	uint64_t ram = forecast_ram(f), swap = swappable(f);
	const char *lacks = forecast_lacks(f);

	say(a, "ram.minimum", ram, "RAM at least %s%s: charged with %u tokens stored%s%s",
	    fmt_size_as(x, a->units, ram), lacks, f->fill,
	    f->total.cache ? ", less the page cache, which is given back" : "",
	    f->total.huge ? ", and huge pages" : "");
	say(a, "ram.comfortable", ram + COMFORT,
	    "RAM comfortable %s%s: the same and %s for the system",
	    fmt_size_as(x, a->units, ram + COMFORT), lacks, fmt_size_as(y, a->units, COMFORT));
	if (swap)
		say(a, "swap", swap,
		    "swap of at most %s is of use: only private memory goes there, mapped weights "
		    "need none",
		    fmt_size_as(x, a->units, swap));
}

static void say_context(struct advice *a, const struct forecast *f)
{
	if (f->shape.n_ctx && f->options.ctx > f->shape.n_ctx)
		say(a, "context", f->options.ctx,
		    "-c %u is over the %u tokens that the model was made for", f->options.ctx,
		    f->shape.n_ctx);
}

/* What all layers and the head would take on a device. */
static int say_device(struct advice *a, const struct solve *s, const struct forecast *f,
                      struct err *e)
{
	struct forecast_options o = s->o;
	struct forecast all;
	struct err why = {0};
	char x[FMT_SIZE];

	if (!f->computed)
		return 0;
	o.plan.device_layers = f->layers + 1;
	if (!o.device_overhead)
		o.device_overhead = FORECAST_DEVICE_OVERHEAD;
	if (solve_forecast(s, &o, &all, NULL, &why)) {
		if (why.unsupported)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	say(a, "device.all", all.total.device,
	    "device memory %s holds all layers and the head, driver included",
	    fmt_size_as(x, a->units, all.total.device));
	forecast_free(&all);
	return 0;
}

/* Says what a changed option saves, when it saves something; *enough when it alone fits. */
static void say_change(struct advice *a, const struct solve *s, const struct forecast *f,
                       const struct forecast *other, const char *what, const char *option)
{
	uint64_t now = forecast_ram(f), then = forecast_ram(other);
	char x[FMT_SIZE], y[FMT_SIZE];

	if (then >= now)
		return;
	say(a, what, now - then, "%s saves %s: %s is left%s", option,
	    fmt_size_as(x, a->units, now - then), fmt_size_as(y, a->units, then),
	    solve_exceeded(s, other) ? "" : ", which fits");
}

static int try_options(struct advice *a, const struct solve *s, const struct forecast *f,
                       const struct forecast_options *o, const char *what, const char *option,
                       struct err *e)
{
	struct forecast other;
	struct err ignored = {0};

	/* A type that the heads do not fit is no advice. */
	if (solve_forecast(s, o, &other, NULL, &ignored))
		return ignored.status == ERR_TROUBLE ? 0 : (*e = ignored, -1);
	say_change(a, s, f, &other, what, option);
	forecast_free(&other);
	return 0;
}

static int try_tables(struct advice *a, const struct solve *s, const struct forecast *f,
                      struct err *e)
{
	struct solve with = *s;
	struct forecast other;
	unsigned refused;

	if (s->embed)
		return 0;
	with.embed = DTYPE_Q6_K;
	if (solve_forecast(&with, &s->o, &other, &refused, e))
		return -1;
	if (!refused)
		say_change(a, s, f, &other, "embed-type",
		           "tables of embeddings in q6_k (bitnet-quantize)");
	forecast_free(&other);
	return 0;
}

static int try_context(struct advice *a, const struct solve *s, const struct forecast *f,
                       struct err *e)
{
	struct forecast_options o = s->o;
	struct solve_answer best;
	char option[80];

	if (solve(s, SOLVE_CTX, NULL, 0, &best, e))
		return -1;
	if (!best.found || best.number >= f->options.ctx)
		return 0;
	o.plan.ctx = (uint32_t)best.number;
	snprintf(option, sizeof option, "-c %u", o.plan.ctx);
	return try_options(a, s, f, &o, "ctx-size", option, e);
}

static int try_cache_types(struct advice *a, const struct solve *s, const struct forecast *f,
                           struct err *e)
{
	static const enum dtype types[] = {DTYPE_Q8_0, DTYPE_Q4_0};
	static const char *const option[] = {"-k q8_0", "-k q4_0"};
	struct forecast_options o = s->o;

	for (int i = 0; i < 2; i++) {
		o.plan.k_type = o.plan.v_type = types[i];
		if (try_options(a, s, f, &o, "kv-type", option[i], e))
			return -1;
	}
	return 0;
}

/* Layers on the device take their caches off the host. */
static int try_layers(struct advice *a, const struct solve *s, const struct forecast *f,
                      struct err *e)
{
	struct solve device = *s;
	struct forecast_options o = s->o;
	struct solve_answer best;
	char option[80];

	if (!s->device_bytes)
		return 0;
	/* What the device holds is asked, not what the host does. */
	device.budget = NULL;
	if (solve(&device, SOLVE_LAYERS, NULL, 0, &best, e))
		return -1;
	if (!best.found || best.number == 0)
		return 0;
	snprintf(option, sizeof option, "-g %lld", (long long)best.number);
	if (f->total.device > s->device_bytes)
		say(a, "gpu-layers", (uint64_t)best.number, "%s is what the device holds", option);
	o.plan.device_layers = (uint32_t)best.number;
	return s->o.plan.device_layers ? 0 : try_options(a, s, f, &o, "gpu-layers", option, e);
}

/* What to change when it does not fit. */
static int say_changes(struct advice *a, const struct solve *s, const struct forecast *f,
                       struct err *e)
{
	struct forecast_options o = s->o;

	if (try_context(a, s, f, e) || try_cache_types(a, s, f, e))
		return -1;
	o.plan.ubatch = 64;
	if (f->options.ubatch > 64 && try_options(a, s, f, &o, "ubatch-size", "-u 64", e))
		return -1;
	return try_tables(a, s, f, e) || try_layers(a, s, f, e) ? -1 : 0;
}

int advise(struct advice *a, const struct solve *s, const struct forecast *f, enum fmt_units units,
           struct err *e)
{
	memset(a, 0, sizeof *a);
	a->units = units;
	say_sizes(a, f);
	say_context(a, f);
	if (say_device(a, s, f, e))
		return -1;
	return solve_exceeded(s, f) ? say_changes(a, s, f, e) : 0;
}
