/*
 * Giving memory back: a list of cleaners (a pool's trim, a cache, a store of handles), run by
 * device, by age and by pressure, now or by a schedule.  What a run achieved is what the system
 * says before and after it, beside what the cleaners announced.
 *
 * Ages: a cleaner of generation g runs in every 4^g-th run, so that what lives long is looked at
 * seldom; pressure of medium and above runs all.
 */
#ifndef CLEANUP_H
#define CLEANUP_H

#include "pressure.h"

struct cleaner {
	const char *name;
	unsigned device;           /* bit number in cleanup_what.devices; 0 is the host */
	unsigned generation;       /* 0 young, 1, 2 old */
	enum pressure_level level; /* not below this pressure */
	size_t (*run)(void *arg);  /* returns the bytes that it gave back */
	void *arg;
};

struct cleanup_what {
	uint64_t devices; /* bits; 0: all */
	enum pressure_level level;
	bool all; /* whatever their generation */
};

struct cleanup_report {
	unsigned ran;                             /* cleaners */
	uint64_t announced;                       /* bytes, by the cleaners */
	uint64_t resident_before, resident_after; /* of the process, by the system */
	double seconds;
};

struct cleanup; /* private */

int cleanup_init(struct cleanup **c, struct err *e);
void cleanup_fini(struct cleanup *c); /* stops the schedule; NULL is allowed */

/* Adds a cleaner; not while a schedule runs. */
int cleanup_add(struct cleanup *c, const struct cleaner *w, struct err *e);

void cleanup_run(struct cleanup *c, const struct cleanup_what *what, struct cleanup_report *r);

/* Runs by itself, in a thread: every interval_ms, when at least threshold bytes have become
 * resident since the last run or pressure is medium or more; and at once when pressure becomes so.
 * interval_ms 0: off, which is how it begins. */
int cleanup_schedule(struct cleanup *c, unsigned interval_ms, uint64_t threshold, struct err *e);

/* Tells a cleanup the pressure: pressure_options.changed, with the cleanup as its arg. */
void cleanup_pressed(void *cleanup, const struct pressure_reading *r);

/* Runs so far, and what the last one achieved. */
unsigned cleanup_last(struct cleanup *c, struct cleanup_report *r);

/* Cleaners for what this library holds: arg is a struct pool, a struct handles; malloc's own
 * (arg unused). */
size_t cleanup_pool(void *pool);
size_t cleanup_handles(void *handles);
size_t cleanup_malloc(void *unused);

#endif
