#include "watch.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"
#include "spawn.h"
#include "watch_sample.h"

#define LINE        65536 /* longest line that is looked at */
#define QUICK       0.02  /* seconds between samples at first, when nothing else is said */
#define GUARD_EVERY 0.1
#define ALWAYS      2000  /* steps that are always sampled; then only as far as it costs little */
#define SHARE       0.001 /* of the time */
#define DRAIN       2.0   /* seconds that we listen to what the command left running */
#define END_GRACE   5.0   /* seconds between TERM and KILL for a server that we end */

struct watch_private {
	struct spawn s;
	struct probe *probe;
	int signals, pidfd;
	struct spawn_signals before;
	pid_t pid, client;
	pcre2_code *regex;
	pcre2_match_data *match;
	char line[LINE], step_line[LINE];
	size_t in_line, in_step;
	double next_sample, interval, spent, ending; /* ending: when KILL is due */
	double run_peak;                             /* bytes, of the command that ended */
	int told;    /* something came through the step descriptor */
	int stop;    /* no more watching */
	char failed; /* the step that runs contained an error */
};

const char *watch_source_text(const struct watch *w)
{
	static const char *const text[] = {"the step descriptor", "time", "lines of the output",
	                                   "the client command", "whole runs"};

	if (w->o.source == WATCH_AUTO)
		return text[w->steps_are_time ? WATCH_TIME : WATCH_AUTO];
	return text[w->o.source];
}

static double now(const struct watch *w)
{
	return clock_now() - w->began;
}

static int look_guard(struct watch *w, int step, struct err *e)
{
	double v[PROBE_COUNT], held;

	if (!guard_is_on(&w->guard) || w->ended)
		return 0;
	if (!sample_read(w, w->x->probe, w->x->pid, v))
		return 0;
	held = v[PROBE_ANON] + (isnan(v[PROBE_SWAP]) ? 0 : v[PROBE_SWAP]);
	if (!(held <= w->peak))
		w->peak = held;
	return guard_look(&w->guard, w->x->pid, held, v[PROBE_DEVICE], step, now(w),
	                  (double)w->steps, w->report, e);
}

/* One step has ended. */
static int step(struct watch *w, int at_step, struct err *e)
{
	struct watch_private *x = w->x;
	double begin = clock_now();

	w->steps++;
	if (x->failed)
		w->n_errors++;
	x->failed = 0;
	if (w->has_ledger)
		w->ledger.control->step = (uint32_t)w->steps;
	int cheap = w->steps <= ALWAYS || x->spent < SHARE * now(w);
	if (w->steps % w->stride == 0 && cheap && sample_take(w, x->probe, x->pid, at_step, e))
		return -1;
	if (look_guard(w, 1, e))
		return -1;
	x->spent += clock_now() - begin;
	if (w->has_ledger && w->steps > ALWAYS)
		w->ledger.control->wait = x->spent < SHARE * now(w);
	if (w->o.max_steps && w->steps >= w->o.max_steps)
		x->stop = 1;
	return 0;
}

/* Steps turn out to be told: the samples by time that came before are no steps. */
static void forget_time(struct watch *w)
{
	w->x->told = 1;
	if (w->o.source != WATCH_AUTO || !w->steps_are_time)
		return;
	w->steps_are_time = 0;
	w->n = 0;
	w->steps = 0;
	w->stride = 1;
	if (w->has_ledger)
		ledger_restart(&w->ledger);
}

static int step_line(struct watch *w, const char *line, size_t n, struct err *e)
{
	if (n == 4 && !memcmp(line, "step", 4)) {
		if (w->o.source != WATCH_AUTO)
			return 0;
		forget_time(w);
		return step(w, 1, e);
	}
	if (n == 5 && !memcmp(line, "error", 5))
		w->x->failed = 1;
	else if (n > 5 && !memcmp(line, "mark ", 5))
		return report_note(w->report, e, "mark %.*s at step %llu",
		                   (int)(n - 5 < 80 ? n - 5 : 80), line + 5,
		                   (unsigned long long)w->steps);
	return 0;
}

/* Splits what has come into lines; what is left moves to the front. */
static int lines(struct watch *w, char *buf, size_t *have,
                 int (*each)(struct watch *, const char *, size_t, struct err *), int ack,
                 struct err *e)
{
	size_t at = 0;

