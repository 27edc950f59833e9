/*
 * The guard: limits on the memory of a command, and what is done when it comes near and over
 * them: a warning at 90 %, then a chance to write a checkpoint, then TERM, then KILL.
 */
#ifndef GUARD_H
#define GUARD_H

#include <stdint.h>
#include <sys/types.h>

#include "report.h"
#include "spawn.h"

enum guard_end { GUARD_WARN = 0, GUARD_USR1, GUARD_TERM, GUARD_KILL };

struct guard_options {
	double memory;      /* bytes of RssAnon and swap; 0: no limit */
	double device;      /* bytes of device memory; 0: no limit */
	double step_growth; /* bytes per step over the last 8 steps; 0: no limit */
	enum guard_end end; /* how far it goes */
	const char *hook;   /* run by sh with PID set, in place of SIGUSR1; NULL: none */
	double grace;       /* seconds between one measure and the next */
	const struct spawn_signals *signals; /* as they shall be in the hook */
};

struct guard {
	struct guard_options o;
	int stage; /* measures taken */
	int warned;
	int stopped; /* sent TERM or KILL */
	double next; /* when the next measure is due */
	double recent[9];
	size_t n_recent;
	pid_t hook; /* running; 0: none */
};

/* Looks at what pid holds now (NaN: not known) and acts on pid when needed.  step: 1 when a step
 * ended just now.  Every action goes into the report.  Errors: no memory. */
int guard_look(struct guard *g, pid_t pid, double memory, double device, int step, double seconds,
               double steps, struct report *r, struct err *e);

/* Whether it wants to be called often, steps or not. */
int guard_is_on(const struct guard *g);

/* "8G", "80%" of total, "device:4G" into o.  Errors: not a limit. */
int guard_parse(struct guard_options *o, const char *text, double total, struct err *e);

#endif
