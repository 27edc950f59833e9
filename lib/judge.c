#include "judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge_name.h"
#include "judge_site.h"
#include "mem.h"
#include "spawn.h"
#include "symbol.h"
#include "trend.h"

#define PAGING_SLACK                                                                               \
	(8.0 * 1024 * 1024) /* bytes of a process that no ledger sees: code, stacks                \
	                     */

#define RESTS       5     /* sites told of that hold something at exit, ... */
#define REST_BLOCKS 8     /* ... which is worth a word from so many blocks on, */
#define REST_BYTES  65536 /* or bytes */

struct judge {
	const struct watch *w;
	struct report *r;
	struct symbols *symbols;
	uint32_t n;                                              /* samples that count */
	double *blocks, *bytes, *births, *deaths, *live, *total; /* WATCH_SAMPLES each */
	uint8_t told[LEDGER_SITES]; /* sites of the process at hand that have a finding */
	int leaks, growths, unsettled;
	double live_heap; /* bytes in the ledger at the end */
};

/* ---- sites ---- */

static int add_finding(struct judge *j, const struct ledger_proc *p, uint32_t site,
                       const struct site_verdict *v, uint32_t n, struct err *e)
{
	const struct ledger_site *s = &p->sites[site];
	struct report_finding *f = report_finding_add(j->r, e);

	if (!f)
		return -1;
	f->verdict = v->verdict;
	f->class = v->class;
	f->pid = p->pid;
	f->per_step = v->per_step;
	f->lo = v->lo;
	f->hi = v->hi;
	f->blocks_per_step = v->blocks_per_step;
	f->live = j->bytes[n - 1];
	f->live_blocks = j->blocks[n - 1];
	f->births = j->births[n - 1];
	if (s->lost + s->held) {
		f->lost = (double)s->lost;
		f->lost_bytes = (double)s->lost_bytes;
		f->held = (double)s->held;
	}
	return report_string(&f->kind, ledger_kind_name(s->kind), e) ||
	       report_string(&f->unit, ledger_kind_is_bytes(s->kind) ? "bytes" : "pieces", e) ||
	       report_string(&f->process, p->name, e) || report_string(&f->why, v->why, e) ||
	       judge_name(j->symbols, p, site, f, e);
}

/* Whether the process frees blocks at all once it has warmed up. */
static int turns_over(struct judge *j, const struct ledger_proc *p, uint32_t n)
{
	double more = 0;

	for (uint32_t s = 1; s < p->n_sites && more < 8; s++) {
		ledger_expand(p, s, p->first, n, NULL, NULL, NULL, j->deaths);
		more += j->deaths[n - 1] - j->deaths[trend_warm(n) - 1];
	}
	return more >= 8;
}

/* How many of the n samples of v show the command at its work.  When steps are spans of time, the
 * last ones may show how it takes itself down: what falls without a break up to its end. */
static uint32_t at_work(const struct watch *w, const double *v, uint32_t n)
{
	uint32_t most = n / 10 > 3 ? n / 10 : 3, k = 0;

	if (!w->ended || !w->steps_are_time || n < TREND_LEAST + most)
		return n;
	while (k < most && v[n - 1 - k] < v[n - 2 - k])
		k++;
	return n - k;
}

/* Into total: the memory that the blocks of a process took, at n samples. */
static void sum_blocks(struct judge *j, const struct ledger_proc *p, uint32_t n, double *total)
{
	for (uint32_t s = 1; s < p->n_sites; s++) {
		if (p->sites[s].kind != LEDGER_HEAP && p->sites[s].kind != LEDGER_MAP)
			continue;
		ledger_expand(p, s, p->first, n, NULL, j->bytes, NULL, NULL);
		for (uint32_t i = 0; i < n; i++)
			total[i] += j->bytes[i];
	}
}

static double steps_per_sample(const struct watch *w, uint32_t first, uint32_t n)
{
	double d = w->step[first + n - 1] - w->step[first];

	return n > 1 && d > 0 ? d / (double)(n - 1) : 1;
}