	for (char *end; (end = memchr(buf + at, '\n', *have - at));) {
		if (each(w, buf + at, (size_t)(end - buf) - at, e))
			return -1;
		if (ack)
			sample_ack(w, 1);
		at = (size_t)(end - buf) + 1;
	}
	memmove(buf, buf + at, *have - at);
	*have -= at;
	/* A line without end: its beginning has been looked at. */
	if (*have == LINE)
		*have = 0;
	return 0;
}

static int read_steps(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	ssize_t n = read(x->s.step, x->step_line + x->in_step, LINE - x->in_step);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		close(x->s.step);
		x->s.step = -1;
		return 0;
	}
	x->in_step += (size_t)n;
	return lines(w, x->step_line, &x->in_step, step_line, 1, e);
}

static int output_line(struct watch *w, const char *line, size_t n, struct err *e)
{
	struct watch_private *x = w->x;

	if (n && line[n - 1] == '\r')
		n--;
	if (pcre2_match(x->regex, (PCRE2_SPTR)line, n, 0, 0, x->match, NULL) < 0)
		return 0;
	return step(w, 0, e);
}

static int read_output(struct watch *w, int i, struct err *e)
{
	struct watch_private *x = w->x;
	char buf[16384];
	size_t n;

	spawn_relay(&x->s, i, buf, sizeof buf, &n);
	for (size_t at = 0; at < n;) {
		size_t part = n - at < LINE - x->in_line ? n - at : LINE - x->in_line;
		memcpy(x->line + x->in_line, buf + at, part);
		x->in_line += part;
		at += part;
		if (lines(w, x->line, &x->in_line, output_line, 0, e))
			return -1;
	}
	return 0;
}

static int compile(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	int code;
	PCRE2_SIZE at;
	PCRE2_UCHAR text[120];

	if (!w->o.regex)
		return 0;
	x->regex =
	    pcre2_compile((PCRE2_SPTR)w->o.regex, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
	if (!x->regex) {
		pcre2_get_error_message(code, text, sizeof text);
		return err_set(e, ERR_TROUBLE, "'%s': %s at character %zu", w->o.regex,
		               (char *)text, at);
	}
	pcre2_jit_compile(x->regex, PCRE2_JIT_COMPLETE);
	x->match = pcre2_match_data_create(1, NULL);
	return x->match ? 0 : err_set(e, ERR_TROUBLE, "no memory for a match");
}

/* Runs the client once; it and the command shall not end each other. */
static int start_client(struct watch *w, struct err *e)
{
	char *const argv[] = {"/bin/sh", "-c", (char *)(uintptr_t)w->o.client, NULL};
	struct spawn c;
	struct spawn_options o = {
	    .argv = argv, .to_stderr = 1, .null_input = 1, .signals = &w->x->before};

	if (spawn_start(&c, o, e))
		return -1;
	w->x->client = c.pid;
	return 0;
}

static void end_command(struct watch *w)
{
	kill(w->x->pid, SIGTERM);
	w->x->ending = clock_now() + END_GRACE;
}

static int client_ended(struct watch *w, int status, struct err *e)
{
	struct watch_private *x = w->x;

	x->client = 0;
	x->failed = status != 0;
	if (step(w, 0, e))
		return -1;
	uint64_t n = w->steps;
	while (n > 40 && n % 2 == 0)
		n /= 2;
	int enough = n == 40 && w->o.settled && !w->o.max_steps && w->o.settled(w->o.arg);
	if (x->stop || enough || w->n == WATCH_SAMPLES) {
		x->stop = 0;
		end_command(w);
		return 0;
	}
	return w->ended ? 0 : start_client(w, e);
}

static int reap(struct watch *w, struct err *e)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	if (read(w->x->signals, &info, sizeof info) == (ssize_t)sizeof info &&
	    info.ssi_signo != SIGCHLD) {
		/* Somebody ends us: the command is told the same, and its end is waited for. */
		if (w->o.argv)
			kill(w->x->pid, (int)info.ssi_signo);
		else
			w->x->stop = 1;
	}
	struct rusage used;
	while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
		if (pid == w->x->s.pid) {
			w->ended = 1;
			w->status = status;
			w->x->run_peak = (double)used.ru_maxrss * 1024;
		} else if (pid == w->x->client && client_ended(w, status, e)) {
			return -1;
		}
	}
	return 0;
}

