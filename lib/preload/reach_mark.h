/* The marking itself, in a copy of the process. */
#ifndef REACH_MARK_H
#define REACH_MARK_H

#include "preload.h"

/* First the table of blocks, which the process goes on changing, is read; 0 without memory. */
int reach_gather(struct state *s);

/* Marks from the roots and writes what is lost and held into s->sites.  step: the one that runs;
 * sp: the n stack pointers of its threads.  0 when there is no memory or it took over REACH_S. */
int reach_mark(struct state *s, uint32_t step, const uint64_t *sp, uint32_t n);

#define REACH_S 5

#endif
