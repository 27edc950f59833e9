/*
 * Blocks that may be moved: known by a number instead of an address, so that holes between them can
 * be closed.  An address is borrowed while a block is pinned, and a pinned block is never moved.
 *
 *	before   [A][  hole  ][B pinned][ hole ][C][hole][D]
 *	after    [A][C][hole ][B pinned][D]
 */
#ifndef HANDLE_H
#define HANDLE_H

#include "mem.h"

struct handles; /* private */

/* A block; 0 is none. */
typedef uint32_t handle;

struct handle_stats {
	size_t live;    /* bytes in blocks, rounded up to 64 */
	size_t pinned;  /* of these, in pinned blocks */
	size_t extent;  /* from the first byte to the end of the last block */
	size_t largest; /* hole in front of that end */
	size_t blocks;
};

struct handle_report {
	struct handle_stats before, after;
	uint64_t resident_before, resident_after; /* of the process, bytes, as the system says */
	size_t moved, bytes;                      /* blocks, and what was copied */
	double seconds;                           /* of copying, given-back pages not included */
};

/* Reserves address space for limit bytes.  Owner: the caller. */
int handles_init(struct handles **h, const char *name, size_t limit, struct err *e);
void handles_fini(struct handles *h); /* NULL is allowed */

/* Takes a block, 64-byte aligned, not zeroed: the lowest hole that fits, else the end, else after
 * closing holes.  0 with status 2 naming the store and its limit. */
handle handles_take(struct handles *h, size_t bytes, struct err *e);
void handles_give(struct handles *h, handle b); /* 0 is allowed; the block must not be pinned */

/* The address, valid until the matching unpin; pins nest.  NULL: no such block. */
void *handles_pin(struct handles *h, handle b);
void handles_unpin(struct handles *h, handle b);
size_t handles_size(const struct handles *h, handle b);

/* Moves blocks that are not pinned towards the front, and gives what lies behind the last one back
 * to the system.  report may be NULL. */
void handles_compact(struct handles *h, struct handle_report *report);

void handles_stats(struct handles *h, struct handle_stats *s);

#endif
