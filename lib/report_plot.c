#include "report_plot.h"

#include <math.h>
#include <string.h>

#include "fmt.h"

#define COLUMNS_MAX 512
#define ROWS_MAX    24
#define LABEL       10 /* columns of the scale's labels */

/* Dots set in a grid of w x h; a cell of the terminal is 2 x 4 of them, or one. */
struct grid {
	int w, h;
	unsigned char dot[ROWS_MAX * 4][COLUMNS_MAX * 2];
};

static void label(char *out, double v, int is_bytes)
{
	char size[FMT_SIZE];

	if (is_bytes)
		snprintf(out, 32, "%s", fmt_size(size, (uint64_t)fmax(v, 0)));
	else
		snprintf(out, 32, "%.4g", v);
}

/* Each column of dots shows the range of its samples, so that no peak is missed. */
static void draw(struct grid *g, const double *v, size_t n, double lo, double hi)
{
	for (int x = 0; x < g->w; x++) {
		size_t a = (size_t)x * n / (size_t)g->w, b = (size_t)(x + 1) * n / (size_t)g->w;
		double min = INFINITY, max = -INFINITY;
		for (size_t i = a; i < (b > a ? b : a + 1) && i < n; i++) {
			min = fmin(min, v[i]);
			max = fmax(max, v[i]);
		}
		if (!(max >= min))
			continue;
		int from = (int)lround((min - lo) / (hi - lo) * (g->h - 1));
		int to = (int)lround((max - lo) / (hi - lo) * (g->h - 1));
		for (int y = from; y <= to; y++)
			g->dot[g->h - 1 - y][x] = 1;
	}
}

