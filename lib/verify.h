/*
 * A plan beside reality: what the kernel says a process holds, and held at most.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include "forecast_report.h"

/* Compares the forecast of r with process `pid` (decimal), or with command (NULL terminated, looked
 * for in PATH) when it is not NULL: it is run to its end, its standard output goes to standard
 * error.  Writes a report to out (NULL: none).  Returns 0; 1 when the peak is missed by more than
 * tolerance percent; -1: no such process, it may not be looked at, the command failed. */
int verify_run(const struct report *r, const char *pid, char *const *command, double tolerance,
               int json, enum report_units units, FILE *out, struct err *e);

#endif
