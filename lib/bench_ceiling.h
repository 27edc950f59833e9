/*
 * What this machine gives some threads at best, measured by loops of a kernel set: bytes read from
 * memory and int8 multiply-adds.
 */
#ifndef BENCH_CEILING_H
#define BENCH_CEILING_H

#include "kernels.h"
#include "threads.h"

struct bench_ceiling; /* private: threads and what they read */

/* Takes threads (bound to cores when pin is set) and 512 MiB to read, more than caches hold on most
 * machines.  Owner: the caller.  Errors: no memory, no threads. */
int bench_ceiling_open(struct bench_ceiling **c, const struct kernels *k, int threads, int pin,
                       struct err *e);
void bench_ceiling_close(struct bench_ceiling *c); /* NULL is allowed */

/* One measurement: bytes a second; int8 multiply-adds a second. */
double bench_ceiling_read(struct bench_ceiling *c);
double bench_ceiling_int8(struct bench_ceiling *c);

#endif
