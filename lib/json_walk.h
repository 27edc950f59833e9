/*
 * A JSON text with long arrays or objects, whose elements are read a few at a time: as values in
 * memory they would take ten times the room of the text.  Everything is still parsed by the JSON
 * library; here only the ends of elements are found, by their brackets.
 */
#ifndef JSON_WALK_H
#define JSON_WALK_H

#include "json.h"
#include "json_arena.h"

/* Private.  All-zero is an empty walk.  Text and root must outlive it. */
struct json_walk {
	const char *at, *end;     /* what is left in the text, the last bracket included; NULL: the
	                             place was not found, and list is all */
	char open;                /* the first bracket */
	const json_t *list;       /* elements at hand: an array or an object */
	size_t i;                 /* elements of list that were read, when it is an array */
	void *iter;               /* the next one, when it is an object */
	size_t n;                 /* elements read before list */
	struct json_arena arena;  /* of the list at hand */
	struct json_ahead *ahead; /* owned; NULL: the text is parsed when it is asked for */
};

#define JSON_WALK_MAX 4

/* Parses text; what lies at path[k] ("model.merges") becomes null in root, and w[k] walks its
 * elements.  None of the n_walks (at most JSON_WALK_MAX) places may lie in another.  A path that
 * leads to no array or object gives an empty walk (and the value, if any, in root).
 * Owner: the caller; json_walk_end ends each walk, also after an error. */
int json_walk_parse(struct json_walk *w, const char *const *path, size_t n_walks, const char *text,
                    size_t n, json_t **root, struct err *e);
void json_walk_end(struct json_walk *w);

/* From now on a thread of its own parses what comes next, a few thousand elements ahead of those
 * that were asked for; what the walk gives is the same.  To be called before the first element is.
 * A walk that stands for no text, or a system without threads to spare: nothing happens. */
void json_walk_ahead(struct json_walk *w);

/* JSON_ARRAY or JSON_OBJECT; JSON_NULL when there is neither. */
json_type json_walk_type(const struct json_walk *w);

/* The next element, in objects with its name (else NULL), both borrowed until the next call
 * (a reference does not keep them): 1, 0 after the last, -1 with an error.  A name that is there
 * twice is only noticed when the two lie near each other. */
int json_walk_next(struct json_walk *w, const char **name, size_t *name_n, json_t **element,
                   struct err *e);

/* How many elements were read. */
size_t json_walk_count(const struct json_walk *w);

#endif
