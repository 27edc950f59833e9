/* Samples, and what is asked of the watched process at some of them. */
#ifndef WATCH_SAMPLE_H
#define WATCH_SAMPLE_H

#include "watch.h"

/* Takes a sample of pid, its descendants, and the processes in the ledger.  at_step: a step ended,
 * and its process may be waiting for us.  Errors: no memory. */
int sample_take(struct watch *w, struct probe *p, pid_t pid, int at_step, struct err *e);

/* The present values of pid and what belongs to it; 0 when it has ended. */
size_t sample_read(struct watch *w, struct probe *p, pid_t pid, double v[PROBE_COUNT]);

/* One more sample with values from elsewhere (whole runs). */
void sample_push(struct watch *w, const double v[PROBE_COUNT]);

/* After the command's end: what its last events left in the ledger, and late snapshots. */
int sample_last(struct watch *w, struct err *e);

/* Tells writers to the step descriptor that n more lines were dealt with. */
void sample_ack(struct watch *w, uint32_t n);

#endif
