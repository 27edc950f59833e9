/*
 * Memory pressure: how close the process is to a limit, and who wants to know.
 *
 * Sources, each used where it is there and asked in this order for what is left:
 *	own limit   of a pool (pool.h)
 *	cgroup      v2 memory.max or v1 memory.limit_in_bytes, of the group and those above it;
 *	            file pages that the kernel can drop count as left
 *	system      MemAvailable
 * The level follows the least share that is left; stall time (PSI), a limit that was hit since the
 * last look, and a service manager's word raise it.
 */
#ifndef PRESSURE_H
#define PRESSURE_H

#include <stdint.h>

#include "err.h"
#include "pool.h"

enum pressure_level {
	PRESSURE_NONE = 0,
	PRESSURE_LOW,      /* below 30 % left */
	PRESSURE_MEDIUM,   /* below 20 %, or tasks stall for 10 % of the time, or the watcher was
	                      woken   by the manager or the kernel */
	PRESSURE_HIGH,     /* below 10 %, or all stall for 10 %, or the group's limit was hit */
	PRESSURE_CRITICAL, /* below 5 % */
};

/* A level is left only when the share is this much above where it began. */
#define PRESSURE_HYSTERESIS 0.03

struct pressure_reading {
	enum pressure_level level;
	const char *source;   /* of left and limit: "pool", "cgroup", "system" */
	uint64_t left, limit; /* bytes */
	double some, full;    /* stall, percent of the last 10 s; negative: not known */
	uint64_t hits;        /* of the group's limit so far; 0 where not known */
};

struct pressure_options {
	const char *root;  /* in front of /proc and /sys, for tests; NULL: none */
	struct pool *pool; /* NULL: none */
	/* The watcher looks this often, and when the kernel or $MEMORY_PRESSURE_WATCH tells it to.
	 */
	unsigned interval_ms;
	/* Called by the watcher's thread at each change of level; may be NULL. */
	void (*changed)(void *arg, const struct pressure_reading *r);
	void *arg;
};

/* "none", "low", "medium", "high", "critical". */
const char *pressure_name(enum pressure_level l);

/* Looks once; before (PRESSURE_NONE at first) is the level that held until now, hits_before the
 * hits of then.  Status 2 when no source could be read. */
int pressure_read(const struct pressure_options *o, enum pressure_level before,
                  uint64_t hits_before, struct pressure_reading *r, struct err *e);

/* A thread that watches; it sleeps in poll() until the kernel or a time limit wakes it. */
struct pressure;
int pressure_start(struct pressure **p, const struct pressure_options *o, struct err *e);
void pressure_stop(struct pressure *p); /* NULL is allowed */

/* The level at the watcher's last look. */
enum pressure_level pressure_level(const struct pressure *p);

/* What wakes it besides time: "$MEMORY_PRESSURE_WATCH", "psi", or NULL. */
const char *pressure_woken_by(const struct pressure *p);

#endif
