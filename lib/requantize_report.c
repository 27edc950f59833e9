#include "requantize_report.h"

#include <jansson.h>
#include <string.h>

#include "fmt.h"

const char *requantize_form_name(const struct retype_form *f)
{
	if (f->ternary.kind == TERNARY_I2_S_ARM || f->ternary.kind == TERNARY_I2_S_ROWS4)
		return ternary_name(f->ternary.kind);
	return dtype_get(f->type)->name;
}

static const char *name_of(const struct requantize_tensor *t, char out[96])
{
	return err_quote(out, 96, t->t->name.p, (size_t)t->t->name.n);
}

void requantize_report_head(FILE *out)
{
	fprintf(out, "%-28s %-10s %-10s %-8s %11s %6s %6s %6s %10s %10s %8s %9s\n", "tensor",
	        "from", "to", "rule", "scale", "-1", "0", "+1", "mse", "max error", "cosine",
	        "scale err");
}

static void share(FILE *out, uint64_t part, uint64_t n)
{
	fprintf(out, " %5.1f%%", 100 * (double)part / (double)n);
}

void requantize_report_row(FILE *out, const struct requantize_tensor *t)
{
	const struct quantize_report *r = &t->report;
	char name[96];

	fprintf(out, "%-28s %-10s %-10s %-8s", name_of(t, name), requantize_form_name(&t->src.form),
	        requantize_form_name(&t->dst.form), quantize_rule_name(r->rule));
	if (r->ternary) {
		fprintf(out, " %11.5g", r->scale);
		share(out, r->minus, r->n);
		share(out, r->zeros, r->n);
		share(out, r->plus, r->n);
	} else {
		fprintf(out, " %11s %6s %6s %6s", "", "", "", "");
	}
	fprintf(out, " %10.4g %10.4g %8.5f %9.2g\n", r->mse, r->max_error, r->cosine,
	        r->scale_error);
}

void requantize_report_plan(FILE *out, const struct requantize *q)
{
	char size[FMT_SIZE], name[96];

	for (uint64_t i = 0; i < q->n; i++) {
		const struct requantize_tensor *t = &q->tensors[i];

		fprintf(out, "%-32s %-10s %-10s %12llu bytes at %llu%s\n", name_of(t, name),
		        requantize_form_name(&t->src.form), requantize_form_name(&t->dst.form),
		        (unsigned long long)q->w.tensors[i].bytes,
		        (unsigned long long)q->w.tensors[i].offset,
		        t->folded ? " (with its scale tensor)" : "");
	}
	fprintf(out, "%llu tensors, %llu bytes (%s)\n", (unsigned long long)q->n,
	        (unsigned long long)requantize_bytes(q), fmt_size(size, requantize_bytes(q)));
}

void requantize_report_lines(FILE *out, const struct quantize_report *r)
{
	fprintf(out, "rule %s\n", quantize_rule_name(r->rule));
	if (r->ternary)
		fprintf(out, "scale %.9g\nzeros %llu\nplus %llu\nminus %llu\n", r->scale,
		        (unsigned long long)r->zeros, (unsigned long long)r->plus,
		        (unsigned long long)r->minus);
	fprintf(out, "mse %.9g\nmax_error %.9g\ncosine %.9g\nscale_error %.9g\n", r->mse,
	        r->max_error, r->cosine, r->scale_error);
}

static json_t *tensor_json(const struct requantize *q, uint64_t i)
{
	const struct requantize_tensor *t = &q->tensors[i];
	const struct quantize_report *r = &t->report;
	char name[96];
	json_t *j =
	    json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "name", name_of(t, name), "from",
	              requantize_form_name(&t->src.form), "to", requantize_form_name(&t->dst.form),
	              "rows", (json_int_t)t->src.rows, "cols", (json_int_t)t->src.cols, "bytes",
	              (json_int_t)q->w.tensors[i].bytes, "rule", quantize_rule_name(r->rule));

	if (!j || r->rule == QUANTIZE_COPY)
		return j;
	json_object_update_new(j, json_pack("{s:f, s:f, s:f, s:f, s:f}", "mse", r->mse, "max_error",
	                                    r->max_error, "cosine", r->cosine, "loss", r->loss,
	                                    "scale_error", r->scale_error));
	if (r->ternary)
		json_object_update_new(j,
		                       json_pack("{s:f, s:I, s:I, s:I}", "scale", r->scale, "zeros",
		                                 (json_int_t)r->zeros, "plus", (json_int_t)r->plus,
		                                 "minus", (json_int_t)r->minus));
	return j;
}

int requantize_report_json(FILE *out, const struct requantize *q, struct err *e)
{
	json_t *tensors = json_array(), *all;
	int bad;

	for (uint64_t i = 0; i < q->n; i++)
		json_array_append_new(tensors, tensor_json(q, i));
	all = json_pack("{s:o, s:I}", "tensors", tensors, "bytes", (json_int_t)requantize_bytes(q));
	bad = !all || json_dumpf(all, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) ||
	      fputc('\n', out) == EOF;
	json_decref(all);
	return bad ? err_set(e, ERR_TROUBLE, "cannot write the report") : 0;
}
