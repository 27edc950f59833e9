#include "report_ci.h"

#include <math.h>
#include <string.h>

#include "fmt.h"

static int is_bad(enum report_verdict v)
{
	return v == REPORT_LEAK || v == REPORT_GROWTH || v == REPORT_REGRESSION ||
	       v == REPORT_GUARD;
}

/* One test for the whole, and one for each group of findings. */
static size_t tests(const struct report *r)
{
	size_t n = 1;

	for (size_t i = 0; i < r->n_findings; i++)
		n += report_group(r, i).stacks > 0;
	return n;
}

static int fails(const struct report_finding *f)
{
	return is_bad(f->verdict) && !f->suppressed;
}

static void title(const struct report_finding *f, FILE *out, void (*put)(const char *, FILE *))
{
	put(f->kind, out);
	fputc(' ', out);
	put(f->site ? f->site : "series", out);
	fputs(": ", out);
	put(report_verdict_name(f->verdict), out);
}

static void number(double v, FILE *out)
{
	if (isfinite(v))
		fprintf(out, "%.10g", v);
	else
		fputs("null", out);
}

/* Descriptions in TAP: '#' begins a directive. */
static void tap_text(const char *s, FILE *out)
{
	for (; s && *s; s++) {
		if (*s == '#' || *s == '\\')
			fputc('\\', out);
		fputc((unsigned char)*s < ' ' ? '?' : *s, out);
	}
}

/* YAML: quoted, so that no name is taken for something else. */
static void yaml(const char *key, const char *s, FILE *out)
{
	fprintf(out, "  %s: \"", key);
	for (; s && *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		fputc((unsigned char)*s < ' ' ? '?' : *s, out);
	}
	fputs("\"\n", out);
}

static void tap_finding(const struct report_finding *f, struct report_group g, size_t n, FILE *out)
{
	fprintf(out, "%s %zu - ", fails(f) ? "not ok" : "ok", n);
	title(f, out, tap_text);
	fputs(f->suppressed ? " # SKIP suppressed\n" : "\n", out);
	fputs("  ---\n", out);
	yaml("class", report_class_name(f->class), out);
	yaml("why", f->why, out);
	fputs("  per_step: ", out);
	number(g.per_step, out);
	fputs("\n", out);
	yaml("unit", f->unit, out);
	fprintf(out, "  stacks: %zu\n", g.stacks);
	fputs("  frames:\n", out);
	for (size_t i = 0; i < f->frames; i++) {
		const struct report_frame *a = &f->frame[i];
		fputs("    - \"", out);
		tap_text(a->function ? a->function : "?", out);
		if (a->file)
			fprintf(out, " %s:%d", a->file, a->line);
		fputs("\"\n", out);
	}
	fputs("  ...\n", out);
}

int report_tap(const struct report *r, FILE *out, struct err *e)
{
	size_t n = 1;

	fprintf(out, "TAP version 14\n1..%zu\n", tests(r));
	/* What is still to be done is "not ok", and does not count as a failure. */
	fprintf(out, "%s 1 - ",
	        is_bad(r->verdict) || r->verdict == REPORT_UNSETTLED ? "not ok" : "ok");
	tap_text(r->command, out);
	fprintf(out, ": %s after %.0f steps%s\n", report_verdict_name(r->verdict), r->steps,
	        r->verdict == REPORT_UNSETTLED ? " # TODO more steps are needed" : "");
	for (size_t i = 0; i < r->n_findings; i++) {
		struct report_group g = report_group(r, i);
		if (g.stacks)
			tap_finding(&r->finding[i], g, ++n, out);
	}
	return ferror(out) ? err_sys(e, "cannot write TAP") : 0;
}

static void junit_finding(const struct report *r, const struct report_finding *f,
                          struct report_group g, FILE *out)
{
	fputs("    <testcase classname=\"", out);
	fmt_xml(r->command, out);
	fputs("\" name=\"", out);
	title(f, out, fmt_xml);
	fputs("\" time=\"0\">\n", out);
	if (f->suppressed)
		fputs("      <skipped message=\"suppressed\"/>\n", out);
	else if (is_bad(f->verdict)) {
		fprintf(out, "      <failure type=\"%s\" message=\"%.6g ",
		        report_class_name(f->class), g.per_step);
		fmt_xml(f->unit, out);
		fputs(" per step\">", out);
		fmt_xml(f->why, out);
		for (size_t i = 0; i < f->frames; i++) {
			fputs("\n", out);
			fmt_xml(f->frame[i].function ? f->frame[i].function : "?", out);
			if (f->frame[i].file) {
				fputs(" ", out);
				fmt_xml(f->frame[i].file, out);
				fprintf(out, ":%d", f->frame[i].line);
			}
		}
		fputs("</failure>\n", out);
	}
	fputs("    </testcase>\n", out);
}

int report_junit(const struct report *r, FILE *out, struct err *e)
{
	size_t failures = (size_t)is_bad(r->verdict), skipped = r->verdict == REPORT_UNSETTLED;

	for (size_t i = 0; i < r->n_findings; i++) {
		if (!report_group(r, i).stacks)
			continue;
		failures += (size_t)fails(&r->finding[i]);
		skipped += (size_t)r->finding[i].suppressed;
	}
	fprintf(out,
	        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite "
	        "name=\"bitnet-leakcheck\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" "
	        "skipped=\"%zu\" time=\"%.3f\">\n    <testcase classname=\"",
	        tests(r), failures, skipped, r->seconds);
	fmt_xml(r->command, out);
	fprintf(out, "\" name=\"verdict\" time=\"%.3f\">\n", r->seconds);
	if (is_bad(r->verdict))
		fprintf(out, "      <failure type=\"%s\" message=\"%s after %.0f steps\"/>\n",
		        report_verdict_name(r->verdict), report_verdict_name(r->verdict), r->steps);
	else if (r->verdict == REPORT_UNSETTLED)
		fputs("      <skipped message=\"unsettled: more steps are needed\"/>\n", out);
	fputs("    </testcase>\n", out);
	for (size_t i = 0; i < r->n_findings; i++) {
		struct report_group g = report_group(r, i);
		if (g.stacks)
			junit_finding(r, &r->finding[i], g, out);
	}
	fputs("  </testsuite>\n</testsuites>\n", out);
	return ferror(out) ? err_sys(e, "cannot write JUnit") : 0;
}

int report_csv(const struct report *r, FILE *out, struct err *e)
{
	fputs("step", out);
	for (size_t i = 0; i < r->n_series; i++)
		fprintf(out, ",%s", r->series[i].name);
	fputc('\n', out);
	for (size_t k = 0; k < r->samples; k++) {
		fprintf(out, "%.0f", r->step[k]);
		for (size_t i = 0; i < r->n_series; i++) {
			double v = r->series[i].v[k];
			if (isfinite(v))
				fprintf(out, ",%.10g", v);
			else
				fputc(',', out);
		}
		fputc('\n', out);
	}
	return ferror(out) ? err_sys(e, "cannot write CSV") : 0;
}
