#include "solve.h"

#include <string.h>

const char *solve_exceeded(const struct solve *s, const struct forecast *f)
{
	const struct forecast_totals *t = &f->total;
	const uint64_t need[4] = {t->full, forecast_need(f), t->reserved, t->private};
	const struct budget_source *over = s->budget ? budget_exceeded(s->budget, need) : NULL;

	if (over)
		return over->name;
	return s->device_bytes && t->device > s->device_bytes ? "device memory" : NULL;
}

/* 1: fits, 0: does not, -1: error. */
static int fits(const struct solve *s, const struct gguf *g, const struct forecast_options *o,
                struct err *e)
{
	struct forecast f;

	if (forecast_make(&f, g, o, e))
		return -1;
	int r = !solve_exceeded(s, &f);
	forecast_free(&f);
	return r;
}

/* The largest v in [low, high] with which it fits; low - 1 when none does.  put() sets v. */
static int largest(const struct solve *s, uint32_t low, uint32_t high,
                   void (*put)(struct forecast_options *o, uint32_t v), uint32_t *out,
                   struct err *e)
{
	struct forecast_options o = s->o;
	int64_t good = (int64_t)low - 1, bad = (int64_t)high + 1, v = high;

	while (bad - good > 1) {
		put(&o, (uint32_t)v);
		int r = fits(s, s->g, &o, e);
		if (r < 0)
			return -1;
		if (r)
			good = v;
		else
			bad = v;
		v = good + (bad - good) / 2;
	}
	*out = (uint32_t)(good < low ? 0 : good);
	return good < low;
}

static void put_ctx(struct forecast_options *o, uint32_t v)
{
	o->plan.ctx = v;
}

static void put_batch(struct forecast_options *o, uint32_t v)
{
	o->plan.sequences = v;
}

static void put_ubatch(struct forecast_options *o, uint32_t v)
{
	o->plan.ubatch = v;
}

static void put_device(struct forecast_options *o, uint32_t v)
{
	o->device = 1;
	o->device_layers = v;
}

/* The model's own sizes, which bound what is asked for. */
static int bounds(const struct solve *s, struct forecast *f, struct err *e)
{
	struct forecast_options o = s->o;

	put_ctx(&o, PLAN_CTX_STEP);
	o.plan.sequences = o.plan.ubatch = 1;
	return forecast_make(f, s->g, &o, e);
}

int solve_ctx(const struct solve *s, uint32_t *out, struct err *e)
{
	struct forecast f;

	if (bounds(s, &f, e))
		return -1;
	uint32_t most = f.shape.n_ctx ? f.shape.n_ctx : PLAN_CTX;
	forecast_free(&f);
	return largest(s, 1, most, put_ctx, out, e) < 0 ? -1 : 0;
}

int solve_batch(const struct solve *s, uint32_t *out, struct err *e)
{
	return largest(s, 1, 1u << 20, put_batch, out, e) < 0 ? -1 : 0;
}

int solve_ubatch(const struct solve *s, uint32_t *out, struct err *e)
{
	struct forecast f;

	if (forecast_make(&f, s->g, &s->o, e))
		return -1;
	uint32_t most = f.options.ctx;
	forecast_free(&f);
	return largest(s, 1, most, put_ubatch, out, e) < 0 ? -1 : 0;
}

int solve_device_layers(const struct solve *s, uint32_t *out, int *none, struct err *e)
{
	struct forecast f;

	if (bounds(s, &f, e))
		return -1;
	uint32_t most = f.layers + 1;
	forecast_free(&f);
	int r = largest(s, 0, most, put_device, out, e);
	*none = r > 0;
	return r < 0 ? -1 : 0;
}

int solve_kv_type(const struct solve *s, enum dtype *out, struct err *e)
{
	static const enum dtype types[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
	struct forecast_options o = s->o;

	*out = DTYPE_NONE;
	for (size_t i = 0; i < sizeof types / sizeof *types && !*out; i++) {
		o.plan.k_type = o.plan.v_type = types[i];
		int r = fits(s, s->g, &o, e);
		if (r < 0)
			return -1;
		*out = r ? types[i] : DTYPE_NONE;
	}
	return 0;
}

int solve_as_type(const struct solve *s, enum dtype type, struct forecast *f, unsigned *refused,
                  struct err *e)
{
	struct forecast_options o = s->o;
	struct gguf graph, view;
	unsigned ignored;
	int r = -1;

	if (tally_view(&graph, s->g, DTYPE_F16, DTYPE_F16, &ignored, e))
		return -1;
	if (!tally_view(&view, s->g, type, s->embed, refused, e)) {
		o.graph = &graph;
		r = forecast_make(f, &view, &o, e);
		tally_view_end(&view);
	}
	tally_view_end(&graph);
	return r;
}

int solve_type(const struct solve *s, const enum dtype *types, size_t n, enum dtype *out,
               struct err *e)
{
	uint64_t most = 0;

	*out = DTYPE_NONE;
	for (size_t i = 0; i < n; i++) {
		struct forecast f;
		unsigned refused;
		if (solve_as_type(s, types[i], &f, &refused, e))
			return -1;
		if (!refused && !solve_exceeded(s, &f) && f.tally.all.bytes > most) {
			most = f.tally.all.bytes;
			*out = types[i];
		}
		forecast_free(&f);
	}
	return 0;
}
