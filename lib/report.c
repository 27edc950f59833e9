#include "report.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "mem.h"

const char *report_verdict_name(enum report_verdict v)
{
	static const char *const name[REPORT_VERDICTS] = {
	    "clean", "leak", "growth", "regression", "guard", "unsettled", "retention", "note"};

	return name[v];
}

const char *report_class_name(enum report_class c)
{
	static const char *const name[REPORT_CLASSES] = {"none",
	                                                 "per-step",
	                                                 "append-then-stack",
	                                                 "unbounded-map",
	                                                 "replaced-not-freed",
	                                                 "error",
	                                                 "fragmentation",
	                                                 "device",
	                                                 "not-freed-at-exit"};

	return name[c];
}

const char *report_class_text(enum report_class c)
{
	static const char *const text[REPORT_CLASSES] = {
	    "",
	    "each step adds blocks and none goes",
	    "parts are collected and kept; the peak is the trouble",
	    "a map or cache without a bound: births fall, nothing is evicted",
	    "a new block takes the place of an old one, which is not freed",
	    "blocks stay when a step fails: a cleanup is missing on the error path",
	    "live blocks are constant while resident memory grows",
	    "only device memory or device objects grow",
	    "what did not grow was still there when the command ended",
	};

	return text[c];
}

void report_init(struct report *r)
{
	memset(r, 0, sizeof *r);
	double *const numbers[] = {
	    &r->seconds,          &r->steps,         &r->errors,       &r->status,
	    &r->signal,           &r->could_see,     &r->limit,        &r->oom_seconds,
	    &r->trim_before,      &r->trim_after,    &r->peak,         &r->stop_ms,
	    &r->events,           &r->dropped,       &r->foreign,      &r->dropped_bytes,
	    &r->ledger_could_see, &r->dropped_sites, &r->rollup_first, &r->rollup_last,
	    &r->pss_first,        &r->pss_last,      &r->dirty_first,  &r->dirty_last};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		*numbers[i] = NAN;
}

static void finding_free(struct report_finding *f)
{
	for (size_t i = 0; i < f->frames; i++) {
		mem_free(f->frame[i].function);
		mem_free(f->frame[i].file);
		mem_free(f->frame[i].module);
	}
	mem_free(f->frame);
	mem_free(f->kind);
	mem_free(f->unit);
	mem_free(f->site);
	mem_free(f->process);
	mem_free(f->why);
}

void report_free(struct report *r)
{
	char *const texts[] = {r->command, r->host,    r->model, r->version,
	                       r->source,  r->started, r->level};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		mem_free(texts[i]);
	for (size_t i = 0; i < r->n_series; i++) {
		mem_free(r->series[i].name);
		mem_free(r->series[i].unit);
		mem_free(r->series[i].verdict);
		mem_free(r->series[i].v);
	}
	for (size_t i = 0; i < r->n_findings; i++)
		finding_free(&r->finding[i]);
	for (size_t i = 0; i < r->n_actions; i++)
		mem_free(r->action[i].what);
	for (size_t i = 0; i < r->n_notes; i++)
		mem_free(r->note[i]);
	mem_free(r->series);
	mem_free(r->finding);
	mem_free(r->action);
	mem_free(r->note);
	mem_free(r->step);
	memset(r, 0, sizeof *r);
}

int report_string(char **to, const char *s, struct err *e)
{
	char *copy = s ? mem_strndup(MEM_OTHER, s, strlen(s), e) : NULL;

	if (s && !copy)
		return -1;
	mem_free(*to);
	*to = copy;
	return 0;
}

/* Room for one more of size bytes in *v, zeroed. */
static void *one_more(void **v, size_t *n, size_t size, struct err *e)
{
	void *p = mem_realloc(MEM_OTHER, *v, *n + 1, size, e);

	if (!p)
		return NULL;
	*v = p;
	return memset((char *)p + (*n)++ * size, 0, size);
}

int report_note(struct report *r, struct err *e, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < r->n_notes; i++)
		if (!strcmp(r->note[i], text))
			return 0;
	char **slot = one_more((void **)&r->note, &r->n_notes, sizeof *r->note, e);
	return slot ? report_string(slot, text, e) : -1;
}

