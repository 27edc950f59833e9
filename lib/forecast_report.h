/*
 * A forecast as a table for people and as JSON (schema bitnet-memplan/1, see bitnet-memplan(1)).
 */
#ifndef FORECAST_REPORT_H
#define FORECAST_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "advise.h"
#include "budget.h"
#include "forecast.h"

enum report_units { REPORT_BINARY, REPORT_SI, REPORT_BYTES };

#define REPORT_COLUMNS 12

struct report_options {
	enum report_units units;
	int no_heading;
	int layers, tensors; /* list them */
	int explain;
	int bars;                    /* draw them */
	int colour;                  /* may be used */
	int width;                   /* of the terminal */
	int columns[REPORT_COLUMNS]; /* by report_column, in order; */
	unsigned n_columns;          /* 0: the usual ones */
};

/* What a report is about. */
struct report {
	const char *file;
	const struct gguf *g;
	const struct forecast *f;
	const struct budget *budget; /* NULL: none was asked for */
	uint64_t device_bytes;       /* 0: none */
	const struct advice *advice; /* NULL: none */
};

/* A column by name ("name", "size", ...); -1 when there is none.  report_columns() lists them. */
int report_column(const char *name, size_t n);
const char *report_columns(void);

/* "1.23 GiB", "1.32 GB" or "1324342344". */
const char *report_size(enum report_units u, uint64_t bytes, char out[24]);

int report_text(const struct report *r, const struct report_options *o, FILE *out);

/* NULL when there is no memory. */
json_t *report_json(const struct report *r, const struct report_options *o);

/* One line for a script: what is needed and what it is compared with. */
void report_verdict(const struct report *r, const char *exceeded, enum report_units u, FILE *out);

#endif
