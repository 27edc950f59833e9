/*
 * Pools: blocks of any size, from any thread.
 *
 * Up to POOL_SMALL bytes a block comes from its size class (eight per doubling) in the calling
 * thread's own spans: a pop from a list, no lock.  Above, it is a run of 64 KiB units (chunk.h)
 * under one short lock.  A block may be ended by any thread; a foreign thread pushes it onto the
 * owner's list, and the owner takes that list over when it next runs out.  A thread that ends
 * leaves its spans to the next one that starts.
 *
 *	thread's heap --> class --> span (1 to 32 units) --> [note|block][note|block]...
 *
 * Every block has a note of 16 bytes for the pool's user; while the block is free, note.a links it.
 */
#ifndef POOL_H
#define POOL_H

#include "chunk.h"

#define POOL_SMALL     ((size_t)256 * 1024)
#define POOL_ALIGN     16   /* of every block */
#define POOL_ALIGN_MAX 4096 /* that can be asked for */

struct pool;

/* All-zero is a pool without limit that keeps nothing. */
struct pool_options {
	const char *name; /* in messages; borrowed */
	size_t limit;     /* bytes of 64 KiB units in use at most; 0: none */
	size_t keep;      /* bytes of free units that stay resident */
	bool huge;        /* ask the system for huge pages */
};

/* What stays resident where nothing else is said: the largest tensors of common models change
 * places without a system call. */
#define POOL_KEEP ((size_t)64 << 20)

struct pool_stats {
	size_t asked;   /* bytes in blocks that are handed out, rounded up to their class */
	size_t used;    /* bytes of units in use (blocks, and the spans that hold small ones) */
	size_t peak;    /* the most that used ever was */
	size_t kept;    /* bytes of free units that may still be resident */
	size_t mapped;  /* address space */
	size_t blocks;  /* handed out */
	size_t longest; /* the longest free run in mapped chunks, bytes */
	size_t unused;  /* all free runs in mapped chunks, bytes */
};

/* Makes a pool; pool_fini unmaps all its memory at once, whatever is still in use. */
int pool_init(struct pool **p, const struct pool_options *o, struct err *e);
void pool_fini(struct pool *p); /* NULL is allowed */

/* The pool that mem.h allocates from; it is never ended. */
struct pool *pool_default(void);

/* Takes n bytes (0 is allowed: a unique pointer), POOL_ALIGN aligned, not zeroed.  NULL with
 * status 2, naming the pool and its limit if that is the reason. */
void *pool_take(struct pool *p, size_t n, struct err *e);

/* The same with an alignment (a power of two up to POOL_ALIGN_MAX) and zeroing. */
void *pool_take_as(struct pool *p, size_t n, size_t align, bool zero, struct err *e);

/* Ends a block, from any thread; NULL is allowed. */
void pool_give(void *block);

/* Bytes that the block may use. */
size_t pool_room(const void *block);

/* The block's 16 bytes for the pool's user; undefined until written, lost when the block ends. */
struct note *pool_note(const void *block);

/* Returns what is free to the system: of the calling thread, of ended threads, and all units.
 * Other threads do the same for their part when they next run out of a class.  The bytes that
 * were announced to the system. */
size_t pool_trim(struct pool *p);

/* Exact when no other thread is in the pool meanwhile. */
void pool_stats(struct pool *p, struct pool_stats *s);

/* A user who wants to find its blocks by pool_walk marks their notes: the low byte of note.a is
 * POOL_MARK or up to 7 above.  Free blocks are linked through note.a, and an address of one is
 * never so. */
#define POOL_MARK 0xb8
static inline bool pool_marked(const struct note *n)
{
	return (n->a & 0xf8) == POOL_MARK;
}

/* Calls fn for every block that is handed out and whose note is marked. */
void pool_walk(struct pool *p, void (*fn)(void *arg, void *block, struct note *n), void *arg);

#endif
