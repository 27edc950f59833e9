/* Where reports go: "FORM:FILE" and what each form is. */
#ifndef LEAK_OUT_H
#define LEAK_OUT_H

#include "report.h"

/* Writes r as told by "json:FILE", "tap:FILE", "junit:FILE", "csv:FILE", "svg:FILE" or
 * "text:FILE"; "-" is standard output.  A file that is there is replaced, whole or not at all. */
int leak_out(const struct report *r, const char *form_and_file, struct err *e);

/* The same checked before anything is run. */
int leak_out_check(const char *form_and_file, struct err *e);

#endif
