#include "guard.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fmt.h"
#include "probe.h"

#define WARN_AT 0.9

int guard_is_on(const struct guard *g)
{
	return g->o.memory > 0 || g->o.device > 0 || g->o.step_growth > 0;
}

int guard_parse(struct guard_options *o, const char *text, double total, struct err *e)
{
	double *to = &o->memory;
	uint64_t bytes;
	char *end;

	if (!strncmp(text, "device:", 7)) {
		to = &o->device;
		text += 7;
	}
	double share = strtod(text, &end);
	if (end != text && !strcmp(end, "%") && to == &o->memory) {
		if (!(share > 0 && share <= 100))
			return err_set(e, ERR_TROUBLE, "'%s' is not within 0 and 100 %%", text);
		*to = share / 100 * total;
		return 0;
	}
	if (fmt_parse_size(text, &bytes, e))
		return -1;
	if (!bytes)
		return err_set(e, ERR_TROUBLE, "a limit of 0 bytes");
	*to = (double)bytes;
	return 0;
}

/* Runs the hook without waiting for it. */
static void run_hook(struct guard *g, pid_t pid)
{
	g->hook = fork();
	if (g->hook)
		return;
	char text[32];
	snprintf(text, sizeof text, "%d", (int)pid);
	setenv("PID", text, 1);
	if (g->o.signals)
		spawn_signals_restore(g->o.signals);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	execl("/bin/sh", "sh", "-c", g->o.hook, (char *)NULL);
	_exit(127);
}

/* The next measure of: hook or USR1, TERM, KILL; NULL when none is left. */
static const char *measure(struct guard *g, pid_t pid)
{
	switch (g->stage++) {
	case 0:
		if (g->o.hook) {
			run_hook(g, pid);
			return "ran the hook";
		}
		/* To who does not know it, it would be the end. */
		if (g->o.end == GUARD_USR1 ||
		    (g->o.end > GUARD_USR1 && probe_catches(pid, SIGUSR1))) {
			kill(pid, SIGUSR1);
			return "sent USR1";
		}
		return measure(g, pid);
	case 1:
		if (g->o.end < GUARD_TERM)
			return NULL;
		g->stopped = 1;
		kill(pid, SIGTERM);
		return "sent TERM";
	case 2:
		if (g->o.end < GUARD_TERM)
			return NULL;
		kill(pid, SIGKILL);
		return "sent KILL";
	default:
		return NULL;
	}
}

static double growth(struct guard *g, double memory, int step)
{
	size_t n = sizeof g->recent / sizeof *g->recent;

	if (!step || isnan(memory))
		return 0;
	if (g->n_recent == n)
		memmove(g->recent, g->recent + 1, (--g->n_recent) * sizeof *g->recent);
	g->recent[g->n_recent++] = memory;
	return g->n_recent == n ? (memory - g->recent[0]) / (double)(n - 1) : 0;
}

/* What is over which limit, in words; NULL: nothing. */
static const char *over(const struct guard *g, double memory, double device, double per_step)
{
	if (g->o.memory > 0 && memory > g->o.memory)
		return "memory is over its limit";
	if (g->o.device > 0 && device > g->o.device)
		return "device memory is over its limit";
	if (g->o.step_growth > 0 && per_step > g->o.step_growth)
		return "growth per step is over its limit";
	return NULL;
}

int guard_look(struct guard *g, pid_t pid, double memory, double device, int step, double seconds,
               double steps, struct report *r, struct err *e)
{
	double per_step = growth(g, memory, step);
	const char *what = over(g, memory, device, per_step), *done;
	char text[160], size[FMT_SIZE];

	if (!g->warned && (what || (g->o.memory > 0 && memory > WARN_AT * g->o.memory) ||
	                   (g->o.device > 0 && device > WARN_AT * g->o.device))) {
		g->warned = 1;
		snprintf(text, sizeof text, "warning: %s; memory is %s",
		         what ? what : "90 % of a limit is reached",
		         fmt_size(size, (uint64_t)fmax(memory, 0)));
		if (report_act(r, seconds, steps, text, e))
			return -1;
	}
	/* Once over the limit, the measures follow one another, also when a checkpoint frees some.
	 */
	if ((!what && !g->stage) || seconds < g->next)
		return 0;
	if (g->stage == 1 && !what) {
		g->stage = 0; /* the hook helped */
		return 0;
	}
	done = measure(g, pid);
	g->next = seconds + g->o.grace;
	if (!done)
		return 0;
	snprintf(text, sizeof text, "%s (%s)", done, what ? what : "after the time of grace");
	return report_act(r, seconds, steps, text, e);
}
