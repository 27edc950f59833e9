#include "forecast_report.h"

#include <inttypes.h>
#include <string.h>

#include "fmt.h"

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

int report_column(const char *name, size_t n)
{
	for (int i = 0; i < COLUMNS; i++)
		if (strlen(columns[i].name) == n && !memcmp(columns[i].name, name, n))
			return i;
	return -1;
}

const char *report_columns(void)
{
	return "name, kind, tag, size, start, full, device, share, what, formula";
}

const char *report_size(enum report_units u, uint64_t bytes, char out[24])
{
	if (u == REPORT_BINARY)
		return fmt_size(out, bytes);
	if (u == REPORT_SI)
		return fmt_size_si(out, bytes);
	snprintf(out, 24, "%" PRIu64, bytes);
	return out;
}

/* ---- text ---- */

static const char *cell(const struct report *r, const struct report_options *o,
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
		return x->unknown ? "unknown" : report_size(o->units, x->bytes, out);
	case START:
		return x->unknown ? "unknown" : report_size(o->units, x->start, out);
	case FULL:
		return x->unknown ? "unknown" : report_size(o->units, x->full, out);
	case DEVICE:
		return report_size(o->units, x->device, out);
	case SHARE:
		snprintf(out, 24, "%.1f%%", all ? 100.0 * (double)x->full / (double)all : 0);
		return out;
	case WHAT:
		return x->what;
	default:
		return x->formula;
	}
}

