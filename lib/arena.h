/*
 * One block of planned size, carved from the front: a plan region in memory.
 *
 *	base           mark of a scope          used              size
 *	+--------------+------------------------+-----------------+
 *	| outer takes  | takes of the scope     | free            |
 *	+--------------+------------------------+-----------------+
 *
 * A list that would be grown item by item and then joined is taken here once, at its final size.
 * What a scope has ended is closed to AddressSanitizer and valgrind; at the level TRACK_GUARD
 * (track.h) a write to it is reported when the bytes are taken again, with the sites of both ends.
 */
#ifndef ARENA_H
#define ARENA_H

#include "mem.h"

/* All-zero is "no arena". */
struct arena {
	uint8_t *base; /* size bytes, page aligned, zeroed by the system */
	size_t size;
	size_t used;
	size_t peak;  /* the most that used was when a scope ended; see arena_peak */
	size_t dirty; /* bytes in front that an ended scope may have written to */
	enum mem_tag tag;
	const char *name;          /* of the plan region; borrowed */
	struct arena_guard *guard; /* NULL below TRACK_GUARD */
};

/* Every take is rounded up to this many bytes, so a plan can add sizes up exactly. */
#define ARENA_ALIGN 64

/* Bytes that a take of n occupies. */
static inline size_t arena_round(size_t n)
{
	return (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

/* Reserves bytes from the system; status 2 naming the region when that fails. */
int arena_init(struct arena *a, enum mem_tag tag, const char *name, size_t bytes, struct err *e);

/* The same on huge pages, as far as whole ones reach, where the system has them. */
int arena_init_huge(struct arena *a, enum mem_tag tag, const char *name, size_t bytes,
                    struct err *e);

/* The next n bytes, ARENA_ALIGN aligned, zero unless an earlier scope used them; NULL
 * when the arena is full, which means that the plan is wrong. */
void *arena_take(struct arena *a, size_t n);

/* A scope: everything taken after arena_begin is given back by arena_end(mark).  Scopes nest: one
 * that is ended after its outer one stops the program with a message. */
static inline size_t arena_begin(const struct arena *a)
{
	return a->used;
}
void arena_end(struct arena *a, size_t mark);

/* The most that was ever in use, bytes: what the plan could have been. */
size_t arena_peak(const struct arena *a);

/* Gives the pages behind used back to the system; they are zero when they are taken again.  Bytes.
 */
size_t arena_trim(struct arena *a);

/* Gives all its pages back: what was taken stays taken, and is zero. */
void arena_forget(struct arena *a);

void arena_fini(struct arena *a);

/* A scope that also tells which blocks of mem.h were taken in it and outlived it. */
struct arena_scope {
	struct arena *arena; /* NULL: only blocks are watched */
	size_t mark;
	uint32_t epoch;
	uint64_t live[MEM_TAGS];
};

/* What outlived a scope: bytes by tag that were live at its end and not at its begin, the sum over
 * all threads; 0 where it ended more than it took. */
struct arena_left {
	uint64_t bytes[MEM_TAGS];
	uint64_t all;
	uint32_t epoch; /* for track_sites_since: these blocks by call site, at TRACK_STANDARD and
	                   above */
};

void arena_scope_begin(struct arena_scope *s, struct arena *a);
void arena_scope_end(struct arena_scope *s, struct arena_left *left); /* left may be NULL */

#endif