static int judge_proc(struct judge *j, const struct ledger_proc *p, struct err *e)
{
	uint32_t last = p->last < j->w->n ? p->last : j->w->n - 1;
	uint32_t n = last >= p->first ? last - p->first + 1 : 0;

	if (!j->w->n || n < TREND_LEAST)
		return 0;
	memset(j->live, 0, n * sizeof *j->live);
	sum_blocks(j, p, n, j->live);
	n = at_work(j->w, j->live, n);
	for (uint32_t i = 0; i < n; i++)
		j->total[p->first + i] += j->live[i];
	j->live_heap += j->live[n - 1];
	struct site_history h = {.proc = p,
	                         .n = n,
	                         .blocks = j->blocks,
	                         .bytes = j->bytes,
	                         .births = j->births,
	                         .deaths = j->deaths,
	                         .errors = j->w->errors + p->first,
	                         .steps = steps_per_sample(j->w, p->first, n),
	                         .live_process_turns_over = turns_over(j, p, n)};
	for (uint32_t s = 1; s < p->n_sites; s++) {
		h.site = s;
		ledger_expand(p, s, p->first, n, j->blocks, j->bytes, j->births, j->deaths);
		/* Growth of a pool's stock is told by its blocks. */
		if (p->sites[s].kind == LEDGER_BACKING)
			continue;
		struct site_verdict v = judge_site(&h);
		j->leaks += v.verdict == REPORT_LEAK;
		j->growths += v.verdict == REPORT_GROWTH;
		j->unsettled += v.verdict == REPORT_UNSETTLED;
		j->told[s] = v.verdict != REPORT_CLEAN;
		if (j->told[s] && add_finding(j, p, s, &v, n, e))
			return -1;
	}
	return 0;
}

/* ---- what was left ---- */

struct rest {
	uint32_t site;
	double blocks, bytes;
};

/* The sites of p that held most when it ended, largest first; how many. */
static size_t rests(const struct judge *j, const struct ledger_proc *p, struct rest out[RESTS])
{
	size_t n = 0;

	for (uint32_t s = 1; s < p->n_sites; s++) {
		struct rest r = {.site = s};
		if (j->told[s] ||
		    (p->sites[s].kind != LEDGER_HEAP && p->sites[s].kind != LEDGER_POOL))
			continue;
		ledger_expand(p, s, j->w->n, 1, &r.blocks, &r.bytes, NULL, NULL);
		if (r.blocks < REST_BLOCKS && r.bytes < REST_BYTES)
			continue;
		size_t at = n < RESTS ? n++ : RESTS;
		for (; at > 0 && out[at - 1].bytes < r.bytes; at--)
			if (at < RESTS)
				out[at] = out[at - 1];
		if (at < RESTS)
			out[at] = r;
	}
	return n;
}

/* Notes what the command itself had not freed when it came to its end by exit. */
static int note_rests(struct judge *j, const struct ledger_proc *p, struct err *e)
{
	struct rest r[RESTS];

	if (p->pid != j->w->pid ||
	    (p->head->flags & (LEDGER_ENDED | LEDGER_FORKED)) != LEDGER_ENDED)
		return 0;
	size_t n = rests(j, p, r);
	for (size_t i = 0; i < n; i++) {
		struct report_finding *f = report_finding_add(j->r, e);
		if (!f)
			return -1;
		f->verdict = REPORT_NOTE;
		f->class = CLASS_EXIT;
		f->pid = p->pid;
		f->live = r[i].bytes;
		f->live_blocks = r[i].blocks;
		if (report_string(&f->kind, ledger_kind_name(p->sites[r[i].site].kind), e) ||
		    report_string(&f->unit, "bytes", e) ||
		    report_string(&f->why, report_class_text(CLASS_EXIT), e) ||
		    report_string(&f->process, p->name, e) ||
		    judge_name(j->symbols, p, r[i].site, f, e))
			return -1;
	}
	return 0;
}

/* Whether every process that is watched has a ledger that sees all of its heap. */
static int ledger_is_whole(const struct watch *w)
{
	int any = 0;

	if (!w->has_ledger || w->o.ledger.level == LEDGER_OFF || w->o.source == WATCH_RUNS ||
	    w->o.ledger.level == LEDGER_SAMPLED || w->ledger.control->no_slot)
		return 0;
	for (size_t i = 0; i < w->ledger.n_procs; i++) {
		const struct ledger_proc *p = &w->ledger.procs[i];
		any |= p->pid == (w->o.argv ? p->pid : 0);
		if (p->head && (p->head->flags & (LEDGER_OWN_MALLOC | LEDGER_DEEPBIND)))
			return 0;
	}
	return any;
}

/* ---- series ---- */

static int is_bytes_series(int s)
{
	return !strcmp(probe_info(s)->unit, "bytes");
}

/* Series that are told but never accused: the page cache and others' memory are in them. */
static int is_information(int s)
{
	return s == PROBE_FILE || s == PROBE_CGROUP || s == PROBE_SWAP || s == PROBE_DATA;
}

