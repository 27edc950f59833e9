/*
 * The part of a pool that every allocation runs through, inline: for pool.c and mem.c alone.
 */
#ifndef POOL_IMPL_H
#define POOL_IMPL_H

#include "announce.h"
#include "pool.h"

#define POOL_SLOTS 16 /* pools at a time */

/* Class 0 to 7: 16 to 128 bytes in steps of 16; then eight steps in each doubling. */
#define POOL_CLASSES 96

static inline unsigned pool_class_of(size_t n)
{
	if (n <= 128)
		return (unsigned)((n - (n != 0)) >> 4);
	unsigned top = 63 - (unsigned)__builtin_clzll(n - 1);

	return (top - 6) * 8 + (unsigned)((n - 1) >> (top - 3) & 7);
}

/* The same, with most sizes looked up. */
#define POOL_TABLE 1024
extern uint8_t pool_table[POOL_TABLE / 16 + 1];

static inline unsigned pool_class(size_t n)
{
	return n <= POOL_TABLE ? pool_table[(n + 15) / 16] : pool_class_of(n);
}

#define POOL_COUNTS 8

/* What one thread holds of one pool. */
struct heap {
	/* For the pool's user: sums of this heap's threads, and the most they were; see mem.c. */
	int64_t now[POOL_COUNTS], top[POOL_COUNTS];
	const void *thread; /* identity of the owner; NULL after its end */
	struct pool *pool;
	struct heap *next;                       /* all of the pool */
	int trim;                                /* asked for by another thread */
	unsigned number;                         /* of the pool's heaps, from 0 */
	struct track *track;                     /* of track.c */
	void *away __attribute__((aligned(64))); /* blocks ended by other threads */
	struct span *span[POOL_CLASSES] __attribute__((aligned(64))); /* with room; never NULL */
};

struct pool {
	struct chunks chunks;
	const char *name;
	uint64_t serial; /* of this use of the slot */
	unsigned slot;
	int lock; /* of heaps */
	struct heap *heaps;
};

/* A thread's heaps by slot of the pool; an entry of an earlier pool has another serial. */
struct pool_mine {
	uint64_t serial;
	struct heap *heap;
};
extern __thread struct pool_mine pool_mine[POOL_SLOTS];
#define POOL_THREAD ((const void *)pool_mine)

extern struct pool pool_first; /* slot 0: pool_default() */

/* The calling thread's heap in pool_first for the short way of mem.c, or pool_nobody: a heap
 * whose classes are all empty, so that everything goes the long way. */
extern __thread struct heap *pool_easy;
extern struct heap pool_nobody;

/* The calling thread's heap, made if need be; NULL when there is no memory for one. */
struct heap *pool_heap(struct pool *p);

/* The first of the pool's heaps; the list only grows. */
static inline struct heap *pool_heaps(const struct pool *p)
{
	return __atomic_load_n(&p->heaps, __ATOMIC_ACQUIRE);
}

/* The note of a small block, and the block that a free one's note links to. */
static inline struct note *note_before(const void *block)
{
	return (struct note *)(uintptr_t)block - 1;
}

static inline void *note_link(const struct note *n)
{
	return (void *)(uintptr_t)n->a; /* NOLINT(performance-no-int-to-ptr): a link */
}

void *pool_take_slow(struct pool *p, size_t n, bool *zero);
void pool_give_slow(struct chunk *c, struct span *s, void *block);
void pool_retire(struct span *s);

static inline const void *pool_owner(const struct heap *h)
{
	return __atomic_load_n(&h->thread, __ATOMIC_RELAXED);
}

/* The next block of heap h for n <= POOL_SMALL, or NULL: then pool_take_slow. */
static inline void *pool_pop(struct heap *h, unsigned class)
{
	struct span *s = h->span[class];
	void *block = s->free;

	if (__builtin_expect(block != NULL, 1)) {
		s->free = note_link(note_before(block));
		s->used++;
	}
	return block;
}

/* Whether blocks of s can be ended the short way by the thread of this heap. */
static inline struct heap *span_easy(const struct span *s)
{
	return __atomic_load_n(&s->easy, __ATOMIC_RELAXED);
}

/* Takes a block, which no longer counts as handed out by anybody but s, back into s; s->easy is the
 * caller's heap. */
static inline void pool_back(struct span *s, void *block)
{
	note_before(block)->a = (uintptr_t)s->free;
	s->free = block;
	/* A class's first span stays, so that taking and ending one block costs no more. */
	if (__builtin_expect(--s->used == 0, 0) && s->prev)
		pool_retire(s);
}

#endif
