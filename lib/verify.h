/*
 * A plan beside reality: what the kernel says a process holds, and held at most.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include "forecast_report.h"
#include "solve.h"

struct verify_options {
	const char *pid;      /* decimal; or, when it is not NULL: */
	char *const *command; /* NULL terminated, looked for in PATH, run to its end; its standard
	                         output goes to standard error */
	double tolerance;     /* percent by which the peak may be missed */
	int json;
	enum fmt_units units;
};

/* Compares the forecast of s with a process and writes a report to out (NULL: none); file is the
 * model's name in it.  Where s->o has no fill, the tokens stored and the longest prompt are those
 * that the process's cache and buffers show; a process that has computed nothing is compared with
 * the start.  Returns 0; 1 when the peak is missed by more than the tolerance; -1: no such process,
 * it may not be looked at, the command failed. */
int verify_run(const struct solve *s, const char *file, const struct verify_options *o, FILE *out,
               struct err *e);

#endif
