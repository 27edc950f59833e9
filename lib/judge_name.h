/* Names of a finding's frames, and which of its functions is accused. */
#ifndef JUDGE_NAME_H
#define JUDGE_NAME_H

#include "ledger.h"
#include "report.h"
#include "symbol.h"

/* Appends the frames of the site's stack to f, and accuses the innermost function that does not
 * allocate for others: no allocator by its name or module, no container of C++, no pool of the
 * toolkit.  f->kind is set already.  Errors: no memory. */
int judge_name(struct symbols *symbols, const struct ledger_proc *p, uint32_t site,
               struct report_finding *f, struct err *e);

#endif