static struct trend series_trend(const struct judge *j, int s)
{
	const struct probe_info *info = probe_info(s);
	const double *v = j->w->v[s];
	struct trend t = trend_adaptive(v, j->n, info->floor, info->rate);

	if (!is_bytes_series(s) && j->n >= 40 && t.verdict != TREND_LEAK &&
	    trend_generations(v, j->n) && trend_generations(v, j->n / 2) &&
	    v[j->n - 1] - v[trend_warm(j->n)] >= info->floor)
		t.verdict = TREND_LEAK;
	return t;
}

static int measured(const struct watch *w, int s)
{
	for (uint32_t i = 0; i < w->n; i++)
		if (isnan(w->v[s][i]))
			return 0;
	return w->n > 0;
}

/* Of a whole run only the peak of all its resident memory is known. */
static const char *series_name(const struct watch *w, int s)
{
	return w->o.source == WATCH_RUNS ? "run peak" : probe_info(s)->name;
}

static int add_series(struct judge *j, int s, struct trend t, struct err *e)
{
	static const char *const verdict[] = {"clean", "leak", "unsettled"};
	const struct watch *w = j->w;
	struct report_series *out = report_series_add(j->r, e);
	double steps = steps_per_sample(w, 0, w->n);

	if (!out || !(out->v = mem_alloc(MEM_OTHER, w->n * sizeof *out->v, e)))
		return -1;
	memcpy(out->v, w->v[s], w->n * sizeof *out->v);
	out->first = out->v[0];
	out->last = out->v[w->n - 1];
	out->max = out->v[0];
	for (uint32_t i = 0; i < w->n; i++)
		out->max = fmax(out->max, out->v[i]);
	if (w->n >= TREND_LEAST) {
		out->slope = t.slope / steps;
		out->lo = t.lo / steps;
		out->hi = t.hi / steps;
	}
	return report_string(&out->name, series_name(w, s), e) ||
	       report_string(&out->unit, probe_info(s)->unit, e) ||
	       report_string(&out->verdict, is_information(s) ? "information" : verdict[t.verdict],
	                     e);
}

static int series_finding(struct judge *j, int s, struct trend t, enum report_verdict v,
                          enum report_class c, const char *why, struct err *e)
{
	struct report_finding *f = report_finding_add(j->r, e);
	double steps = steps_per_sample(j->w, 0, j->w->n);

	if (!f)
		return -1;
	f->verdict = v;
	f->class = c;
	f->per_step = t.slope / steps;
	f->lo = t.lo / steps;
	f->hi = t.hi / steps;
	f->live = j->w->v[s][j->n - 1];
	j->leaks += v == REPORT_LEAK;
	j->growths += v == REPORT_GROWTH;
	j->unsettled += v == REPORT_UNSETTLED;
	return report_string(&f->kind, series_name(j->w, s), e) ||
	       report_string(&f->unit, probe_info(s)->unit, e) || report_string(&f->why, why, e);
}

static int trim_helped(const struct judge *j)
{
	const struct watch *w = j->w;
	double grown = w->v[PROBE_ANON][j->n - 1] - w->v[PROBE_ANON][trend_warm(j->n)];

	return w->trim_before - w->trim_after >= 0.5 * fabs(grown);
}

/* Resident memory grows while the ledger is flat. */
static int explain_anon(struct judge *j, struct trend t, struct err *e)
{
	if (j->w->v[PROBE_ANON][j->n - 1] < j->live_heap + PAGING_SLACK)
		return report_note(j->r, e,
		                   "RssAnon grows while blocks that were given out before are "
		                   "written to for the first time");
	if (trim_helped(j))
		return series_finding(
		    j, PROBE_ANON, t, REPORT_RETENTION, CLASS_NONE,
		    "live blocks are constant, and malloc_trim gives the rest back", e);
	return series_finding(j, PROBE_ANON, t, REPORT_GROWTH, CLASS_FRAGMENT,
	                      "live blocks are constant, and malloc_trim gives nothing back: "
	                      "fragmentation, or mappings that no ledger sees",
	                      e);
}

/* whole: the ledger saw everything that its kinds cover. */
static int accuse_series(struct judge *j, int s, struct trend t, int whole, struct err *e)
{
	if (is_information(s) || j->leaks + j->growths > 0)
		return 0;
	j->unsettled += t.verdict == TREND_UNSETTLED && !whole;
	if (t.verdict != TREND_LEAK)
		return 0;
	if (whole && s == PROBE_ANON)
		return explain_anon(j, t, e);
	if (whole && (s == PROBE_SIZE || s == PROBE_MAPS))
		return 0;
	return series_finding(j, s, t, REPORT_LEAK, s == PROBE_DEVICE ? CLASS_DEVICE : CLASS_STEP,
	                      "the lower envelope rises at two lengths and in two windows", e);
}

