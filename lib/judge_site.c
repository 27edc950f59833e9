#include "judge_site.h"

#include <math.h>
#include <stdio.h>

#include "trend.h"

#define CONFIRM    40            /* samples from which on what is still held may be called growth */
#define LOST_BYTES (64u * 1024u) /* lost in one piece: enough to be told without a second block */
#define NOISE      4096          /* bytes of growth below which noise of sizes is not looked into */

/* How the counts behave. */
struct growth {
	int steady; /* the rule of generations on blocks, or on bytes of blocks that get larger */
	int confirmed;                    /* and so it was at half the length */
	int rare, stairs, noisy, ratchet; /* the other rules */
	int slows;                        /* most of it came in the warm-up */
	int by_size;
};

static int grows(const double *v, uint32_t n, uint32_t from)
{
	return v[n - 1] > v[from];
}

static struct growth measure(const struct site_history *h, int is_bytes)
{
	uint32_t n = h->n, warm = (uint32_t)trend_warm(n);
	struct growth g = {0};

	if (!grows(h->births, n, warm - 1))
		return g;
	g.steady = trend_generations(h->blocks, n);
	if (!g.steady && is_bytes && h->bytes[n - 1] >= 1.25 * h->bytes[warm] &&
	    h->bytes[n - 1] - h->bytes[warm] >= NOISE) {
		g.by_size = trend_generations(h->bytes, n);
		g.steady = g.by_size;
	}
	const double *v = g.by_size ? h->bytes : h->blocks;
	g.confirmed = g.steady && n >= CONFIRM && trend_generations(v, n / 2);
	g.ratchet = trend_ratchet(h->blocks, n);
	g.confirmed |= g.ratchet && n >= CONFIRM;
	g.slows = trend_slows(v, n, g.by_size ? trend_unit(v, n) : 1);
	g.rare = h->live_process_turns_over && trend_rare(h->births, h->deaths, n);
	g.stairs = is_bytes && h->blocks[n - 1] <= 4 && trend_staircase(h->bytes, n);
	if (g.stairs)
		g.by_size = 1;
	/* Requests in flight hide a steady growth from the rule for exact counts. */
	if (!g.steady && n >= CONFIRM)
		g.noisy = trend_adaptive(h->blocks, n, 8, 0.1).verdict == TREND_LEAK ||
		          trend_drifts(h->blocks, n);
	return g;
}

static double share_lost(const struct ledger_site *s)
{
	uint64_t all = s->lost + s->held;

	return all ? (double)s->lost / (double)all : NAN;
}

static int lost_enough(const struct ledger_site *s)
{
	return (s->lost_after_warm >= 2 && s->lost_steps >= 2) ||
	       s->lost_bytes_after_warm >= LOST_BYTES;
}

static int has_pointers(uint32_t kind)
{
	return kind == LEDGER_HEAP || kind == LEDGER_MAP || kind == LEDGER_FILE ||
	       kind == LEDGER_POOL;
}

static int is_device(uint32_t kind)
{
	return kind == LEDGER_DEVICE || kind == LEDGER_PINNED || kind == LEDGER_OBJECT;
}

/* Births in the samples with an error, as a share of all births after the warm-up, against the
 * share of samples with an error. */
static int goes_with_errors(const struct site_history *h)
{
	double with = 0, all = 0, bad = 0, samples = 0;

	if (!h->errors)
		return 0;
	for (uint32_t i = (uint32_t)trend_warm(h->n); i < h->n; i++) {
		double born = h->births[i] - h->births[i - 1] - (h->deaths[i] - h->deaths[i - 1]);
		int failed = h->errors[i] > h->errors[i - 1];
		born = born > 0 ? born : 0;
		all += born;
		samples++;
		bad += failed;
		with += failed ? born : 0;
	}
	return bad > 0 && bad < 0.9 * samples && all > 0 && with >= 0.9 * all;
}

