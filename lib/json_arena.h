/*
 * Room for JSON values that are dropped all at once: the JSON library takes three blocks for each
 * element that it reads, and giving them back one by one takes as long as reading.
 *
 *	json_arena_begin(&a);       the values of before are gone
 *	v = json_loadb(...);        lies in a
 *	json_arena_end();
 *	...                         v may be read, on any thread, but neither changed nor ended
 *	json_arena_free(&a);
 */
#ifndef JSON_ARENA_H
#define JSON_ARENA_H

#include <stddef.h>

/* All-zero is empty.  Private. */
struct json_arena {
	struct json_arena_chunk *chunks; /* the first is taken from */
	int failed;
};

/* Empties a, and lets this thread's JSON values come from it, until json_arena_end. */
void json_arena_begin(struct json_arena *a);
void json_arena_end(void);

/* Whether there was no memory since it began: the JSON library says other things of that. */
int json_arena_failed(const struct json_arena *a);

void json_arena_free(struct json_arena *a);

#endif
