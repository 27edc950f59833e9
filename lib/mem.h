/*
 * Tagged, counted allocation: every block that the toolkit owns is taken here (or from an arena
 * or a pool of its own), so that what is held can be told by purpose.
 *
 * Blocks come from the default pool (pool.h).  In a build for AddressSanitizer each is a block of
 * malloc instead, because the tool then sees its exact ends, its life and its loss.  A block that
 * is ended twice ends the program with a message.
 */
#ifndef MEM_H
#define MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* The purpose of a block.  Names: mem_tag_name(). */
enum mem_tag {
	MEM_OTHER = 0,
	MEM_WEIGHTS,    /* tensor data that was copied or repacked (mapped files do not count) */
	MEM_KV,         /* KV cache */
	MEM_ACTIVATION, /* buffers of the forward pass */
	MEM_SCRATCH,    /* per-thread work space */
	MEM_VOCAB,      /* tokenizer tables */
	MEM_IO,         /* file headers, prompts, output buffers */
	MEM_TAGS
};

/* "weights", "kv", ... */
const char *mem_tag_name(enum mem_tag tag);

/* Takes bytes (0 is allowed: a unique pointer), 16-byte aligned, not zeroed.
 * The caller owns the block and ends it with mem_free.  NULL with status 2 and the
 * size in the text when there is no memory. */
void *mem_alloc(enum mem_tag tag, size_t bytes, struct err *e);

/* count * size bytes, zeroed; the product is checked. */
void *mem_calloc(enum mem_tag tag, size_t count, size_t size, struct err *e);

/* Grows or shrinks p (NULL: a new block) to count * size bytes, checked; on failure
 * NULL, and p is untouched. */
void *mem_realloc(enum mem_tag tag, void *p, size_t count, size_t size, struct err *e);

/* A copy of n bytes with a NUL behind it. */
char *mem_strndup(enum mem_tag tag, const char *s, size_t n, struct err *e);

/* Ends a block of any of the above; NULL is allowed. */
void mem_free(void *p);

/* Bytes asked for and not yet ended, by tag, and the most that ever were at once: exact when one
 * thread allocates, else the peak is within 4 MiB per thread of what it was. */
uint64_t mem_live(enum mem_tag tag);
uint64_t mem_peak(enum mem_tag tag);

/* Failing on purpose, for tests: the n-th allocation from now on (1: the next one) finds no memory;
 * 0: none.  $BITNET_MEM_FAIL sets it for a whole program.  Arenas count too.  mem_attempts() counts
 * the allocations since then, while n is not 0. */
void mem_fail_at(uint64_t n);
uint64_t mem_attempts(void);
bool mem_fails(void); /* whether this one must fail: for whoever allocates beside mem.c */

#endif