static double births_between(const struct site_history *h, uint32_t a, uint32_t b)
{
	return h->births[b] - h->births[a];
}

/* Which pattern it is; held: what is not lost. */
static enum report_class classify(const struct site_history *h, const struct growth *g, int lost)
{
	const struct ledger_site *s = &h->proc->sites[h->site];
	uint32_t n = h->n, warm = (uint32_t)trend_warm(n), mid = warm + (n - warm) / 2;

	if (is_device(s->kind))
		return CLASS_DEVICE;
	if (goes_with_errors(h))
		return CLASS_ERROR;
	if (g->by_size)
		return CLASS_STACK;
	/* What was there from the beginning and is lost had its pointer overwritten. */
	if (lost)
		return h->births[warm] > 0 ? CLASS_REPLACED : CLASS_STEP;
	if (births_between(h, mid, n - 1) < 0.85 * births_between(h, warm, mid))
		return CLASS_MAP;
	return CLASS_STEP;
}

static void rates(const struct site_history *h, int is_bytes, struct site_verdict *v)
{
	const double *y = is_bytes ? h->bytes : h->blocks;
	uint32_t n = h->n, warm = (uint32_t)trend_warm(n);
	struct trend t = trend_envelope(y, n, (struct trend_rule){0.2, 24, 0, 0});
	double steps = h->steps * (double)(n - 1 - warm);

	/* A slope of medians is 0 for what comes rarely: then the mean tells more. */
	v->per_step = (y[n - 1] - y[warm]) / steps;
	v->lo = fmin(t.lo / h->steps, v->per_step);
	v->hi = fmax(t.hi / h->steps, v->per_step);
	v->blocks_per_step = (h->blocks[n - 1] - h->blocks[warm]) / steps;
}

static enum report_verdict decide(const struct site_history *h, const struct growth *g, int *lost)
{
	const struct ledger_site *s = &h->proc->sites[h->site];
	int any = g->steady || g->rare || g->noisy || g->stairs || g->ratchet;

	*lost = has_pointers(s->kind) && lost_enough(s) && share_lost(s) >= 0.3;
	if (*lost)
		return REPORT_LEAK;
	if (!any)
		return REPORT_CLEAN;
	/* A cache that still fills, or one that was filled: more steps tell. */
	if (g->slows && !g->stairs)
		return g->steady ? REPORT_UNSETTLED : REPORT_CLEAN;
	/* Descriptors, threads and device blocks have no pointers that could be looked for. */
	if (!has_pointers(s->kind))
		return g->confirmed || g->rare || g->noisy ? REPORT_LEAK : REPORT_UNSETTLED;
	return g->confirmed || g->rare || g->noisy || g->stairs ? REPORT_GROWTH : REPORT_UNSETTLED;
}

struct site_verdict judge_site(const struct site_history *h)
{
	const struct ledger_site *s = &h->proc->sites[h->site];
	int is_bytes = ledger_kind_is_bytes(s->kind), lost = 0;
	struct site_verdict v = {.verdict = REPORT_CLEAN};

	if (h->n < TREND_LEAST)
		return v;
	struct growth g = measure(h, is_bytes);
	v.verdict = decide(h, &g, &lost);
	/* Still held at half the length, or seen for the first time there: not yet. */
	if (v.verdict == REPORT_CLEAN)
		return v;
	v.by_size = g.by_size;
	v.class = classify(h, &g, lost);
	rates(h, is_bytes, &v);
	snprintf(v.why, sizeof v.why, "%.0f born, %.0f freed%s%s%s%s%s", h->births[h->n - 1],
	         h->deaths[h->n - 1], g.steady ? ", live blocks rise through all generations" : "",
	         g.rare ? ", none freed since the warm-up" : "",
	         g.noisy ? ", the level rises more than chance explains" : "",
	         g.stairs ? ", doubled again and again" : "",
	         lost ? ", no pointer leads to them" : "");
	return v;
}
