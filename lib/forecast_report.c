#include "forecast_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fmt.h"

/* Columns of the terminal below which a bar says nothing. */
#define LEAST_BAR 12

/* ---- columns ---- */

enum column { NAME, KIND, TAG, SIZE, START, FULL, DEVICE, SHARE, WHAT, FORMULA, COLUMNS };

static const struct {
	const char *name;
	int right; /* numbers stand on the right */
	int width;
} columns[COLUMNS] = {
    [NAME] = {"name", 0, 15},      [KIND] = {"kind", 0, 9},    [TAG] = {"tag", 0, 10},
    [SIZE] = {"size", 1, 11},      [START] = {"start", 1, 11}, [FULL] = {"full", 1, 11},
    [DEVICE] = {"device", 1, 11},  [SHARE] = {"share", 1, 7},  [WHAT] = {"what", 0, 1},
    [FORMULA] = {"formula", 0, 1},
};

static int column_of(const char *name, size_t n)
{
	for (int i = 0; i < COLUMNS; i++)
		if (strlen(columns[i].name) == n && !memcmp(columns[i].name, name, n))
			return i;
	return -1;
}

int forecast_report_opt_columns(void *to, const char *value, struct err *e)
{
	struct forecast_report_options *r = to;

	for (r->n_columns = 0;; value++) {
		size_t n = strcspn(value, ",");
		int c = column_of(value, n);
		if (c < 0 || r->n_columns == FORECAST_REPORT_COLUMNS)
			return err_set(e, ERR_TROUBLE,
			               "'%.*s' is not one of name, kind, tag, size, start, full, "
			               "device, share, what, formula",
			               (int)n, value);
		r->columns[r->n_columns++] = c;
		value += n;
		if (!*value)
			return 0;
	}
}

