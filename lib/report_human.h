/* The report for people. */
#ifndef REPORT_HUMAN_H
#define REPORT_HUMAN_H

#include "report_plot.h"

/* Errors: a failed write.  quiet: the verdict and the findings' first lines only. */
int report_human(const struct report *r, struct plot_style style, int quiet, FILE *out,
                 struct err *e);

/* How out may be written to: its width, NO_COLOR, whether its locale can show braille. */
struct plot_style report_style(FILE *out);

#endif