static void braille_cell(const struct grid *g, int row, int column, FILE *out)
{
	/* The dots of a braille cell, by column and row, have these bits. */
	static const int bit[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
	int bits = 0;

	for (int y = 0; y < 4; y++)
		for (int x = 0; x < 2; x++)
			if (g->dot[row * 4 + y][column * 2 + x])
				bits |= bit[y][x];
	/* U+2800 + bits in UTF-8. */
	fprintf(out, "%c%c%c", 0xe2, 0xa0 | bits >> 6, 0x80 | (bits & 0x3f));
}

void plot_text(const struct report *r, const struct report_series *s, int rows,
               struct plot_style style, FILE *out)
{
	static struct grid g;
	int is_bytes = !strcmp(s->unit, "bytes"), columns = style.columns - LABEL - 2;
	double lo = INFINITY, hi = -INFINITY;
	char text[32];

	if (r->samples < 2 || columns < 4)
		return;
	rows = rows < ROWS_MAX ? rows : ROWS_MAX;
	columns = columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
	for (size_t i = 0; i < r->samples; i++) {
		lo = fmin(lo, s->v[i]);
		hi = fmax(hi, s->v[i]);
	}
	if (!(hi > lo))
		hi = lo + 1;
	memset(&g, 0, sizeof g);
	g.w = style.braille ? columns * 2 : columns;
	g.h = style.braille ? rows * 4 : rows;
	draw(&g, s->v, r->samples, lo, hi);
	for (int y = 0; y < rows; y++) {
		label(text, y == 0 ? hi : lo, is_bytes);
		fprintf(out, "%*s %s", LABEL, y == 0 || y == rows - 1 ? text : "",
		        style.colour ? "\033[36m" : "");
		for (int x = 0; x < columns; x++) {
			if (style.braille)
				braille_cell(&g, y, x, out);
			else
				fputc(g.dot[y][x] ? '*' : ' ', out);
		}
		fprintf(out, "%s\n", style.colour ? "\033[0m" : "");
	}
	int n = snprintf(text, sizeof text, "step %.0f", r->step[0]);
	fprintf(out, "%*s %s", LABEL, "", text);
	snprintf(text, sizeof text, "%.0f", r->step[r->samples - 1]);
	if (columns - n - (int)strlen(text) > 0)
		fprintf(out, "%*s", columns - n, text);
	fputc('\n', out);
}

/* ---- SVG ---- */

#define WIDTH  800.0
#define HEIGHT 160.0
#define LEFT   90.0
#define LINE   18.0

static void svg_series(const struct report *r, const struct report_series *s, double top, FILE *out)
{
	int is_bytes = !strcmp(s->unit, "bytes");
	double lo = INFINITY, hi = -INFINITY;
	char text[32];

	for (size_t i = 0; i < r->samples; i++) {
		lo = fmin(lo, s->v[i]);
		hi = fmax(hi, s->v[i]);
	}
	if (!(hi > lo))
		hi = lo + 1;
	fprintf(out, "<text x=\"%g\" y=\"%g\" font-weight=\"bold\">", LEFT, top + 14);
	fmt_xml(s->name, out);
	fprintf(out, ": ");
	fmt_xml(s->verdict, out);
	fprintf(out,
	        "</text>\n<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"none\" "
	        "stroke=\"#999\"/>\n",
	        LEFT, top + 20, WIDTH - LEFT - 10, HEIGHT - 40);
	label(text, hi, is_bytes);
	fprintf(out, "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%s</text>\n", LEFT - 4, top + 30,
	        text);
	label(text, lo, is_bytes);
	fprintf(out,
	        "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%s</text>\n<polyline fill=\"none\" "
	        "stroke=\"%s\" points=\"",
	        LEFT - 4, top + HEIGHT - 20, text,
	        strcmp(s->verdict, "leak") ? "#0072b2" : "#d55e00");
	for (size_t i = 0; i < r->samples; i++)
		if (!isnan(s->v[i]))
			fprintf(out, "%.1f,%.1f ",
			        LEFT + (WIDTH - LEFT - 10) * (double)i /
			                   fmax((double)r->samples - 1, 1),
			        top + HEIGHT - 20 - (HEIGHT - 40) * (s->v[i] - lo) / (hi - lo));
	fprintf(out, "\"/>\n");
}

static void svg_steps(const struct report *r, double y, FILE *out)
{
	if (!r->samples || !r->n_series)
		return;
	fprintf(out,
	        "<text x=\"%g\" y=\"%g\">step %.0f</text>\n"
	        "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%.0f</text>\n",
	        LEFT, y, r->step[0], WIDTH - 10, y, r->step[r->samples - 1]);
}

static void svg_finding(const struct report_finding *f, struct report_group g, double y, FILE *out)
{
	fprintf(out, "<text x=\"10\" y=\"%g\">%s ", y, report_verdict_name(f->verdict));
	fmt_xml(f->site ? f->site : f->kind, out);
	if (isfinite(g.per_step))
		fprintf(out, ": %.4g %s per step", g.per_step, f->unit);
	fprintf(out, "</text>\n");
}

int plot_svg(const struct report *r, FILE *out, struct err *e)
{
	double y = 30 + HEIGHT * (double)r->n_series, height = y + 26;

	for (size_t i = 0; i < r->n_findings; i++)
		height += report_group(r, i).stacks ? LINE : 0;

	fprintf(out,
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
	        "font-family=\"sans-serif\" font-size=\"12\">\n"
	        "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" "
	        "font-size=\"15\">",
	        WIDTH, height);
	fmt_xml(r->command, out);
	fprintf(out, ": %s after %.0f steps</text>\n", report_verdict_name(r->verdict), r->steps);
	for (size_t i = 0; i < r->n_series; i++)
		svg_series(r, &r->series[i], 30 + HEIGHT * (double)i, out);
	svg_steps(r, y, out);
	y += 8;
	for (size_t i = 0; i < r->n_findings; i++) {
		struct report_group g = report_group(r, i);
		if (g.stacks)
			svg_finding(&r->finding[i], g, y += LINE, out);
	}
	fprintf(out, "</svg>\n");
	return ferror(out) ? err_sys(e, "cannot write the picture") : 0;
}
