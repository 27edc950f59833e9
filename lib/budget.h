/*
 * How much memory a process here may take: what the system has left, the limits of its control
 * groups up the tree (v2 and v1), and its own limits.
 */
#ifndef BUDGET_H
#define BUDGET_H

#include <stdint.h>

#include "err.h"

/* What a limit is a limit of. */
enum budget_of {
	BUDGET_RESIDENT, /* pages in memory */
	BUDGET_CHARGED,  /* what a control group is charged */
	BUDGET_RESERVED, /* address space */
	BUDGET_PRIVATE,  /* private mappings, touched or not */
	BUDGET_ALL,      /* what a machine must have, huge pages too */
	BUDGET_KINDS
};

struct budget_source {
	char name[200]; /* "available memory", "memory.max of cgroup /x", "RLIMIT_AS", ... */
	enum budget_of of;
	uint64_t bytes;
};

#define BUDGET_SOURCES 64
struct budget {
	struct budget_source source[BUDGET_SOURCES];
	unsigned n;
};

/* A budget of the given size, under the given name. */
void budget_fixed(struct budget *b, const char *name, uint64_t bytes);

/* Every limit that this process has.  root is put in front of /proc and /sys ("" on a real system;
 * tests have their own tree).  Errors: /proc/meminfo cannot be read. */
int budget_find(struct budget *b, const char *root, struct err *e);

/* -M: to is a struct budget, value a size or "auto". */
int budget_opt(void *to, const char *value, struct err *e);

/* Takes away what is kept for others: bytes, or percent of each limit on memory (not on address
 * space). */
void budget_reserve(struct budget *b, uint64_t bytes, unsigned percent);

/* Needs in the order of budget_of.  The source that is exceeded, the tightest one; NULL: all is
 * well. */
const struct budget_source *budget_exceeded(const struct budget *b,
                                            const uint64_t need[BUDGET_KINDS]);

/* The source that leaves least: bytes - need; NULL when there is none. */
const struct budget_source *budget_tightest(const struct budget *b,
                                            const uint64_t need[BUDGET_KINDS]);

#endif