static int judge_series(struct judge *j, int whole, struct err *e)
{
	/* The first that grows explains those behind it: a thread has a stack, a stack is a map. */
	static const int order[] = {PROBE_THREADS, PROBE_FDS,  PROBE_DEVICE, PROBE_ANON,
	                            PROBE_SIZE,    PROBE_MAPS, PROBE_CGROUP, PROBE_FILE,
	                            PROBE_DATA,    PROBE_SWAP};
	struct trend t[PROBE_COUNT];

	for (int s = 0; s < PROBE_COUNT; s++) {
		if (!measured(j->w, s))
			continue;
		t[s] = series_trend(j, s);
		if (add_series(j, s, t[s], e))
			return -1;
	}
	for (size_t i = 0; i < PROBE_COUNT; i++)
		if (measured(j->w, order[i]) && accuse_series(j, order[i], t[order[i]], whole, e))
			return -1;
	return 0;
}

/* ---- the whole ---- */

static int by_weight(const void *a, const void *b)
{
	const struct report_finding *x = a, *y = b;
	int order = (x->verdict > y->verdict) - (x->verdict < y->verdict);

	return order ? order : (x->per_step < y->per_step) - (x->per_step > y->per_step);
}

static void facts(struct judge *j, int whole)
{
	const struct watch *w = j->w;
	struct report *r = j->r;

	r->seconds = w->seconds;
	r->steps = (double)w->steps;
	r->errors = (double)w->n_errors;
	r->peak = w->peak;
	r->limit = w->limit;
	r->trim_before = w->trim_before;
	if (!isnan(w->rollup[0].step)) {
		r->rollup_first = w->rollup[0].step;
		r->pss_first = w->rollup[0].memory.pss;
		r->dirty_first = w->rollup[0].memory.dirty;
	}
	if (!isnan(w->rollup[1].step)) {
		r->rollup_last = w->rollup[1].step;
		r->pss_last = w->rollup[1].memory.pss;
		r->dirty_last = w->rollup[1].memory.dirty;
	}
	r->trim_after = w->trim_after;
	if (w->n >= TREND_LEAST) {
		struct trend anon =
		    trend_envelope(w->v[PROBE_ANON], j->n, (struct trend_rule){0.2, 24, 0, 0});
		struct trend live =
		    trend_envelope(j->total, j->n, (struct trend_rule){0.2, 24, 0, 0});
		double steps = steps_per_sample(w, 0, w->n), rate = 0;
		r->could_see = fmax(anon.hi, probe_info(PROBE_ANON)->floor / (0.8 * w->n)) / steps;
		if (whole)
			/* Eight small blocks are the least that the rule for rare sites wants. */
			r->ledger_could_see = fmax(live.hi, 8 * 16.0 / w->n) / steps;
		for (size_t i = 0; i < r->n_findings; i++)
			if (r->finding[i].verdict <= REPORT_GROWTH &&
			    !strcmp(r->finding[i].unit, "bytes"))
				rate += r->finding[i].per_step;
		rate *= (double)w->steps / w->seconds;
		if (rate > 0 && !isnan(w->limit))
			r->oom_seconds = fmax(0, w->limit - w->v[PROBE_ANON][j->n - 1]) / rate;
	}
}

static void ledger_facts(const struct watch *w, struct report *r)
{
	struct ledger_totals t = ledger_totals(&w->ledger);

	r->events = (double)t.events;
	r->dropped = (double)t.dropped;
	r->dropped_bytes = (double)t.dropped_bytes;
	r->dropped_sites = (double)t.dropped_sites;
	r->foreign = (double)t.foreign;
	if (t.stop_ns)
		r->stop_ms = (double)t.stop_ns / 1e6;
}

/* Why no process has joined the ledger. */
static int no_ledger(const struct watch *w, struct report *r, struct err *e)
{
	char *path = w->o.argv ? spawn_find(w->o.argv[0], NULL) : NULL;
	int is_static = path && probe_is_static(path) > 0;

	mem_free(path);
	return report_note(r, e, "no ledger: the command %s",
	                   is_static ? "is static"
	                             : "changes user at its start, or did not load the library");
}

