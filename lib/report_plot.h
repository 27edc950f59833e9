/* Plots of a series over steps, for the terminal and as SVG. */
#ifndef REPORT_PLOT_H
#define REPORT_PLOT_H

#include "report.h"

struct plot_style {
	int columns; /* of the terminal, at least 20 */
	int colour, braille;
};

/* The series over the steps, in rows lines and two lines of legend. */
void plot_text(const struct report *r, const struct report_series *s, int rows,
               struct plot_style style, FILE *out);

/* All series in bytes, and the findings' names, as one SVG file.  Errors: a failed write. */
int plot_svg(const struct report *r, FILE *out, struct err *e);

#endif