/* A sample by time. */
static int tick(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	uint64_t before = w->stride;

	if (step(w, 0, e))
		return -1;
	/* When the table is full, the pace is halved and not the steps. */
	if (w->stride != before) {
		w->stride = 1;
		x->interval *= 2;
	}
	x->next_sample = clock_now() + x->interval;
	return 0;
}

static int by_time(const struct watch *w)
{
	return w->o.source == WATCH_TIME || (w->o.source == WATCH_AUTO && !w->x->told);
}

/* Milliseconds to the next thing that is due. */
static int until(const struct watch *w)
{
	double t = clock_now(), next = t + 1;

	if (by_time(w))
		next = fmin(next, w->x->next_sample);
	if (guard_is_on(&w->guard))
		next = fmin(next, t + GUARD_EVERY);
	if (w->o.seconds > 0)
		next = fmin(next, w->began + w->o.seconds);
	return next <= t ? 0 : (int)ceil((next - t) * 1000);
}

static int due(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	double t = clock_now();

	if (w->o.seconds > 0 && t >= w->began + w->o.seconds)
		x->stop = 1;
	if (x->ending > 0 && t >= x->ending) {
		kill(x->pid, SIGKILL);
		x->ending = 0;
	}
	if (by_time(w) && t >= x->next_sample) {
		w->steps_are_time = 1;
		if (tick(w, e))
			return -1;
	}
	return look_guard(w, 0, e);
}

static int wait_events(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	int fd[] = {x->signals, x->s.step, x->s.out[0], x->s.out[1], x->pidfd};
	struct pollfd p[5];

	for (int i = 0; i < 5; i++)
		p[i] = (struct pollfd){.fd = fd[i], .events = POLLIN};
	if (poll(p, 5, until(w)) < 0 && errno != EINTR)
		return err_sys(e, "cannot wait for events");
	/* Steps first: the end of the command is only looked at when all is read. */
	if (p[1].revents && read_steps(w, e))
		return -1;
	if ((p[2].revents && read_output(w, 0, e)) || (p[3].revents && read_output(w, 1, e)))
		return -1;
	if (p[4].revents)
		w->ended = 1;
	return p[0].revents ? reap(w, e) : 0;
}

/* What was still in the pipes when the command ended. */
static int drain(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	double end = clock_now() + DRAIN;

	while (clock_now() < end) {
		struct pollfd p[] = {{.fd = x->s.step, .events = POLLIN},
		                     {.fd = x->s.out[0], .events = POLLIN},
		                     {.fd = x->s.out[1], .events = POLLIN}};
		if (poll(p, 3, 0) <= 0)
			return 0;
		if ((p[0].revents && read_steps(w, e)) || (p[1].revents && read_output(w, 0, e)) ||
		    (p[2].revents && read_output(w, 1, e)))
			return -1;
	}
	return 0;
}

static int loop(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;

	if (w->o.source == WATCH_CLIENT && start_client(w, e))
		return -1;
	while (!w->ended && !x->stop)
		if (wait_events(w, e) || due(w, e))
			return -1;
	if (x->stop && !w->ended && w->o.argv)
		return report_note(w->report, e,
		                   "watching ended before the command, which goes on unwatched");
	if (w->ended && drain(w, e))
		return -1;
	return w->ended ? sample_last(w, e) : 0;
}

/* A line that was written before this would never be counted, and no step waited for. */
static void tell_steps(const struct spawn *s, void *arg)
{
	struct watch *w = arg;

	if (!w->has_ledger || w->o.source != WATCH_AUTO)
		return;
	w->ledger.control->step_fd = (uint32_t)s->step_number;
	w->ledger.control->step_pipe = s->step_pipe;
	w->ledger.control->wait = 1;
}

static int start(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	struct spawn_options o = {.argv = w->o.argv,
	                          .prepare = tell_steps,
	                          .arg = w,
	                          .preload = w->o.preload,
	                          .ledger = w->has_ledger ? w->ledger.path : NULL,
	                          .steps = 1,
	                          .look = w->o.source == WATCH_REGEX,
	                          .null_input = w->o.source == WATCH_RUNS && w->steps > 0,
	                          .signals = &x->before};

	if (spawn_start(&x->s, o, e))
		return -1;
	w->pid = x->pid = x->s.pid;
	w->ended = 0;
	w->ledger.command = w->pid;
	return 0;
}