static unsigned chosen(const struct report *r, const struct report_options *o,
                       int out[REPORT_COLUMNS])
{
	static const int usual[] = {NAME, KIND, SIZE, START, FULL};
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

static void put_bar(const struct report_options *o, const struct report *r,
                    const struct forecast_region *x, int used, FILE *out)
{
	int width = o->width - used - 1;
	uint64_t most = 0;

	for (int i = 0; i < FORECAST_REGIONS; i++)
		most = r->f->region[i].full > most ? r->f->region[i].full : most;
	if (width < 4)
		return;
	fputc(' ', out);
	if (o->colour)
		fprintf(out, "\033[%dm", x->kind == PLAN_MAPPED ? 34 : 33);
	fmt_bar(out, (double)x->full, (double)most, width > 40 ? 40 : width);
	if (o->colour)
		fputs("\033[0m", out);
}

static void put_regions(const struct report *r, const struct report_options *o, FILE *out)
{
	int column[REPORT_COLUMNS], used = 0;
	unsigned n = chosen(r, o, column);
	char text[24];

	for (unsigned c = 0; c < n; c++) {
		used += columns[column[c]].width + 1;
		if (!o->no_heading)
			put_cell(out, column[c], columns[column[c]].name, c + 1 == n);
	}
	if (!o->no_heading)
		fputc('\n', out);
	for (int i = 0; i < FORECAST_REGIONS; i++) {
		const struct forecast_region *x = &r->f->region[i];
		if (!x->bytes && !x->unknown && !x->device)
			continue;
		for (unsigned c = 0; c < n; c++)
			put_cell(out, column[c], cell(r, o, x, column[c], text), c + 1 == n);
		if (o->bars)
			put_bar(o, r, x, used, out);
		fputc('\n', out);
		if (o->explain && x->formula[0])
			fprintf(out, "    = %s\n", x->formula);
	}
}

static void put_title(const struct report *r, FILE *out)
{
	const struct forecast *f = r->f;
	const struct plan_options *o = &f->options;
	char size[24];

	fprintf(out, "%s: %s, %u layers, %" PRIu64 " parameters", r->file, f->shape.name, f->layers,
	        f->tally.all.elements);
	if (f->tally.ternary.elements)
		fprintf(out, " (%" PRIu64 " ternary)", f->tally.ternary.elements);
	fprintf(out, ", %s\n", report_size(REPORT_BINARY, f->tally.file_bytes, size));
	fprintf(out,
	        "context %u, sequences %u, ubatch %u, threads %d, cache %s,%s, %u tokens stored\n",
	        o->ctx, o->sequences, o->ubatch, o->threads, dtype_get(o->k_type)->name,
	        dtype_get(o->v_type)->name, f->fill);
	if (!f->computed)
		fprintf(out, "compute: unknown (%s)\n", f->reason);
	if (f->vocab[0])
		fprintf(out, "vocab: unknown (%s)\n", f->vocab);
}

static void put_types(const struct report *r, const struct report_options *o, FILE *out)
{
	const struct tally *t = &r->f->tally;
	char size[24], more[24];

	fprintf(out, "\nweights         tensors        size\n");
	for (int i = 1; i < DTYPE_COUNT; i++) {
		if (!t->type[i].tensors)
			continue;
		fprintf(out, "  %-12s %8" PRIu64 " %11s", dtype_get((enum dtype)i)->name,
		        t->type[i].tensors, report_size(o->units, t->type[i].bytes, size));
		if (t->overhead[i])
			fprintf(out, "  %s of scales and padding",
			        report_size(o->units, t->overhead[i], more));
		if (t->lookup[i])
			fprintf(out, "; lookup tables %s a token",
			        report_size(o->units, t->lookup[i], more));
		fputc('\n', out);
	}
	for (int i = 0; i < TALLY_GROUPS; i++)
		if (t->group[i].tensors)
			fprintf(out, "  %-12s %8" PRIu64 " %11s\n",
			        tally_group_name((enum tally_group)i), t->group[i].tensors,
			        report_size(o->units, t->group[i].bytes, size));
}

static void put_layers(const struct report *r, const struct report_options *o, FILE *out)
{
	char w[24], k[24];
	uint64_t weights, kv;

	fprintf(out, "\nlayer     weights       cache\n");
	for (uint32_t i = 0; i < r->f->layers; i++) {
		forecast_layer(r->f, r->g, i, &weights, &kv);
		fprintf(out, "%5u %11s %11s%s\n", i, report_size(o->units, weights, w),
		        report_size(o->units, kv, k),
		        i + r->f->device_layers >= r->f->layers ? "  device" : "");
	}
}

static void put_tensors(const struct report *r, const struct report_options *o, FILE *out)
{
	char name[200], size[24];

	fprintf(
	    out,
	    "\ntensor                           type            rows      columns        size\n");
	for (uint64_t i = 0; i < r->g->n_tensors; i++) {
		const struct gguf_tensor *t = &r->g->tensors[i];
		fprintf(out, "%-32s %-8s %11" PRIu64 " %12" PRIu64 " %11s\n",
		        err_quote(name, sizeof name, t->name.p, t->name.n),
		        dtype_get(t->type)->name, t->rows, t->cols,
		        report_size(o->units, t->bytes, size));
	}
}

static void put_totals(const struct report *r, const struct report_options *o, FILE *out)
{
	const struct forecast_totals *t = &r->f->total;
	char size[24];
	const struct {
		const char *name, *what;
		uint64_t bytes;
	} rows[] = {
	    {"reserved", "address space", t->reserved},
	    {"private", "anonymous memory, touched or not", t->private},
	    {"resident.start", "the model is loaded, the cache is empty", t->start},
	    {"resident.full", "the tokens are stored: the peak", t->full},
	    {"charged", "what a cgroup is charged then", t->charged},
	    {"device", "on the device, driver included", t->device},
	};

	fputc('\n', out);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].bytes)
			fprintf(out, "%-15s %11s  %s%s\n", rows[i].name,
			        report_size(o->units, rows[i].bytes, size), rows[i].what,
			        r->f->computed || i == 5 ? ""
			                                 : " (without compute, which is unknown)");
}

static void put_advice(const struct report *r, FILE *out)
{
	if (!r->advice)
		return;
	fputc('\n', out);
	for (unsigned i = 0; i < r->advice->n; i++)
		fprintf(out, "- %s\n", r->advice->item[i].text);
}

static const struct budget_source *compared(const struct report *r)
{
	const struct forecast_totals *t = &r->f->total;
	const uint64_t need[4] = {t->full, forecast_need(r->f), t->reserved, t->private};

	return r->budget ? budget_tightest(r->budget, need) : NULL;
}

static uint64_t needed(const struct report *r, const struct budget_source *s)
{
	const struct forecast_totals *t = &r->f->total;
	const uint64_t need[4] = {t->full, forecast_need(r->f), t->reserved, t->private};

	return need[s->of];
}

