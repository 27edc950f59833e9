/* Reports for machines that run tests: TAP 14, JUnit XML, CSV of the series. */
#ifndef REPORT_CI_H
#define REPORT_CI_H

#include "report.h"

int report_tap(const struct report *r, FILE *out, struct err *e);
int report_junit(const struct report *r, FILE *out, struct err *e);
/* A line per sample: step, then each series; empty where not measured. */
int report_csv(const struct report *r, FILE *out, struct err *e);

#endif