int forecast_report_opt_plot(void *to, const char *value, struct err *e)
{
	static const char *const when[] = {"auto", "always", "never"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(value, when[i])) {
			*(int *)to = i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is not auto, always or never", value);
}

/* ---- warnings ---- */

/* Whether the i-th is in this list of n; else i counts on behind it. */
static int take(unsigned *i, unsigned n)
{
	if (*i < n)
		return 1;
	*i -= n;
	return 0;
}

const char *forecast_report_warning(const struct forecast_report *r, unsigned i,
                                    char out[FORECAST_WARNING])
{
	const struct forecast *f = r->f;

	if (take(&i, r->g->n_warnings))
		snprintf(out, FORECAST_WARNING, "%s", r->g->warnings[i].text);
	else if (take(&i, f->shape.n_assumed))
		snprintf(out, FORECAST_WARNING, "%s", f->shape.assumed[i]);
	else if (take(&i, f->shared[0] != 0))
		snprintf(out, FORECAST_WARNING, "%s", f->shared);
	else if (take(&i, f->tally.longer != 0))
		snprintf(out, FORECAST_WARNING, "%" PRIu64 " bytes behind the last tensor",
		         f->tally.longer);
	else if (take(&i, r->refused != 0))
		snprintf(out, FORECAST_WARNING,
		         "%u tensors keep their type: their shapes do not fit", r->refused);
	else
		return NULL;
	return out;
}

/* ---- text ---- */

static const char *cell(const struct forecast_report *r, const struct forecast_report_options *o,
                        const struct forecast_region *x, int column, char out[24])
{
	uint64_t all = r->f->total.full;

	switch (column) {
	case NAME:
		return x->name;
	case KIND:
		return plan_kind_name(x->kind);
	case TAG:
		return mem_tag_name(x->tag);
	case SIZE:
		return x->unknown ? "unknown" : fmt_size_as(out, o->units, x->bytes);
	case START:
		return x->unknown ? "unknown" : fmt_size_as(out, o->units, x->start);
	case FULL:
		return x->unknown ? "unknown" : fmt_size_as(out, o->units, x->full);
	case DEVICE:
		return fmt_size_as(out, o->units, x->device);
	case SHARE:
		snprintf(out, 24, "%.1f%%", all ? 100.0 * (double)x->full / (double)all : 0);
		return out;
	case WHAT:
		return x->what;
	default:
		return x->formula;
	}
}

/* Takes column out of list[n]; returns how many are left. */
static unsigned leave_out(int *list, unsigned n, enum column column)
{
	unsigned left = 0;

	for (unsigned i = 0; i < n; i++)
		if (list[i] != (int)column)
			list[left++] = list[i];
	return left;
}

static int width_of(const int *list, unsigned n)
{
	int width = 0;

	for (unsigned i = 0; i < n; i++)
		width += columns[list[i]].width + 1;
	return width;
}

/* The columns asked for, or the usual ones; where these leave no room for bars, fewer. */
static unsigned chosen(const struct forecast_report *r, const struct forecast_report_options *o,
                       int out[FORECAST_REPORT_COLUMNS])
{
	static const int usual[] = {NAME, KIND, SIZE, START, FULL};
	static const enum column dispensable[] = {KIND, START, SIZE};
	unsigned n = o->n_columns;

	memcpy(out, o->columns, sizeof o->columns);
	if (n)
		return n;
	memcpy(out, usual, sizeof usual);
	n = sizeof usual / sizeof *usual;
	if (r->f->total.device)
		out[n++] = DEVICE;
	if (!o->bars)
		out[n++] = WHAT;
	for (int i = 0; o->bars && i < 3 && o->width - width_of(out, n) < LEAST_BAR; i++)
		n = leave_out(out, n, dispensable[i]);
	return n;
}

static void put_cell(FILE *out, int column, const char *text, int last)
{
	int width = columns[column].width;

	if (columns[column].right)
		fprintf(out, "%*s", width, text);
	else if (last)
		fputs(text, out);
	else
		fprintf(out, "%-*s", width, text);
	if (!last)
		fputc(' ', out);
}

/* A bar of the resident part, beside so many columns. */
static void put_bar(const struct forecast_report_options *o, const struct forecast_report *r,
                    const struct forecast_region *x, int beside, FILE *out)
{
	int width = o->width - beside;
	uint64_t most = 0;
	char *bar = NULL;
	size_t n = 0;

	for (int i = 0; i < FORECAST_REGIONS; i++)
		most = r->f->region[i].full > most ? r->f->region[i].full : most;
	width = width > 40 ? 40 : width;
	FILE *f = width < 4 ? NULL : open_memstream(&bar, &n);
	if (!f)
		return;
	int used = fmt_bar(f, (double)x->full, (double)most, width);
	/* What rounds to no column is left out, with its space and colour. */
	if (!fclose(f) && used && o->colour)
		fprintf(out, " \033[%dm%s\033[0m", x->kind == PLAN_MAPPED ? 34 : 33, bar);
	else if (used)
		fprintf(out, " %s", bar);
	free(bar);
}

static void put_region(const struct forecast_report *r, const struct forecast_report_options *o,
                       const struct forecast_region *x, const int *column, unsigned n, FILE *out)
{
	char text[24];

	for (unsigned c = 0; c < n; c++)
		put_cell(out, column[c], cell(r, o, x, column[c], text), c + 1 == n);
	if (o->bars)
		put_bar(o, r, x, width_of(column, n), out);
	fputc('\n', out);
	if (o->explain && x->formula[0])
		fprintf(out, "    size = %s\n", x->formula);
	if (o->explain && x->touched[0] && x->full)
		fprintf(out, "    full: %s\n", x->touched);
}

static void put_regions(const struct forecast_report *r, const struct forecast_report_options *o,
                        FILE *out)
{
	int column[FORECAST_REPORT_COLUMNS];
	unsigned n = chosen(r, o, column);

	for (unsigned c = 0; c < n && !o->no_heading; c++)
		put_cell(out, column[c], columns[column[c]].name, c + 1 == n);
	if (!o->no_heading)
		fputc('\n', out);
	for (int i = 0; i < FORECAST_REGIONS; i++) {
		const struct forecast_region *x = &r->f->region[i];
		if (x->bytes || x->unknown || x->device)
			put_region(r, o, x, column, n, out);
	}
}

static void put_title(const struct forecast_report *r, enum fmt_units u, FILE *out)
{
	const struct forecast *f = r->f;
	const struct plan_options *o = &f->options;
	char size[24];

	fprintf(out, "%s: %s, %u layers, %" PRIu64 " parameters", r->file, f->shape.name, f->layers,
	        f->tally.all.elements);
	if (f->tally.ternary.elements)
		fprintf(out, " (%" PRIu64 " ternary)", f->tally.ternary.elements);
	fprintf(out, ", %s\n", fmt_size_as(size, u, f->tally.file_bytes));
	fprintf(out,
	        "context %u, sequences %u, ubatch %u, threads %d, cache %s,%s, %u tokens stored\n",
	        o->ctx, o->sequences, o->ubatch, o->threads, dtype_get(o->k_type)->name,
	        dtype_get(o->v_type)->name, f->fill);
	if (!f->computed)
		fprintf(out, "compute: unknown (%s)\n", f->reason);
	if (f->vocab[0])
		fprintf(out, "vocab: unknown (%s)\n", f->vocab);
}

static void put_types(const struct forecast_report *r, const struct forecast_report_options *o,
                      FILE *out)
{
	const struct tally *t = &r->f->tally;
	char size[24], more[24];

	if (!t->all.tensors) {
		fputs("\nno tensors: the file has no weights\n", out);
		return;
	}
	fprintf(out, "\nweights         tensors        size\n");
	for (int i = 1; i < DTYPE_COUNT; i++) {
		if (!t->type[i].tensors)
			continue;
		fprintf(out, "  %-12s %8" PRIu64 " %11s", dtype_get((enum dtype)i)->name,
		        t->type[i].tensors, fmt_size_as(size, o->units, t->type[i].bytes));
		if (t->overhead[i])
			fprintf(out, "  %s of scales and padding",
			        fmt_size_as(more, o->units, t->overhead[i]));
		if (t->lookup[i])
			fprintf(out, "; lookup tables %s a token",
			        fmt_size_as(more, o->units, t->lookup[i]));
		fputc('\n', out);
	}
	for (int i = 0; i < TALLY_GROUPS; i++)
		if (t->group[i].tensors)
			fprintf(out, "  %-12s %8" PRIu64 " %11s\n",
			        tally_group_name((enum tally_group)i), t->group[i].tensors,
			        fmt_size_as(size, o->units, t->group[i].bytes));
}

static void put_layers(const struct forecast_report *r, const struct forecast_report_options *o,
                       FILE *out)
{
	char w[24], k[24];
	uint64_t weights, kv;

	fputs(o->no_heading ? "\n" : "\nlayer     weights       cache\n", out);
	for (uint32_t i = 0; i < r->f->layers; i++) {
		forecast_layer(r->f, r->g, i, &weights, &kv);
		fprintf(out, "%5u %11s %11s%s\n", i, fmt_size_as(w, o->units, weights),
		        fmt_size_as(k, o->units, kv),
		        i + r->f->device_layers >= r->f->layers ? "  device" : "");
	}
}

static void put_tensors(const struct forecast_report *r, const struct forecast_report_options *o,
                        FILE *out)
{
	char name[200], size[24];

	fputc('\n', out);
	if (!o->no_heading)
		fprintf(out, "%-32s %-8s %11s %12s %11s\n", "tensor", "type", "rows", "columns",
		        "size");
	for (uint64_t i = 0; i < r->g->n_tensors; i++) {
		const struct gguf_tensor *t = &r->g->tensors[i];
		fprintf(out, "%-32s %-8s %11" PRIu64 " %12" PRIu64 " %11s\n",
		        err_quote(name, sizeof name, t->name.p, t->name.n),
		        dtype_get(t->type)->name, t->rows, t->cols,
		        fmt_size_as(size, o->units, t->bytes));
	}
}

enum total {
	TOTAL_RESERVED,
	TOTAL_PRIVATE,
	TOTAL_DATA,
	TOTAL_START,
	TOTAL_FULL,
	TOTAL_PEAK,
	TOTAL_CHARGED,
	TOTAL_HUGE,
	TOTAL_DEVICE,
	TOTALS
};

struct total_row {
	const char *name, *what;
	uint64_t bytes;
	int whole; /* nothing unknown is missing in it */
};

static void totals_of(const struct forecast_totals *t, struct total_row row[TOTALS])
{
	const struct total_row all[TOTALS] = {
	    [TOTAL_RESERVED] = {"reserved", "address space", t->reserved, 0},
	    [TOTAL_PRIVATE] = {"private", "anonymous memory, touched or not", t->private, 0},
	    [TOTAL_DATA] = {"data", "the same, the allocator and stacks: RLIMIT_DATA", t->data, 0},
	    [TOTAL_START] = {"resident.start", "the model is loaded, nothing is computed", t->start,
	                     0},
	    [TOTAL_FULL] = {"resident.full", "the tokens are stored", t->full, 0},
	    [TOTAL_PEAK] = {"resident.peak",
	                    t->peak > t->full ? "the most at any time: while the file is copied"
	                                      : "the most at any time: then",
	                    t->peak, 0},
	    [TOTAL_CHARGED] = {"charged",
	                       t->cache ? "what a cgroup is charged then, the file's page cache too"
	                                : "what a cgroup is charged then",
	                       t->charged, 0},
	    [TOTAL_HUGE] = {"huge pages", "from their own pool, neither resident nor charged",
	                    t->huge, 1},
	    [TOTAL_DEVICE] = {"device", "on the device, driver included", t->device, 1},
	};
	memcpy(row, all, sizeof all);
}

/* How a total comes about, with the values put into it. */
static void explain_total(const struct forecast_report *r, enum total i, FILE *out)
{
	static const char *const sum[TOTALS] = {
	    [TOTAL_RESERVED] = "the sizes",
	    [TOTAL_PRIVATE] = "the sizes of private regions",
	    [TOTAL_DATA] = "the sizes of private and reserved regions",
	    [TOTAL_START] = "the start column",
	    [TOTAL_FULL] = "the full column",
	};
	const struct forecast_totals *t = &r->f->total;
	uint64_t on_device = 0;

	for (int k = 0; k < FORECAST_REGIONS; k++)
		on_device += r->f->region[k].device;
	if (sum[i])
		fprintf(out, "    = sum of %s\n", sum[i]);
	else if (i == TOTAL_PEAK && t->peak > t->full)
		fprintf(out,
		        "    = resident.start %" PRIu64 " + a piece that is copied %" PRIu64 "\n",
		        t->start, t->peak - t->start);
	else if (i == TOTAL_CHARGED)
		fprintf(
		    out,
		    "    = resident %" PRIu64 " + page tables %" PRIu64 " (a 512th, whole pages) "
		    "+ kernel stacks %" PRIu64 " (%d threads x 16384) + page cache %" PRIu64 "\n",
		    t->full, t->tables, t->stacks, r->f->options.threads, t->cache);
	else if (i == TOTAL_DEVICE)
		fprintf(out, "    = sum of the device column %" PRIu64 " + driver %" PRIu64 "\n",
		        on_device, t->device - on_device);
}

static void put_totals(const struct forecast_report *r, const struct forecast_report_options *o,
                       FILE *out)
{
	struct total_row row[TOTALS];
	char size[24];

	totals_of(&r->f->total, row);
	fputc('\n', out);
	for (int i = 0; i < TOTALS; i++) {
		if (!row[i].bytes)
			continue;
		fprintf(out, "%-15s %11s  %s%s\n", row[i].name,
		        fmt_size_as(size, o->units, row[i].bytes), row[i].what,
		        row[i].whole ? "" : forecast_lacks(r->f));
		if (o->explain)
			explain_total(r, (enum total)i, out);
	}
}

static void put_advice(const struct forecast_report *r, FILE *out)
{
	if (!r->advice)
		return;
	fputc('\n', out);
	for (unsigned i = 0; i < r->advice->n; i++)
		fprintf(out, "- %s\n", r->advice->item[i].text);
}

const struct budget_source *forecast_report_limit(const struct forecast_report *r, uint64_t *need)
{
	uint64_t all[BUDGET_KINDS];
	const struct budget_source *s = NULL;

	solve_needs(r->f, all);
	if (r->budget)
		s = budget_tightest(r->budget, all);
	if (s)
		*need = all[s->of];
	return s;
}

static void put_verdict(const struct forecast_report *r, uint64_t need, uint64_t have,
                        const char *of, enum fmt_units u, FILE *out)
{
	char n[24], h[24];

	fprintf(out, "%s: %s: needs %s of %s (%s)%s\n", r->file,
	        need > have ? "does not fit" : "fits", fmt_size_as(n, u, need),
	        fmt_size_as(h, u, have), of, forecast_lacks(r->f));
}

void forecast_report_verdict(const struct forecast_report *r, enum fmt_units u, FILE *out)
{
	uint64_t need;
	const struct budget_source *s = forecast_report_limit(r, &need);

	if (r->device_bytes)
		put_verdict(r, r->f->total.device, r->device_bytes, "device memory", u, out);
	if (s)
		put_verdict(r, need, s->bytes, s->name, u, out);
}

int forecast_report_text(const struct forecast_report *r, const struct forecast_report_options *o,
                         FILE *out)
{
	if (!o->no_heading && !o->n_columns)
		put_title(r, o->units, out);
	if (!o->no_heading && !o->n_columns)
		put_types(r, o, out);
	if (!o->no_heading && !o->n_columns)
		fputc('\n', out);
	put_regions(r, o, out);
	if (o->layers)
		put_layers(r, o, out);
	if (o->tensors)
		put_tensors(r, o, out);
	if (!o->n_columns) {
		put_totals(r, o, out);
		put_advice(r, out);
	}
	return ferror(out) ? -1 : 0;
}

void forecast_report_type(const struct forecast *f, enum dtype type, unsigned refused,
                          const char *exceeded, enum fmt_units u, FILE *out)
{
	char w[24], n[24];

	fprintf(out, "%-9s %11s %11s", dtype_get(type)->name, fmt_size_as(w, u, f->tally.all.bytes),
	        fmt_size_as(n, u, f->total.full));
	if (refused)
		fprintf(out, "  %u tensors keep their type: their shapes do not fit", refused);
	else if (exceeded)
		fprintf(out, "  does not fit (%s)", exceeded);
	fputc('\n', out);
}

void forecast_report_sum(const struct forecast_totals *t, enum fmt_units u, FILE *out)
{
	struct total_row row[TOTALS];
	char size[24];

	totals_of(t, row);
	fputc('\n', out);
	for (int i = 0; i < TOTALS; i++)
		if (row[i].bytes)
			fprintf(out, "total %-15s %11s%s\n", row[i].name,
			        fmt_size_as(size, u, row[i].bytes),
			        t->complete ? "" : "  (of what is known)");
}
