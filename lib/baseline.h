/*
 * Baselines: what a run of the same command measured before, as a small sorted text file that is
 * fit for version control.  A line is
 *
 *	KEY METRIC MEDIAN MAD
 *
 * with KEY = host/model/command without spaces, values in bytes or pieces.
 */
#ifndef BASELINE_H
#define BASELINE_H

#include "report.h"

/* Replaces the lines of the report's key in the file at path (made when it is not there). */
int baseline_write(const char *path, const struct report *r, struct err *e);

/* Compares: for each metric that is more than 5 % and more than 3 MAD worse a finding is added,
 * and a verdict of clean becomes regression.  Lines of other keys are not compared; without any
 * of ours a note says so.  Errors: the file cannot be read, or a line is malformed (named). */
int baseline_compare(const char *path, struct report *r, struct err *e);

#endif
