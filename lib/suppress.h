/*
 * Suppressions in the syntax of LeakSanitizer: lines "leak:PATTERN", where PATTERN stands
 * anywhere in a function, file or module of the stack, '*' matches any text, '^' and '$' bind it to
 * the beginning and end, and '#' begins a comment.  "growth:PATTERN" allows only growth that is
 * still held (an intended cache).
 */
#ifndef SUPPRESS_H
#define SUPPRESS_H

#include "report.h"

/* Marks the findings of r that lines of the file at path cover, and takes back a verdict that
 * rested on them alone.  Errors: the file cannot be read; a line of another kind (named). */
int suppress_apply(const char *path, struct report *r, struct err *e);

/* Whether the pattern stands in s. */
int suppress_match(const char *pattern, const char *s);

#endif
