/*
 * Watching a command or a process: steps from wherever they come, a sample at each, until it ends
 * or a limit is reached.  What was seen stays in struct watch for judge.c.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdint.h>
#include <sys/types.h>

#include "guard.h"
#include "ledger.h"
#include "probe.h"
#include "report.h"

enum watch_source {
	WATCH_AUTO = 0, /* the step descriptor when something is written to it, otherwise time */
	WATCH_TIME,
	WATCH_REGEX,
	WATCH_CLIENT,
	WATCH_RUNS,
};

struct watch_options {
	char *const *argv; /* NULL: attach to pid */
	pid_t pid;
	enum watch_source source;
	double interval;     /* seconds between samples; 0: chosen, and grown with the run */
	const char *regex;   /* a line of the command's output that matches ends a step */
	const char *client;  /* run by sh, once per step */
	uint64_t runs;       /* WATCH_RUNS: how often the command is run */
	uint64_t max_steps;  /* ends the watching; 0: none */
	double seconds;      /* the same in time; 0: none */
	const char *preload; /* path of the library; NULL: no ledger */
	struct ledger_options ledger;
	int no_trim, no_reach, no_device;
	struct guard_options guard;
	/* Asked at 40 steps and each doubling where we make the steps (WATCH_CLIENT): 1: enough. */
	int (*settled)(void *arg);
	void *arg;
};

#define WATCH_SAMPLES 2048 /* then every other one is forgotten */

struct watch {
	struct watch_options o;
	struct report *report; /* takes notes and the guard's actions */
	struct ledger_shared ledger;
	int has_ledger;
	struct guard guard;
	/* Per sample: number of its step, its time, errors up to it, and the series. */
	double step[WATCH_SAMPLES], time[WATCH_SAMPLES], errors[WATCH_SAMPLES];
	double v[PROBE_COUNT][WATCH_SAMPLES];
	uint32_t n;
	uint64_t steps, n_errors, stride;
	double began, seconds;
	pid_t pid;         /* of the command */
	int ended, status; /* as by waitpid, when the command has ended */
	double peak, limit, trim_before, trim_after;
	struct { /* the first and the last time that resident memory seemed to grow; NaN: never */
		double step;
		struct probe_rollup memory;
	} rollup[2];
	int steps_are_time;
	/* private: watch.c */
	struct watch_private *x;
};

/* Runs to the end.  Status 127 and 126 as by spawn_start; 2: trouble.  watch_free in any case. */
int watch_run(struct watch *w, struct watch_options o, struct report *r, struct err *e);
void watch_free(struct watch *w);

/* In words: "the step descriptor", "time", ... */
const char *watch_source_text(const struct watch *w);

#endif
