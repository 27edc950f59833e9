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

static void say_sizes(struct advice *a, const struct forecast *f)
{
	char x[FMT_SIZE], y[FMT_SIZE];
	uint64_t need = forecast_need(f), private = 0;

	for (int i = 0; i < FORECAST_REGIONS; i++)
		if (f->region[i].kind == PLAN_PRIVATE)
	private += f->region[i].full;
	say(a, "ram.minimum", need, "RAM at least %s: charged with %u tokens stored",
	    fmt_size(x, need), f->fill);
	say(a, "ram.comfortable", need + COMFORT,
	    "RAM comfortable %s: the same and %s for the system", fmt_size(x, need + COMFORT),
	    fmt_size(y, COMFORT));
	say(a, "swap", private,
	    "swap of at most %s is of use: only private memory goes there, mapped weights need "
	    "none",
	    fmt_size(x, private));
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
	char x[FMT_SIZE];

	if (!f->computed)
		return 0;
	o.device = 1;
	o.device_layers = f->layers + 1;
	if (!o.device_overhead)
		o.device_overhead = FORECAST_DEVICE_OVERHEAD;
	if (forecast_make(&all, s->g, &o, e))
		return -1;
	say(a, "device.all", all.total.device,
	    "device memory %s holds all layers and the head, driver included",
	    fmt_size(x, all.total.device));
	forecast_free(&all);
	return 0;
}

/* Says what a changed option saves, when it saves something; *enough when it alone fits. */
static void say_change(struct advice *a, const struct solve *s, const struct forecast *f,
                       const struct forecast *other, const char *what, const char *option)
{
	uint64_t now = forecast_need(f), then = forecast_need(other);
	char x[FMT_SIZE], y[FMT_SIZE];

	if (then >= now)
		return;
	say(a, what, now - then, "%s saves %s: %s is left%s", option, fmt_size(x, now - then),
	    fmt_size(y, then), solve_exceeded(s, other) ? "" : ", which fits");
}

static int try_options(struct advice *a, const struct solve *s, const struct forecast *f,
                       const struct forecast_options *o, const char *what, const char *option,
                       struct err *e)
{
	struct forecast other;
	struct err ignored = {0};

	/* A type that the heads do not fit is no advice. */
	if (forecast_make(&other, s->g, o, &ignored))
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

	with.embed = DTYPE_Q6_K;
	if (s->embed || solve_as_type(&with, DTYPE_NONE, &other, &refused, e))
		return s->embed ? 0 : -1;
	if (!refused)
		say_change(a, s, f, &other, "embed-type",
		           "tables of embeddings in q6_k (bitnet-quantize)");
	forecast_free(&other);
	return 0;
}

/* What to change when it does not fit. */
static int say_changes(struct advice *a, const struct solve *s, const struct forecast *f,
                       struct err *e)
{
	struct forecast_options o = s->o;
	uint32_t ctx, layers;
	int none;
	char option[80];

	if (solve_ctx(s, &ctx, e))
		return -1;
	if (ctx && ctx < f->options.ctx) {
		o.plan.ctx = ctx;
		snprintf(option, sizeof option, "-c %u", ctx);
		if (try_options(a, s, f, &o, "ctx-size", option, e))
			return -1;
		o = s->o;
	}
	o.plan.k_type = o.plan.v_type = DTYPE_Q8_0;
	if (try_options(a, s, f, &o, "kv-type", "-k q8_0", e))
		return -1;
	o = s->o;
	o.plan.ubatch = 64;
	if (f->options.ubatch > 64 && try_options(a, s, f, &o, "ubatch-size", "-u 64", e))
		return -1;
	if (try_tables(a, s, f, e))
		return -1;
	if (s->device_bytes && f->total.device > s->device_bytes) {
		if (solve_device_layers(s, &layers, &none, e))
			return -1;
		if (!none)
			say(a, "gpu-layers", layers, "-g %u is what the device holds", layers);
	}
	return 0;
}

int advise(struct advice *a, const struct solve *s, const struct forecast *f, struct err *e)
{
	memset(a, 0, sizeof *a);
	say_sizes(a, f);
	say_context(a, f);
	if (say_device(a, s, f, e))
		return -1;
	return solve_exceeded(s, f) ? say_changes(a, s, f, e) : 0;
}
