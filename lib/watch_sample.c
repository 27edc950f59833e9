#include "watch_sample.h"

#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "trend.h"

#define FIRST_ASK  20   /* samples before the first snapshot */
#define ASK_GROWTH 1.25 /* and then at this ratio */
#define SUSPECT    60   /* samples before resident memory is first suspected, then doubled */
#define TOO_LARGE  16e9 /* bytes: copying the page tables of more would be noticed */
#define TRIM_WAIT  0.2  /* seconds that we wait for the process to act */
#define REACH_WAIT 3.0  /* seconds that we wait for the last snapshot */

static void nap(double seconds)
{
	struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};

	nanosleep(&t, NULL);
}

static void wake(struct watch *w)
{
	syscall(SYS_futex, &w->ledger.control->acked, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void sample_ack(struct watch *w, uint32_t n)
{
	if (!w->has_ledger)
		return;
	__atomic_add_fetch(&w->ledger.control->acked, n, __ATOMIC_ACQ_REL);
	wake(w);
}

/* Forgets every other sample; from then on only every other step is sampled. */
static void thin(struct watch *w)
{
	uint32_t n = (w->n + 1) / 2;

	for (uint32_t i = 0; i < n; i++) {
		w->step[i] = w->step[2 * i];
		w->time[i] = w->time[2 * i];
		w->errors[i] = w->errors[2 * i];
		for (int s = 0; s < PROBE_COUNT; s++)
			w->v[s][i] = w->v[s][2 * i];
	}
	w->n = n;
	w->stride *= 2;
	if (w->has_ledger)
		ledger_thin(&w->ledger);
}

void sample_push(struct watch *w, const double v[PROBE_COUNT])
{
	if (w->n == WATCH_SAMPLES)
		thin(w);
	w->step[w->n] = (double)w->steps;
	w->time[w->n] = clock_now() - w->began;
	w->errors[w->n] = (double)w->n_errors;
	for (int s = 0; s < PROBE_COUNT; s++)
		w->v[s][w->n] = v[s];
	w->n++;
}

/* Which processes are the command's beyond its descendants, and which of these are copies that
 * look for lost blocks. */
struct kin {
	pid_t also[LEDGER_SLOTS], not [LEDGER_SLOTS];
	size_t n;
};

static struct probe_pids kin_of(const struct watch *w, struct kin *k)
{
	k->n = 0;
	for (size_t i = 0; w->has_ledger && i < w->ledger.n_procs && k->n < LEDGER_SLOTS; i++)
		if (w->ledger.procs[i].live) {
			k->also[k->n] = w->ledger.procs[i].pid;
			k->not [k->n++] = w->ledger.procs[i].head->reach_pid;
		}
	return (struct probe_pids){k->also, k->not, k->n, k->n};
}

size_t sample_read(struct watch *w, struct probe *p, pid_t pid, double v[PROBE_COUNT])
{
	struct kin k;

	return probe_take(p, pid, kin_of(w, &k), v);
}

static void ask_reach(struct watch *w)
{
	for (size_t i = 0; i < w->ledger.n_procs; i++) {
		struct ledger_proc *p = &w->ledger.procs[i];
		if (!p->live || !ledger_asked_done(p) || (p->head->flags & LEDGER_FORKED) ||
		    p->head->reach_begun != p->head->reach_done)
			continue;
		uint32_t from = p->first < w->n ? p->first : w->n - 1;
		uint32_t warm = from + (uint32_t)trend_warm(w->n - from);
		p->head->reach_warm = (uint32_t)w->step[warm < w->n ? warm : w->n - 1];
		ledger_ask(p, LEDGER_ASK_REACH);
	}
}

/* Live bytes of the heap that the ledger knew at two samples. */
static double heap_growth(const struct watch *w, uint32_t a, uint32_t b)
{
	double sum = 0;

	for (size_t i = 0; i < w->ledger.n_procs; i++) {
		const struct ledger_proc *p = &w->ledger.procs[i];
		for (uint32_t s = 1; s < p->n_sites; s++) {
			double at_a, at_b;
			if (p->sites[s].kind != LEDGER_HEAP && p->sites[s].kind != LEDGER_MAP)
				continue;
			ledger_expand(p, s, a, 1, NULL, &at_a, NULL, NULL);
			ledger_expand(p, s, b, 1, NULL, &at_b, NULL, NULL);
			sum += at_b - at_a;
		}
	}
	return sum;
}

static int anon_grows(const struct watch *w)
{
	return trend_envelope(w->v[PROBE_ANON], w->n, (struct trend_rule){0.2, 24, 1 << 20, 0.5})
	           .verdict != TREND_CLEAN;
}

/* Whether resident memory, which grows, does so while the ledger does not: then a trim tells
 * which it is. */
static int wants_trim(const struct watch *w)
{
	const double *anon = w->v[PROBE_ANON];
	uint32_t half = w->n / 2;

	return heap_growth(w, half, w->n - 1) < 0.5 * (anon[w->n - 1] - anon[half]);
}

static void roll_up(struct watch *w, pid_t pid)
{
	struct kin k;
	int i = !isnan(w->rollup[0].step);

	w->rollup[i].step = (double)w->steps;
	w->rollup[i].memory = probe_rollup(pid, kin_of(w, &k));
}

static int all_done(const struct watch *w)
{
	for (size_t i = 0; i < w->ledger.n_procs; i++)
		if (w->ledger.procs[i].live && !ledger_asked_done(&w->ledger.procs[i]))
			return 0;
	return 1;
}

/* Only at a step whose writer waits for us: it acts at once. */
static void trim(struct watch *w, struct probe *p, pid_t pid)
{
	double v[PROBE_COUNT], end = clock_now() + TRIM_WAIT;

	for (size_t i = 0; i < w->ledger.n_procs; i++)
		if (w->ledger.procs[i].live && ledger_asked_done(&w->ledger.procs[i]))
			ledger_ask(&w->ledger.procs[i], LEDGER_ASK_TRIM);
	wake(w);
	while (!all_done(w) && clock_now() < end)
		nap(0.0005);
	if (!all_done(w))
		return;
	nap(0.002);
	w->trim_before = w->v[PROBE_ANON][w->n - 1];
	if (sample_read(w, p, pid, v))
		w->trim_after = v[PROBE_ANON];
}

static int is_due(uint32_t n, uint32_t first, double ratio)
{
	uint32_t at = first;

	while (at < n)
		at = (uint32_t)ceil(at * ratio);
	return at == n;
}

/* What costs more than a sample: only at some of them, and not of what is too large. */
static void look_closer(struct watch *w, struct probe *p, pid_t pid, int at_step)
{
	int small = !(w->v[PROBE_ANON][w->n - 1] > TOO_LARGE);

	if (is_due(w->n, SUSPECT, 2) && anon_grows(w)) {
		if (small)
			roll_up(w, pid);
		if (w->has_ledger && !w->o.no_trim && at_step && wants_trim(w))
			trim(w, p, pid);
	}
	if (w->has_ledger && !w->o.no_reach && small && is_due(w->n, FIRST_ASK, ASK_GROWTH))
		ask_reach(w);
}

int sample_take(struct watch *w, struct probe *p, pid_t pid, int at_step, struct err *e)
{
	double v[PROBE_COUNT];

	if (!sample_read(w, p, pid, v))
		return 0;
	if (!(v[PROBE_ANON] <= w->peak))
		w->peak = v[PROBE_ANON];
	sample_push(w, v);
	if (w->has_ledger && ledger_take(&w->ledger, w->n - 1, e))
		return -1;
	look_closer(w, p, pid, at_step);
	return 0;
}

int sample_last(struct watch *w, struct err *e)
{
	double end = clock_now() + REACH_WAIT;

	if (!w->has_ledger)
		return 0;
	for (size_t i = 0; i < w->ledger.n_procs; i++) {
		const struct ledger_proc *p = &w->ledger.procs[i];
		while (p->live && clock_now() < end &&
		       __atomic_load_n(&p->head->reach_done, __ATOMIC_ACQUIRE) !=
		           p->head->reach_begun)
			nap(0.001);
	}
	return ledger_take(&w->ledger, w->n, e);
}
