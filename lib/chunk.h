/*
 * Chunks: memory from the system in pieces of 32 MiB, handed out in runs of 64 KiB units.
 *
 *	chunk (32 MiB, aligned to 32 MiB)
 *	+--------+--------+--------+--------+- - - -+--------+
 *	| unit 0 | unit 1 | unit 2 | unit 3 |       | 511    |
 *	| record | [ a run of 2    ] idle   |       |        |
 *	+--------+--------+--------+--------+- - - -+--------+
 *	           1        1        0                1           stale: bit = unit was written to
 *
 * A request takes the shortest idle run that fits, and exactly as many units as it needs: what a
 * power-of-two buddy would round away stays idle.  Idle runs hang in one list per length and merge
 * with their neighbours at once.
 *
 * A pointer finds its chunk by its upper bits, and its unit's span record by the next nine.
 * Above CHUNK_MAX a block has a mapping of its own, with the same record in front.
 */
#ifndef CHUNK_H
#define CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define UNIT_SHIFT  16
#define UNIT_BYTES  ((size_t)1 << UNIT_SHIFT)
#define CHUNK_SHIFT 25
#define CHUNK_BYTES ((size_t)1 << CHUNK_SHIFT)
#define CHUNK_UNITS 512
#define CHUNK_MAX   ((CHUNK_UNITS - 1) * UNIT_BYTES) /* the longest run */
#define CHUNK_WORDS (CHUNK_UNITS / 64)
#define CHUNKS_MAX  8192 /* of one set: 256 GiB, own mappings not counted */

/* Two words in front of (or, for runs, beside) each block, for whoever took it. */
struct note {
	uint64_t a, b;
};

struct heap;

/* The record of a run of units; it lies at the run's first unit. */
struct span {
	struct heap
	    *easy;  /* heap while no flag below is set, else NULL; atomic: any thread reads it */
	void *free; /* blocks that were freed, linked through note.a */
	struct heap *heap; /* NULL: one block, the whole run */
	uint32_t stride;   /* bytes from block to block */
	uint16_t used;     /* blocks handed out */
	uint16_t fresh;    /* blocks that were never handed out begin at this one */
	uint16_t total;    /* blocks */
	union {
		struct {
			struct span *next,
			    *prev; /* idle runs of a length, spans with room of a class */
		};
		struct note note; /* of a run's only block */
	};
	uint16_t back;   /* bytes back to the first unit's record, in spans */
	uint16_t units;  /* of the run; 0: a mapping of its own, see chunk.mapped */
	uint8_t idle;    /* also in the record of an idle run's last unit */
	uint8_t class;   /* of size */
	uint8_t full;    /* no free block is left: not in its class's list */
	uint8_t aligned; /* may hold blocks that begin further in; atomic: any thread reads it */
};
#define SPAN_SHIFT 6
_Static_assert(sizeof(struct span) == 1 << SPAN_SHIFT, "a record is one cache line");

struct chunks;

struct chunk {
	struct chunks *set;
	struct chunk *next, *prev; /* of the mappings of their own */
	size_t mapped;             /* bytes, this record included */
	uint32_t slot;             /* in the set's table */
	uint32_t clean;            /* units that are not stale */
	/* Bit = unit was written to in an earlier run: it may be resident, and not zero. */
	uint64_t stale[CHUNK_WORDS];
	struct span span[CHUNK_UNITS] __attribute__((aligned(64)));
};
_Static_assert(sizeof(struct chunk) <= UNIT_BYTES, "the record is unit 0");

struct chunk_options {
	size_t limit; /* bytes of runs at most; 0: none */
	size_t keep;  /* bytes of free units that stay resident; the rest goes back at once */
	bool huge;    /* ask for huge pages */
};

/* All-zero but for the options is an empty set.  The counters are in bytes. */
struct chunks {
	struct chunk_options options;
	int lock;
	uint32_t count;       /* slots in use, empty ones included */
	size_t used, peak;    /* runs handed out */
	size_t idle;          /* idle runs */
	size_t kept;          /* of these, what may be resident */
	size_t mapped;        /* address space */
	size_t own;           /* mappings of their own, in mapped */
	struct chunk *owned;  /* list of these */
	struct chunk **table; /* CHUNKS_MAX slots */
	/* Idle runs by length, and which of these lists are not empty. */
	struct span *run[CHUNK_UNITS];
	uint64_t runs[CHUNK_WORDS];
};

/* A run of at least bytes, and whether the system's zeros are still in it.  NULL: the limit, or
 * no memory; chunks_why tells which.  Thread-safe. */
void *chunks_take(struct chunks *set, size_t bytes, bool *zero);

/* Gives the run that begins at p back; nothing was written behind its first touched bytes. */
void chunks_give(struct chunks *set, void *p, size_t touched);

/* Returns resident free units and empty chunks to the system; the bytes that were announced to it.
 */
size_t chunks_trim(struct chunks *set);

/* Unmaps everything, whatever still uses it. */
void chunks_fini(struct chunks *set);

/* Calls fn for each run in use, in address order within a chunk.  The set is locked meanwhile. */
void chunks_walk(struct chunks *set, void (*fn)(void *arg, struct chunk *c, struct span *s),
                 void *arg);

/* Sets e: the limit, if it is why bytes could not be taken, else the system. */
int chunks_why(struct chunks *set, const char *name, size_t bytes, struct err *e);

/* The longest idle run, in bytes. */
size_t chunks_longest(struct chunks *set);

/* A bit for each 32 MiB of the address space that is a chunk, so that a pointer can be told to be
 * foreign without touching it.  Pages of the table that are never set stay unmapped. */
#define CHUNK_SPACE ((uint64_t)1 << (48 - CHUNK_SHIFT))
extern uint64_t chunk_space[CHUNK_SPACE / 64];

/* Whether p lies in a chunk of any set (or in the first 32 MiB of a mapping of its own). */
static inline bool chunk_known(const void *p)
{
	uint64_t i = (uintptr_t)p >> CHUNK_SHIFT;

	return i < CHUNK_SPACE &&
	       (__atomic_load_n(&chunk_space[i / 64], __ATOMIC_RELAXED) >> (i & 63) & 1);
}

static inline struct chunk *chunk_of(const void *p)
{
	return (struct chunk *)((uintptr_t)p & ~(CHUNK_BYTES - 1));
}

/* The record of the run that p lies in. */
static inline struct span *span_of(const void *p)
{
	uintptr_t at = (uintptr_t)p >> (UNIT_SHIFT - SPAN_SHIFT) & (CHUNK_UNITS - 1) << SPAN_SHIFT;
	char *s = (char *)chunk_of(p)->span + at;

	return (struct span *)(void *)(s - ((struct span *)(void *)s)->back);
}

/* Where the run of s begins, and its bytes. */
static inline char *span_base(const struct span *s)
{
	struct chunk *c = chunk_of(s);

	return (char *)c + (size_t)(s - c->span) * UNIT_BYTES;
}

static inline size_t span_bytes(const struct span *s)
{
	return s->units ? (size_t)s->units << UNIT_SHIFT : chunk_of(s)->mapped - UNIT_BYTES;
}

#endif