void report_verdict(const struct report *r, const char *exceeded, enum report_units u, FILE *out)
{
	const struct budget_source *s = compared(r);
	char need[24], have[24];

	if (s && (!exceeded || exceeded == s->name))
		fprintf(out, "%s: %s: needs %s of %s (%s)\n", r->file,
		        exceeded ? "does not fit" : "fits", report_size(u, needed(r, s), need),
		        report_size(u, s->bytes, have), s->name);
	else
		fprintf(out, "%s: %s: needs %s of %s (device memory)\n", r->file,
		        exceeded ? "does not fit" : "fits",
		        report_size(u, r->f->total.device, need),
		        report_size(u, r->device_bytes, have));
}

int report_text(const struct report *r, const struct report_options *o, FILE *out)
{
	if (!o->no_heading && !o->n_columns)
		put_title(r, out);
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

/* ---- JSON ---- */

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *json_sum(const char *key, const char *name, const struct tally_sum *s)
{
	return json_pack("{s:s, s:o, s:o, s:o}", key, name, "tensors", number(s->tensors),
	                 "elements", number(s->elements), "bytes", number(s->bytes));
}

static json_t *json_weights(const struct tally *t)
{
	json_t *types = json_array(), *groups = json_array();

	for (int i = 1; i < DTYPE_COUNT; i++) {
		if (!t->type[i].tensors)
			continue;
		json_t *x = json_sum("type", dtype_get((enum dtype)i)->name, &t->type[i]);
		json_object_set_new(x, "overhead", number(t->overhead[i]));
		if (t->lookup[i])
			json_object_set_new(x, "lookup", number(t->lookup[i]));
		json_array_append_new(types, x);
	}
	for (int i = 0; i < TALLY_GROUPS; i++)
		if (t->group[i].tensors)
			json_array_append_new(
			    groups,
			    json_sum("group", tally_group_name((enum tally_group)i), &t->group[i]));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tensors",
	                 number(t->all.tensors), "elements", number(t->all.elements), "bytes",
	                 number(t->all.bytes), "ternary_elements", number(t->ternary.elements),
	                 "padding", number(t->padding), "header_bytes", number(t->header_bytes),
	                 "data_bytes", number(t->data_bytes), "file_bytes", number(t->file_bytes),
	                 "types", types, "groups", groups);
}

static json_t *known(const struct forecast_region *x, uint64_t v)
{
	return x->unknown ? json_null() : number(v);
}

static json_t *json_regions(const struct report *r, int planned)
{
	json_t *a = json_array();
	int first = planned ? 0 : PLAN_REGIONS, end = planned ? PLAN_REGIONS : FORECAST_REGIONS;

	for (int i = first; i < end; i++) {
		const struct forecast_region *x = &r->f->region[i];
		json_array_append_new(
		    a, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s}", "name", x->name,
		                 "kind", plan_kind_name(x->kind), "tag", mem_tag_name(x->tag),
		                 "bytes", known(x, x->bytes), "rss_start", known(x, x->start),
		                 "rss_full", known(x, x->full), "device", number(x->device),
		                 "formula", x->formula));
	}
	return a;
}

static json_t *json_options(const struct forecast *f)
{
	const struct plan_options *o = &f->options;
	static const char *const load[] = {"mmap", "mlock", "read", "hugetlb"};

	return json_pack("{s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:i, s:i, s:i}", "ctx", (int)o->ctx,
	                 "sequences", (int)o->sequences, "ubatch", (int)o->ubatch, "threads",
	                 o->threads, "k_type", dtype_get(o->k_type)->name, "v_type",
	                 dtype_get(o->v_type)->name, "load", load[o->load], "fill", (int)f->fill,
	                 "prompt", (int)f->prompt, "gpu_layers",
	                 (int)f->device_layers + f->device_head);
}

static json_t *json_totals(const struct forecast *f)
{
	const struct forecast_totals *t = &f->total;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "reserved",
	                 number(t->reserved), "private", number(t->private), "rss_start",
	                 number(t->start), "rss_full", number(t->full), "rss_peak", number(t->full),
	                 "charged", number(t->charged), "device", number(t->device), "complete",
	                 f->computed);
}

