/*
 * A forecast as a table for people and as JSON (schema bitnet-memplan/1, see bitnet-memplan(1)).
 */
#ifndef FORECAST_REPORT_H
#define FORECAST_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "advise.h"
#include "budget.h"
#include "fmt.h"
#include "forecast.h"

#define FORECAST_REPORT_COLUMNS 12

struct forecast_report_options {
	enum fmt_units units;
	int no_heading;
	int layers, tensors; /* list them */
	int explain;
	int bars;                             /* draw them */
	int colour;                           /* may be used */
	int width;                            /* of the terminal */
	int columns[FORECAST_REPORT_COLUMNS]; /* by forecast_report_column, in order; */
	unsigned n_columns;                   /* 0: the usual ones */
};

/* What a report is about. */
struct forecast_report {
	const char *file;
	const struct gguf *g;
	const struct forecast *f;
	const struct budget *budget; /* NULL: none was asked for */
	uint64_t device_bytes;       /* 0: none */
	const struct advice *advice; /* NULL: none */
	enum dtype type, embed;      /* as if the matrices and tables had these types; NONE */
	unsigned refused;            /* tensors that kept their type, against what was asked for */
};

/* The i-th thing that was decided, assumed or found odd, as text; NULL behind the last. */
#define FORECAST_WARNING 200
const char *forecast_report_warning(const struct forecast_report *r, unsigned i,
                                    char out[FORECAST_WARNING]);

/* Options, as OPT_CALL takes them.  -o: to is a struct forecast_report_options: names of columns
 * with commas between them.  --plot: to is an int: enum forecast_plot. */
enum forecast_plot { FORECAST_PLOT_AUTO, FORECAST_PLOT_ALWAYS, FORECAST_PLOT_NEVER };
int forecast_report_opt_columns(void *to, const char *value, struct err *e);
int forecast_report_opt_plot(void *to, const char *value, struct err *e);

int forecast_report_text(const struct forecast_report *r, const struct forecast_report_options *o,
                         FILE *out);

/* A row of a table of types: f with the matrices in a type; exceeded: what limit is, or NULL. */
void forecast_report_type(const struct forecast *f, enum dtype type, unsigned refused,
                          const char *exceeded, enum fmt_units u, FILE *out);

/* The totals of several forecasts, added up. */
void forecast_report_sum(const struct forecast_totals *t, enum fmt_units u, FILE *out);

/* A file's name as a JSON string: as it is where it is UTF-8, else with escapes. */
json_t *forecast_json_name(const char *file);

/* Members of a total, for one forecast or a sum over several. */
json_t *forecast_json_totals(const struct forecast_totals *t);

/* NULL when there is no memory. */
json_t *forecast_report_json(const struct forecast_report *r,
                             const struct forecast_report_options *o);

/* The limit that leaves least, and what is needed of it; NULL without a budget. */
const struct budget_source *forecast_report_limit(const struct forecast_report *r, uint64_t *need);

/* A line for the device and one for the budget, where there are such: what is needed and what it is
 * compared with. */
void forecast_report_verdict(const struct forecast_report *r, enum fmt_units u, FILE *out);

#endif
