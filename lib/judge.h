/*
 * From what was watched to a report: a verdict per site of the ledger and per series, joined with
 * reachability and the release probe, and the pattern of each finding.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "report.h"
#include "watch.h"

/* Fills r with series, findings, notes and the verdict.  Errors: no memory. */
int judge_run(const struct watch *w, struct report *r, struct err *e);

/* While the command still runs: whether more steps would change nothing (1) or might (0). */
int judge_settled(const struct watch *w);

#endif
