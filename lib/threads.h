/*
 * A pool of workers that run one function together and meet at barriers.  Results must not
 * depend on how many there are: work is split so that each output element has one writer.
 */
#ifndef THREADS_H
#define THREADS_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct threads; /* private */

/* Cores that this process may use: affinity mask, capped by the cgroup's CPU quota
 * (v2 cpu.max up the tree, v1 cfs quota), rounded up; at least 1. */
int threads_available(void);

/* The smallest CPU quota of the cgroup that self (/proc/self/cgroup) names, below root
 * (/sys/fs/cgroup), and of those above it, in CPUs; 0 when there is none. */
double threads_quota(const char *self, const char *root);

/* Bytes of stack of each worker that is started (count - 1 of them). */
#define THREADS_STACK (256 * 1024)

/* Starts count - 1 workers (the caller is the other one).  Owner: the caller. */
int threads_start(struct threads **t, int count, struct err *e);

/* Binds thread i to the i-th core of the caller's affinity mask, until threads_stop, which the same
 * caller must call. */
int threads_pin(struct threads *t, struct err *e);
void threads_stop(struct threads *t); /* NULL is allowed */
int threads_count(const struct threads *t);

/* Runs fn(arg, i, count) on every thread, i = 0 on the caller, and returns when all are done. */
void threads_run(struct threads *t, void (*fn)(void *arg, int i, int count), void *arg);

/* Inside fn: waits until all threads are here (spins briefly, then sleeps). */
void threads_barrier(struct threads *t);

/* The same; the last thread to arrive runs step(arg) before any goes on.  arg means the same on all
 * threads. */
void threads_meet(struct threads *t, void (*step)(void *arg), void *arg);

/* Inside fn, for work whose parts may take unequal time: the next of n parts that no thread has
 * taken yet, or -1.  Each round of claims ends when every thread got -1 and passed a barrier. */
long threads_claim(struct threads *t, long n);

/* Inside fn, for what must be done in order, part by part: waits until turn i comes (0 first in
 * every threads_run); threads_turn_end, called by whose turn it is, lets the next one come. */
void threads_turn(struct threads *t, uint32_t i);
void threads_turn_end(struct threads *t);

/* The part of n units, in multiples of step, that thread i of count does: [*first, *last). */
void threads_split(size_t n, size_t step, int i, int count, size_t *first, size_t *last);

#endif
