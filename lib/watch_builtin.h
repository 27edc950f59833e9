/* The built-in workloads as commands that can be watched: each step is told to the watcher. */
#ifndef WATCH_BUILTIN_H
#define WATCH_BUILTIN_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* Name number i of what "all" or one name stands for; NULL behind the last. */
const char *builtin_name(const char *which, size_t i);

/* Errors: no such workload (those that there are are named). */
int builtin_check(const char *which, struct err *e);

/* Runs a workload in this process for steps steps (0: its own number).  *status becomes
 * BUILTIN_SKIP where this machine cannot run it. */
#define BUILTIN_SKIP 77
int builtin_run(const char *name, const char *model, uint64_t steps, int *status, struct err *e);

#endif
