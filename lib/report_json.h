/* Reports as JSON; the form is in man/bitnet-leakcheck.schema.json. */
#ifndef REPORT_JSON_H
#define REPORT_JSON_H

#include "report.h"

/* Errors: no memory, a failed write. */
int report_json_write(const struct report *r, FILE *out, struct err *e);

/* Into an empty report.  Errors: not JSON, not such a report (the place is named). */
int report_json_read(struct report *r, const char *text, size_t n, struct err *e);

#endif
