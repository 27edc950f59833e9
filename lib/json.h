/*
 * JSON through Jansson, with this project's errors and habits: texts come from files that are not
 * trusted (duplicate keys, invalid UTF-8 and more than 2048 levels are refused), values are asked
 * for by a path of keys and must have the type that is asked for.
 */
#ifndef JSON_H
#define JSON_H

#include <jansson.h>
#include <stdint.h>

#include "err.h"

/* Parses n bytes; the caller ends *root with json_decref.  Errors (status 2) say where. */
int json_parse(const char *text, size_t n, json_t **root, struct err *e);

/* The same of a file of at most limit bytes. */
int json_parse_file(const char *path, size_t limit, json_t **root, struct err *e);

/* The value at a path of keys joined by dots ("rope_scaling.factor"); NULL when it is absent or
 * null there, or root is NULL. */
const json_t *json_at(const json_t *root, const char *path);

/* Values by path.  Return 0 and set *out; 1 when it is absent or null (*out untouched); -1 with an
 * error that names the path when it is something else.  Strings are borrowed from root. */
int json_get_u64(const json_t *root, const char *path, uint64_t *out, struct err *e);
int json_get_f64(const json_t *root, const char *path, double *out, struct err *e);
int json_get_bool(const json_t *root, const char *path, int *out, struct err *e);
int json_get_str(const json_t *root, const char *path, const char **out, struct err *e);

/* "a number", "an object", ... for messages. */
const char *json_kind(const json_t *v);

#endif
