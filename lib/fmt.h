/*
 * Numbers and tables for people: sizes, bars, columns.  Nothing here decides
 * where output goes; callers give the stream.
 */
#ifndef FMT_H
#define FMT_H

#include <stdint.h>
#include <stdio.h>

#include "err.h"

#define FMT_SIZE 24

/* "1.23 GiB", "512 B": powers of 1024, three digits.  Returns out. */
const char *fmt_size(char out[FMT_SIZE], uint64_t bytes);

/* The same in powers of 1000: "1.32 GB". */
const char *fmt_size_si(char out[FMT_SIZE], uint64_t bytes);

/* In the units that were asked for; FMT_BYTES: digits alone. */
enum fmt_units { FMT_BINARY, FMT_SI, FMT_BYTES };
const char *fmt_size_as(char out[FMT_SIZE], enum fmt_units units, uint64_t bytes);

/* "8G", "8Gi", "8GiB" are 8 * 2^30; "8GB" is 8 * 10^9; plain digits are bytes; a
 * fraction ("1.5G") is allowed.  Errors: not a size, or over 2^64 - 1 (status 2). */
int fmt_parse_size(const char *s, uint64_t *bytes, struct err *e);

/* Columns of the terminal behind stream: $COLUMNS, else the kernel's answer, else 80. */
int fmt_columns(FILE *stream);

/* Whether stream is a terminal that may be written to with colour: NO_COLOR unset, TERM not dumb.
 */
int fmt_colour(FILE *stream);

/* Writes s as text of XML, in an element or between quotes; '?' for what XML cannot say. */
void fmt_xml(const char *s, FILE *out);

/* Writes a bar of value/max of a width in columns, in eighths of a column where the locale is UTF-8
 * and in '#' elsewhere.  Returns the columns used. */
int fmt_bar(FILE *out, double value, double max, int width);

/* The same in a column of a table: filled up with spaces to the width. */
void fmt_bar_cell(FILE *out, double value, double max, int width);

#endif
