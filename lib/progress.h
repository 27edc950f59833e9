/*
 * How far a long piece of work is: a bar for people, a JSON line at a time for programs, or
 * nothing; and one line when somebody asks.  Where it goes is the caller's decision.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

enum progress_mode {
	PROGRESS_NONE = 0,
	PROGRESS_BAR,  /* one line that is redrawn; ends empty */
	PROGRESS_JSON, /* {"done":..,"total":..,"rate":..,"left":..,"item":".."} */
};

/* All-zero is silent. */
struct progress {
	enum progress_mode mode;
	FILE *out;            /* of the bar or the lines */
	uint64_t total, done; /* bytes; total 0: not known */
	uint64_t skipped;     /* bytes of done that were not work (a resumed job) */
	const char *item;     /* what is being worked on; borrowed */
	double start, shown;  /* clock_now() */
	int drawn;            /* a bar is on the line */

	/* Set by a signal handler: the next step writes one line of state to out_asked. */
	volatile sig_atomic_t asked;
	FILE *out_asked;
};

void progress_begin(struct progress *p, enum progress_mode mode, FILE *out, uint64_t total);
void progress_item(struct progress *p, const char *item);

/* bytes more are done.  Draws at most ten times a second. */
void progress_add(struct progress *p, uint64_t bytes);

/* Clears the bar; JSON gets its last line. */
void progress_end(struct progress *p);

#endif