int report_act(struct report *r, double seconds, double step, const char *what, struct err *e)
{
	struct report_action *a =
	    one_more((void **)&r->action, &r->n_actions, sizeof *r->action, e);

	if (!a)
		return -1;
	a->seconds = seconds;
	a->step = step;
	return report_string(&a->what, what, e);
}

struct report_finding *report_finding_add(struct report *r, struct err *e)
{
	struct report_finding *f =
	    one_more((void **)&r->finding, &r->n_findings, sizeof *r->finding, e);

	if (f)
		f->per_step = f->lo = f->hi = f->blocks_per_step = f->live = f->live_blocks =
		    f->births = f->lost = f->lost_bytes = f->held = NAN;
	return f;
}

struct report_series *report_series_add(struct report *r, struct err *e)
{
	struct report_series *s = one_more((void **)&r->series, &r->n_series, sizeof *r->series, e);

	if (s)
		s->slope = s->lo = s->hi = s->first = s->last = s->max = NAN;
	return s;
}

struct report_frame *report_frame_add(struct report_finding *f, struct err *e)
{
	return one_more((void **)&f->frame, &f->frames, sizeof *f->frame, e);
}

int report_status(const struct report *r)
{
	switch (r->verdict) {
	case REPORT_LEAK:
	case REPORT_GROWTH:
	case REPORT_REGRESSION:
	case REPORT_GUARD:
		return ERR_NO;
	case REPORT_UNSETTLED:
		return ERR_SHORT;
	default:
		return ERR_OK;
	}
}

static int same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static int alike(const struct report_finding *a, const struct report_finding *b)
{
	return a->site && a->verdict == b->verdict && a->suppressed == b->suppressed &&
	       same_text(a->site, b->site) && same_text(a->kind, b->kind) &&
	       same_text(a->process, b->process);
}

struct report_group report_group(const struct report *r, size_t first)
{
	const struct report_finding *f = r->finding;
	struct report_group g = {.stacks = 1, .processes = 1, .per_step = f[first].per_step};

	for (size_t i = 0; i < first; i++)
		if (alike(&f[i], &f[first]))
			return (struct report_group){0};
	for (size_t i = first + 1; i < r->n_findings; i++) {
		size_t k = first;
		if (!alike(&f[i], &f[first]))
			continue;
		while (k < i && !(f[k].pid == f[i].pid && alike(&f[k], &f[i])))
			k++;
		g.stacks++;
		g.processes += k == i;
		g.per_step += f[i].per_step;
	}
	return g;
}

static int weight(enum report_verdict v)
{
	static const int w[REPORT_VERDICTS] = {[REPORT_LEAK] = 5,
	                                       [REPORT_GROWTH] = 4,
	                                       [REPORT_GUARD] = 3,
	                                       [REPORT_REGRESSION] = 2,
	                                       [REPORT_UNSETTLED] = 1};

	return w[v];
}

static double sum(double a, double b)
{
	return isnan(a) ? b : isnan(b) ? a : a + b;
}

int report_absorb(struct report *all, struct report *one, const char *name, struct err *e)
{
	struct report_finding *f = report_finding_add(all, e);
	char why[120];

	if (!f)
		return -1;
	f->verdict = one->verdict == REPORT_CLEAN ? REPORT_NOTE : one->verdict;
	f->live = one->peak;
	snprintf(why, sizeof why, "%s after %.0f steps in %.1f s",
	         report_verdict_name(one->verdict), one->steps, one->seconds);
	if (report_string(&f->kind, "workload", e) || report_string(&f->unit, "bytes", e) ||
	    report_string(&f->site, name, e) || report_string(&f->why, why, e))
		return -1;
	for (size_t i = 0; i < one->n_findings; i++) {
		if (!(f = report_finding_add(all, e)))
			return -1;
		*f = one->finding[i];
		memset(&one->finding[i], 0, sizeof one->finding[i]);
	}
	one->n_findings = 0;
	for (size_t i = 0; i < one->n_notes; i++)
		if (report_note(all, e, "%s: %s", name, one->note[i]))
			return -1;
	if (weight(one->verdict) > weight(all->verdict))
		all->verdict = one->verdict;
	all->steps = sum(all->steps, one->steps);
	all->seconds = sum(all->seconds, one->seconds);
	all->events = sum(all->events, one->events);
	return 0;
}
