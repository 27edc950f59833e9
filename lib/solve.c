#include "solve.h"

#include <string.h>

static const char *const names[SOLVE_WHATS] = {"ctx",     "batch", "ubatch",
                                               "kv-type", "type",  "gpu-layers"};

const char *solve_name(enum solve_what what)
{
	return names[what];
}

int solve_opt(void *to, const char *value, struct err *e)
{
	for (int i = 0; i < SOLVE_WHATS; i++)
		if (!strcmp(names[i], value)) {
			*(int *)to = i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE,
	               "'%s' is not one of ctx, batch, ubatch, kv-type, type, gpu-layers", value);
}

void solve_needs(const struct forecast *f, uint64_t need[BUDGET_KINDS])
{
	need[BUDGET_RESIDENT] = need[BUDGET_CHARGED] = forecast_need(f);
	need[BUDGET_RESERVED] = f->total.reserved;
	need[BUDGET_PRIVATE] = f->total.data;
	need[BUDGET_ALL] = forecast_ram(f);
}

const char *solve_exceeded(const struct solve *s, const struct forecast *f)
{
	uint64_t need[BUDGET_KINDS];

	solve_needs(f, need);
	const struct budget_source *over = s->budget ? budget_exceeded(s->budget, need) : NULL;
	if (over)
		return over->name;
	return s->device_bytes && f->total.device > s->device_bytes ? "device memory" : NULL;
}

/* In other types: a view of the tensors, and the graph of one that is computed. */
static int forecast_as(const struct solve *s, const struct forecast_options *options,
                       struct forecast *f, unsigned *refused, struct err *e)
{
	struct forecast_options o = *options;
	struct gguf graph, view;
	unsigned ignored;
	int r = -1;

	if (tally_view(&graph, s->g, DTYPE_F16, DTYPE_F16, &ignored, e))
		return -1;
	if (!tally_view(&view, s->g, s->type, s->embed, refused, e)) {
		o.graph = &graph;
		r = forecast_make(f, &view, &o, e);
		tally_view_end(&view);
	}
	tally_view_end(&graph);
	return r;
}

int solve_forecast(const struct solve *s, const struct forecast_options *o, struct forecast *f,
                   unsigned *refused, struct err *e)
{
	unsigned count = 0;
	int r =
	    s->type || s->embed ? forecast_as(s, o, f, &count, e) : forecast_make(f, s->g, o, e);

	if (refused)
		*refused = count;
	return r;
}

/* 1: fits, 0: does not, -1: error. */
static int fits(const struct solve *s, const struct forecast_options *o, struct solve_answer *out,
                struct err *e)
{
	struct forecast f;
	struct err why = {0};

	if (solve_forecast(s, o, &f, NULL, &why)) {
		/* A device computes fewer types than the host. */
		if (why.unsupported && o->plan.device_layers)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	int r = !solve_exceeded(s, &f);
	out->lacks = forecast_lacks(&f);
	forecast_free(&f);
	return r;
}

static void put(struct forecast_options *o, enum solve_what what, uint32_t v)
{
	if (what == SOLVE_CTX) {
		o->plan.ctx = v;
	} else if (what == SOLVE_BATCH) {
		o->plan.sequences = v;
	} else if (what == SOLVE_UBATCH) {
		o->plan.ubatch = v;
	} else {
		o->plan.device_layers = v;
	}
}

/* The values between which the answer lies: the model bounds what is asked for. */
static int bounds(const struct solve *s, enum solve_what what, uint32_t *low, uint32_t *high,
                  struct err *e)
{
	struct forecast_options o = s->o;
	struct forecast f;

	*low = what != SOLVE_LAYERS;
	*high = 1u << 20;
	if (what == SOLVE_BATCH)
		return 0;
	/* Only where the context itself is not asked for must it be one that can be planned. */
	if (what != SOLVE_UBATCH) {
		o.plan.ctx = PLAN_CTX_STEP;
		o.plan.sequences = o.plan.ubatch = 1;
	}
	if (solve_forecast(s, &o, &f, NULL, e))
		return -1;
	if (what == SOLVE_CTX)
		*high = f.shape.n_ctx ? f.shape.n_ctx : PLAN_CTX;
	else if (what == SOLVE_UBATCH)
		*high = f.options.ctx;
	else
		*high = f.layers + 1;
	forecast_free(&f);
	return 0;
}

/* The largest number with which it fits: good is known to fit, bad not to. */
static int solve_number(const struct solve *s, enum solve_what what, struct solve_answer *out,
                        struct err *e)
{
	struct forecast_options o = s->o;
	uint32_t low, high;

	if (bounds(s, what, &low, &high, e))
		return -1;
	int64_t good = (int64_t)low - 1, bad = (int64_t)high + 1, v = high;
	while (bad - good > 1) {
		put(&o, what, (uint32_t)v);
		int r = fits(s, &o, out, e);
		if (r < 0)
			return -1;
		if (r)
			good = v;
		else
			bad = v;
		v = good + (bad - good) / 2;
	}
	out->found = good >= low;
	out->number = good;
	return 0;
}

static int solve_kv_type(const struct solve *s, struct solve_answer *out, struct err *e)
{
	static const enum dtype types[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
	struct forecast_options o = s->o;

	for (size_t i = 0; i < sizeof types / sizeof *types && !out->found; i++) {
		struct err unfit = {0};
		o.plan.k_type = o.plan.v_type = types[i];
		int r = fits(s, &o, out, i ? &unfit : e);
		/* Heads need not be whole blocks of every type. */
		if (r < 0 && (i == 0 || unfit.status != ERR_TROUBLE))
			return i ? (*e = unfit, -1) : -1;
		out->found = r > 0;
		out->type = types[i];
	}
	return 0;
}

static int solve_type(const struct solve *s, const enum dtype *types, size_t n,
                      struct solve_answer *out, struct err *e)
{
	static const enum dtype usual[] = {DTYPE_F16,   DTYPE_Q8_0, DTYPE_I2_S,
	                                   DTYPE_TQ2_0, DTYPE_TL2,  DTYPE_TQ1_0};
	struct solve as = *s;
	uint64_t most = 0;

	if (!n) {
		types = usual;
		n = sizeof usual / sizeof *usual;
	}
	for (size_t i = 0; i < n; i++) {
		struct forecast f;
		unsigned refused;
		as.type = types[i];
		if (solve_forecast(&as, &s->o, &f, &refused, e))
			return -1;
		out->lacks = forecast_lacks(&f);
		if (!refused && !solve_exceeded(s, &f) && f.tally.all.bytes > most) {
			most = f.tally.all.bytes;
			out->type = types[i];
			out->found = 1;
		}
		forecast_free(&f);
	}
	return 0;
}

int solve(const struct solve *s, enum solve_what what, const enum dtype *types, size_t n,
          struct solve_answer *out, struct err *e)
{
	*out = (struct solve_answer){.lacks = ""};
	if (what == SOLVE_KV_TYPE)
		return solve_kv_type(s, out, e);
	return what == SOLVE_TYPE ? solve_type(s, types, n, out, e) : solve_number(s, what, out, e);
}