static json_t *json_lines(const struct report *r)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < r->g->n_warnings; i++)
		json_array_append_new(a, json_string(r->g->warnings[i].text));
	if (r->f->shared[0])
		json_array_append_new(a, json_string(r->f->shared));
	for (unsigned i = 0; i < r->f->shape.n_assumed; i++)
		json_array_append_new(a, json_string(r->f->shape.assumed[i]));
	return a;
}

static json_t *json_budget(const struct report *r)
{
	json_t *a = json_array();
	const struct budget_source *tight = compared(r);

	for (unsigned i = 0; i < r->budget->n; i++) {
		const struct budget_source *s = &r->budget->source[i];
		json_array_append_new(a, json_pack("{s:s, s:o, s:o}", "source", s->name, "bytes",
		                                   number(s->bytes), "need", number(needed(r, s))));
	}
	return json_pack("{s:o, s:s?, s:b}", "sources", a, "tightest", tight ? tight->name : NULL,
	                 "fits", !tight || needed(r, tight) <= tight->bytes);
}

static json_t *json_advice(const struct advice *v)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < v->n; i++)
		json_array_append_new(a,
		                      json_pack("{s:s, s:o, s:s}", "what", v->item[i].what, "value",
		                                number(v->item[i].bytes), "text", v->item[i].text));
	return a;
}

static json_t *json_layers(const struct report *r)
{
	json_t *a = json_array();
	uint64_t weights, kv;

	for (uint32_t i = 0; i < r->f->layers; i++) {
		forecast_layer(r->f, r->g, i, &weights, &kv);
		json_array_append_new(a,
		                      json_pack("{s:i, s:o, s:o, s:b}", "layer", (int)i, "weights",
		                                number(weights), "cache", number(kv), "device",
		                                i + r->f->device_layers >= r->f->layers));
	}
	return a;
}

static json_t *json_tensors(const struct report *r)
{
	json_t *a = json_array();
	char name[200];

	for (uint64_t i = 0; i < r->g->n_tensors; i++) {
		const struct gguf_tensor *t = &r->g->tensors[i];
		json_array_append_new(
		    a, json_pack("{s:s, s:s, s:o, s:o, s:o}", "name",
		                 err_quote(name, sizeof name, t->name.p, t->name.n), "type",
		                 dtype_get(t->type)->name, "rows", number(t->rows), "columns",
		                 number(t->cols), "bytes", number(t->bytes)));
	}
	return a;
}

json_t *report_json(const struct report *r, const struct report_options *o)
{
	const struct forecast *f = r->f;
	uint64_t k = f->region[PLAN_KV_K].bytes + f->region[PLAN_KV_K].device;
	uint64_t v = f->region[PLAN_KV_V].bytes + f->region[PLAN_KV_V].device;
	json_t *j = json_pack(
	    "{s:s, s:s, s:s, s:b, s:s?, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema",
	    "bitnet-memplan/1", "file", r->file, "architecture", f->shape.name, "computed",
	    f->computed, "reason", f->computed ? NULL : f->reason, "layer_count", (int)f->layers,
	    "options", json_options(f), "weights", json_weights(&f->tally), "kv",
	    json_pack("{s:o, s:o, s:o, s:o}", "bytes", number(k + v), "k", number(k), "v",
	              number(v), "state",
	              number(f->region[FORECAST_STATE].bytes + f->region[FORECAST_STATE].device)),
	    "logits_row", number((uint64_t)f->shape.n_vocab * 4), "regions", json_regions(r, 1),
	    "process", json_regions(r, 0), "totals", json_totals(f));

	if (!j)
		return NULL;
	json_object_set_new(j, "warnings", json_lines(r));
	if (r->budget)
		json_object_set_new(j, "budget", json_budget(r));
	if (r->advice)
		json_object_set_new(j, "recommendations", json_advice(r->advice));
	if (o->layers)
		json_object_set_new(j, "layers", json_layers(r));
	if (o->tensors)
		json_object_set_new(j, "tensors_list", json_tensors(r));
	return j;
}
