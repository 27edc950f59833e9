#include "json_arena.h"

#include <jansson.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "mem.h"

#define CHUNK (128u << 10)

struct json_arena_chunk {
	struct json_arena_chunk *next;
	size_t size, used;
	_Alignas(16) char bytes[];
};

/* The one that is in use on this thread. */
static _Thread_local struct json_arena *active;

static void *take(size_t n)
{
	struct json_arena_chunk *c;

	if (!active)
		return malloc(n);
	if (n > SIZE_MAX / 2)
		return NULL;
	n = n ? (n + 15) & ~(size_t)15 : 16;
	c = active->chunks;
	if (!c || n > c->size - c->used) {
		size_t size = n > CHUNK ? n : CHUNK;
		if (!(c = mem_alloc(MEM_IO, sizeof *c + size, NULL))) {
			active->failed = 1;
			return NULL;
		}
		*c = (struct json_arena_chunk){active->chunks, size, 0};
		active->chunks = c;
	}
	c->used += n;
	return c->bytes + c->used - n;
}

/* What was taken while an arena was in use is only given back meanwhile, or never. */
static void give(void *p)
{
	if (!active)
		free(p);
}

static void redirect(void)
{
	json_set_alloc_funcs(take, give);
}

/* Ends all chunks but keep. */
static void end_chunks(struct json_arena *a, const struct json_arena_chunk *keep)
{
	struct json_arena_chunk *c, *next;

	for (c = a->chunks; c; c = next) {
		next = c->next;
		if (c != keep)
			mem_free(c);
	}
}

void json_arena_begin(struct json_arena *a)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, redirect);
	if (a->chunks && a->chunks->size > CHUNK)
		json_arena_free(a);
	end_chunks(a, a->chunks);
	if (a->chunks)
		*a->chunks = (struct json_arena_chunk){NULL, a->chunks->size, 0};
	a->failed = 0;
	active = a;
}

void json_arena_end(void)
{
	active = NULL;
}

int json_arena_failed(const struct json_arena *a)
{
	return a->failed;
}

void json_arena_free(struct json_arena *a)
{
	end_chunks(a, NULL);
	a->chunks = NULL;
}
