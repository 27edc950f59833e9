/*
 * What was done to the tensors of a file, for people (a table) and for programs (JSON).
 */
#ifndef REQUANTIZE_REPORT_H
#define REQUANTIZE_REPORT_H

#include <stdio.h>

#include "requantize.h"

/* A table: one row per tensor that changes; for a plan, types and sizes alone. */
void requantize_report_head(FILE *out);
void requantize_report_row(FILE *out, const struct requantize_tensor *t);
void requantize_report_plan(FILE *out, const struct requantize *q);

/* One report of values without a name, as lines "name value". */
void requantize_report_lines(FILE *out, const struct quantize_report *r);

/* {"tensors": [{"name", "from", "to", "rows", "cols", "bytes", "rule", ...}], "bytes": ...};
 * numbers that a rule does not give (counts of a block type) are absent. */
int requantize_report_json(FILE *out, const struct requantize *q, struct err *e);

/* What a form is called: "i2_s_arm", "Q6_K". */
const char *requantize_form_name(const struct retype_form *f);

#endif