static int ledger_notes(const struct watch *w, struct report *r, struct err *e)
{
	if (!w->has_ledger)
		return 0;
	ledger_facts(w, r);
	if (!w->ledger.n_procs && no_ledger(w, r, e))
		return -1;
	if (w->ledger.control->no_slot &&
	    report_note(r, e, "%u processes could not join the ledger (no place, or another user)",
	                w->ledger.control->no_slot))
		return -1;
	for (size_t i = 0; i < w->ledger.n_procs; i++) {
		const struct ledger_proc *p = &w->ledger.procs[i];
		if (p->head && (p->head->flags & LEDGER_OWN_MALLOC) &&
		    report_note(r, e, "%s brings its own malloc: its heap is not in the ledger",
		                p->name))
			return -1;
		if (!strncmp(p->name, "python", 6) && !getenv("PYTHONMALLOC") &&
		    report_note(r, e,
		                "%s takes small objects from arenas of its own: with "
		                "PYTHONMALLOC=malloc in the environment each is seen",
		                p->name))
			return -1;
		if (p->head && (p->head->flags & LEDGER_DEEPBIND) &&
		    report_note(
			r, e,
			"%s loads a library with RTLD_DEEPBIND: its blocks are not in the ledger",
			p->name))
			return -1;
	}
	if (r->dropped > 0 || r->dropped_sites > 0)
		return report_note(r, e,
		                   "the ledger was full: %.0f blocks of %.0f bytes and %.0f stacks "
		                   "were dropped",
		                   r->dropped, r->dropped_bytes, r->dropped_sites);
	return 0;
}

static enum report_verdict verdict(const struct judge *j)
{
	const struct watch *w = j->w;

	if (w->guard.stopped)
		return REPORT_GUARD;
	if (j->leaks)
		return REPORT_LEAK;
	if (j->growths)
		return REPORT_GROWTH;
	if (j->unsettled || w->n < TREND_LEAST)
		return REPORT_UNSETTLED;
	return REPORT_CLEAN;
}

static int judge_all(struct judge *j, struct err *e)
{
	const struct watch *w = j->w;
	int whole = ledger_is_whole(w);

	j->n = at_work(w, w->v[PROBE_ANON], w->n);
	for (size_t i = 0; w->has_ledger && i < w->ledger.n_procs; i++) {
		const struct ledger_proc *p = &w->ledger.procs[i];
		memset(j->told, 0, sizeof j->told);
		if (p->head && (judge_proc(j, p, e) || note_rests(j, p, e)))
			return -1;
	}
	if (w->n >= TREND_LEAST && judge_series(j, whole, e))
		return -1;
	if (w->n && w->n < TREND_LEAST)
		for (int s = 0; s < PROBE_COUNT; s++)
			if (measured(w, s) && add_series(j, s, series_trend(j, s), e))
				return -1;
	if (ledger_notes(w, j->r, e))
		return -1;
	if (w->o.guard.device > 0 && !measured(w, PROBE_DEVICE) &&
	    report_note(j->r, e, "device memory could not be measured: its limit was not guarded"))
		return -1;
	if (j->r->n_findings)
		qsort(j->r->finding, j->r->n_findings, sizeof *j->r->finding, by_weight);
	facts(j, whole);
	j->r->samples = w->n;
	j->r->step = mem_alloc(MEM_OTHER, w->n * sizeof *j->r->step, e);
	if (!j->r->step)
		return -1;
	memcpy(j->r->step, w->step, w->n * sizeof *w->step);
	j->r->verdict = verdict(j);
	return 0;
}

int judge_run(const struct watch *w, struct report *r, struct err *e)
{
	struct judge j = {.w = w, .r = r, .symbols = symbols_open()};
	double *all = mem_calloc(MEM_OTHER, 6 * WATCH_SAMPLES, sizeof *all, e);
	int failed = -1;

	if (all && j.symbols) {
		j.blocks = all;
		j.bytes = all + WATCH_SAMPLES;
		j.births = all + 2 * WATCH_SAMPLES;
		j.deaths = all + 3 * WATCH_SAMPLES;
		j.live = all + 4 * WATCH_SAMPLES;
		j.total = all + 5 * WATCH_SAMPLES;
		failed = judge_all(&j, e);
	} else {
		err_set(e, ERR_TROUBLE, "no memory for the judgement");
	}
	symbols_close(j.symbols);
	mem_free(all);
	return failed;
}

int judge_settled(const struct watch *w)
{
	struct report r;

	report_init(&r);
	int settled = judge_run(w, &r, NULL) == 0 && r.verdict != REPORT_UNSETTLED && w->n >= 80;
	report_free(&r);
	return settled;
}