static int attach(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;

	w->pid = x->pid = w->o.pid;
	if (kill(x->pid, 0) && errno == ESRCH)
		return err_set(e, ERR_TROUBLE, "no process has the number %d", (int)x->pid);
	if (!probe_may(x->pid))
		return err_set(e, ERR_TROUBLE, "process %d belongs to someone else", (int)x->pid);
	x->pidfd = (int)syscall(SYS_pidfd_open, x->pid, 0);
	return 0;
}

/* Each run is one step; its peak, and what it left behind in the system, are the sample. */
static int runs(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;

	/* A command's peak begins with what its parent held when it was forked: we shall not grow.
	 */
	w->ledger.kept = 1;
	for (uint64_t i = 0; i < w->o.runs && !x->stop; i++) {
		double v[PROBE_COUNT];
		if (start(w, e))
			return -1;
		while (!w->ended)
			if (wait_events(w, e) || due(w, e))
				return -1;
		if (drain(w, e))
			return -1;
		spawn_leave(&x->s);
		for (int s = 0; s < PROBE_COUNT; s++)
			v[s] = NAN;
		v[PROBE_ANON] = x->run_peak;
		w->steps++;
		w->n_errors += w->status != 0;
		sample_push(w, v);
		if (w->has_ledger && ledger_take(&w->ledger, w->n - 1, e))
			return -1;
		if (w->status != 0 && WIFSIGNALED(w->status))
			x->stop = 1;
	}
	return 0;
}

static int open_all(struct watch *w, struct err *e)
{
	struct watch_private *x = w->x;
	struct err why = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	spawn_signals_hold(&x->before, &set);
	x->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	x->probe = probe_open(!w->o.no_device);
	if (x->signals < 0 || !x->probe)
		return err_sys(e, "cannot watch");
	w->limit = probe_limit(getpid());
	w->guard.o = w->o.guard;
	w->guard.o.signals = &x->before;
	if (compile(w, e))
		return -1;
	if (!w->o.argv || !w->o.preload)
		return 0;
	/* Too little memory, or a limit on the size of files: the command runs all the same. */
	if (ledger_open(&w->ledger, w->o.ledger, &why)) {
		w->o.preload = NULL;
		return report_note(w->report, e, "no ledger: %s", why.text);
	}
	w->has_ledger = 1;
	w->ledger.control->line_buffered = w->o.source == WATCH_REGEX;
	return 0;
}

int watch_run(struct watch *w, struct watch_options o, struct report *r, struct err *e)
{
	memset(w, 0, sizeof *w);
	w->o = o;
	w->report = r;
	w->stride = 1;
	w->peak = w->trim_before = w->trim_after = NAN;
	w->rollup[0].step = w->rollup[1].step = NAN;
	w->x = mem_calloc(MEM_OTHER, 1, sizeof *w->x, e);
	if (!w->x)
		return -1;
	w->x->s.step = w->x->s.out[0] = w->x->s.out[1] = w->x->signals = w->x->pidfd = -1;
	w->x->interval = o.interval > 0 ? o.interval : QUICK;
	if (open_all(w, e))
		return -1;
	w->began = clock_now();
	w->x->next_sample = w->began + w->x->interval;
	int failed = o.source == WATCH_RUNS                  ? runs(w, e)
	             : (o.argv ? start(w, e) : attach(w, e)) ? -1
	                                                     : loop(w, e);
	w->seconds = now(w);
	spawn_leave(&w->x->s);
	return failed;
}

void watch_free(struct watch *w)
{
	struct watch_private *x = w->x;

	if (x) {
		probe_close(x->probe);
		pcre2_match_data_free(x->match);
		pcre2_code_free(x->regex);
		if (x->signals >= 0)
			close(x->signals);
		if (x->pidfd >= 0)
			close(x->pidfd);
		mem_free(x);
		w->x = NULL;
	}
	if (w->has_ledger)
		ledger_close(&w->ledger);
	w->has_ledger = 0;
}
