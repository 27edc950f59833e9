/*
 * The built-in workloads of bitnet-leakcheck: the toolkit's own work, cut into steps that are all
 * the same, so that a keyed cache looks like warm-up and a leak does not.
 *
 *	struct workload *w;
 *	if (workload_init(&w, "load", &options, &e) == 0) {
 *		for (unsigned i = 0; i < workload_find("load")->steps; i++)
 *			if (workload_step(w, &failures, &e) != 0)
 *				break;
 *		workload_fini(w);
 *	}
 *
 * One workload at a time in a process: the memory counters of the process are what is watched.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct workload; /* private */

struct workload_info {
	const char *name;  /* "quantize", "load", "infer", "errors", "stress", "tokenizer", "gpu" */
	const char *about; /* one sentence, lower case, no full stop */
	unsigned steps;    /* enough for a verdict */
};

/* All-zero is the default. */
struct workload_options {
	const char *model; /* GGUF file; NULL: the one that comes with the toolkit */
	int threads;       /* workers of a session; 0: one */
	uint64_t seed;     /* of prompts and weights */
};

enum workload_ready {
	WORKLOAD_SKIP = 1, /* this machine cannot run it: e->text tells why, e->status is 0 */
};

/* Name and facts of workload i; NULL behind the last. */
const struct workload_info *workload_get(size_t i);

/* By name; NULL when there is none. */
const struct workload_info *workload_find(const char *name);

/* Prepares what all steps share.  Returns 0, WORKLOAD_SKIP, or -1 (unknown name, a model that
 * cannot be read).  Owner: the caller; workload_fini ends it. */
int workload_init(struct workload **w, const char *name, const struct workload_options *o,
                  struct err *e);

/* One step.  *failures is set to the failures that the step provoked on purpose (corrupt files,
 * refused allocations): for the "error" lines of the watcher.  -1 when something failed that
 * should not have, or a result was not what it must be. */
int workload_step(struct workload *w, unsigned *failures, struct err *e);

void workload_fini(struct workload *w); /* NULL is allowed */

#endif
