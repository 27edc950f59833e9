/*
 * One block of planned size, carved from the front: a plan region in memory.
 */
#ifndef ARENA_H
#define ARENA_H

#include "mem.h"

/* All-zero is "no arena". */
struct arena {
	uint8_t *base; /* size bytes, page aligned, zeroed by the system */
	size_t size;
	size_t used;
	enum mem_tag tag;
	const char *name; /* of the plan region; borrowed */
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

/* The next n bytes, ARENA_ALIGN aligned, zero unless an earlier scope used them; NULL
 * when the arena is full, which means that the plan is wrong. */
void *arena_take(struct arena *a, size_t n);

/* A scope: everything taken after arena_begin is given back by arena_end(mark). */
static inline size_t arena_begin(const struct arena *a)
{
	return a->used;
}
void arena_end(struct arena *a, size_t mark);

void arena_fini(struct arena *a);

#endif
