/*
 * A JSON text with one long array, whose elements are read one by one: as values in memory they
 * would take ten times the room of the text.  Everything is still parsed by the JSON library; here
 * only the end of the array is found, by its brackets.
 */
#ifndef JSON_WALK_H
#define JSON_WALK_H

#include "json.h"

/* Private.  Text and root must outlive it. */
struct json_walk {
	const char *at, *end; /* what is left of the array, its bracket included; NULL: see list */
	const json_t *list;   /* the array itself, where it was not found in the text */
	size_t i;             /* elements read */
};

/* Parses text; the array at path ("model.merges") becomes null in root, and w walks its elements.
 * A path that leads to no array gives an empty walk (and the value, if any, in root). */
int json_walk_parse(struct json_walk *w, const char *text, size_t n, const char *path,
                    json_t **root, struct err *e);

/* Whether there is an array at all. */
int json_walk_found(const struct json_walk *w);

/* The next element, which the caller ends with json_decref: 1, 0 after the last, -1 with an
 * error. */
int json_walk_next(struct json_walk *w, json_t **element, struct err *e);

#endif
