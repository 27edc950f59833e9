/*
 * What the file of $BITNET_MEM_TRACE tells, for people: how much was live when, who held it at the
 * end, who took most, and the habits of pattern.h with their advice.
 */
#ifndef TIMELINE_REPORT_H
#define TIMELINE_REPORT_H

#include <stdio.h>

#include "timeline.h"

/* Writes to out; quiet: the habits only.  *grows: whether some site's live bytes grow through the
 * run. Errors: no memory, a failed write. */
int timeline_report(const struct timeline *t, bool quiet, FILE *out, bool *grows, struct err *e);

#endif
