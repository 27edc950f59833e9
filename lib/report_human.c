#include "report_human.h"

#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "fmt.h"

#define STACK_SHOWN 12
#define ROWS        6

struct plot_style report_style(FILE *out)
{
	int columns = fmt_columns(out);

	return (struct plot_style){.columns = columns < 20 ? 20 : columns,
	                           .colour = fmt_colour(out),
	                           .braille = !strcmp(nl_langinfo(CODESET), "UTF-8")};
}

/* Words of text broken at the style's width, further lines indented by indent, which a narrow
 * terminal has no room for; column: where the first line stands already. */
static void wrap(FILE *out, struct plot_style style, int indent, int column, const char *text)
{
	int first = column == 0;

	indent = indent < style.columns / 4 ? indent : style.columns / 4;
	for (const char *p = text; *p;) {
		int spaces = (int)strspn(p, " "), n = (int)strcspn(p + spaces, " ");
		if (!first && column + spaces + n > style.columns) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
			p += spaces;
			spaces = 0;
		}
		if (first && spaces > style.columns / 4) {
			p += spaces - style.columns / 4;
			spaces = style.columns / 4;
		}
		/* A word longer than the line. */
		n = n < style.columns - column - spaces ? n : style.columns - column - spaces;
		fprintf(out, "%.*s", spaces + n, p);
		column += spaces + n;
		p += spaces + n;
		first = 0;
	}
	fputc('\n', out);
}

static __attribute__((format(printf, 4, 5))) void say(FILE *out, struct plot_style style,
                                                      int indent, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	wrap(out, style, indent, 0, text);
}

static const char *amount(char *out, double v, const char *unit)
{
	char size[FMT_SIZE];

	if (isnan(v))
		return strcpy(out, "not measured");
	if (strcmp(unit, "bytes") != 0)
		sprintf(out, "%.4g %s", v, unit);
	else
		sprintf(out, "%s%s", v < 0 ? "-" : "", fmt_size(size, (uint64_t)(fabs(v) + 0.5)));
	return out;
}

static const char *duration(char *out, double s)
{
	if (s < 120)
		sprintf(out, "%.1f s", s);
	else if (s < 7200)
		sprintf(out, "%.0f min", s / 60);
	else if (s < 172800)
		sprintf(out, "%.0f h", s / 3600);
	else
		sprintf(out, "%.0f days", fmin(s / 86400, 1e9));
	return out;
}

static void headline(const struct report *r, struct plot_style style, FILE *out)
{
	static const char *const colour[REPORT_VERDICTS] = {"32", "31", "31", "31",
	                                                    "31", "33", "32", "0"};
	static const char *const says[REPORT_VERDICTS] = {
	    "CLEAN", "LEAK", "GROWTH", "REGRESSION", "GUARD", "UNSETTLED", "RETENTION", "NOTE"};
	char text[64], line[160];

	if (style.colour)
		fprintf(out, "\033[1;%sm", colour[r->verdict]);
	fprintf(out, "%s", says[r->verdict]);
	if (style.colour)
		fprintf(out, "\033[0m");
	snprintf(line, sizeof line, " after %.0f steps by %s, in %s", r->steps,
	         r->source ? r->source : "?", duration(text, r->seconds));
	wrap(out, style, 2, (int)strlen(says[r->verdict]), line);
	if (r->verdict == REPORT_CLEAN && !isnan(r->ledger_could_see)) {
		say(out, style, 2, "  growth of live blocks < %s/step with 99 %% confidence",
		    amount(text, r->ledger_could_see, "bytes"));
	} else if (r->verdict == REPORT_CLEAN && !isnan(r->could_see)) {
		say(out, style, 2, "  growth < %s/step with 99 %% confidence",
		    amount(text, r->could_see, "bytes"));
	}
	if (r->verdict == REPORT_UNSETTLED)
		say(out, style, 2, "  %s",
		    r->samples < 20 ? "fewer than 20 samples: run it for more steps"
		                    : "run it for twice as many steps");
}

static void frame(const struct report_frame *f, struct plot_style style, FILE *out)
{
	const char *slash = f->module ? strrchr(f->module, '/') : NULL;
	const char *base = slash ? slash + 1 : f->module ? f->module : "?";

	if (f->file)
		say(out, style, 12, "        %s  %s:%d", f->function ? f->function : "?", f->file,
		    f->line);
	else if (f->function)
		say(out, style, 12, "        %s  (%s)", f->function, base);
	else
		say(out, style, 12, "        %s+0x%llx", base, (unsigned long long)f->offset);
}

/* f stands for the group g. */
static void finding(const struct report_finding *f, struct report_group g, struct plot_style style,
                    int quiet, FILE *out)
{
	char a[96], b[96], c[96], processes[40] = "";

	if (f->class == CLASS_EXIT) {
		if (!quiet)
			say(out, style, 4,
			    "  note: %s %s in %.0f block%s from %s, not freed at exit", f->kind,
			    amount(a, f->live, f->unit), f->live_blocks,
			    f->live_blocks == 1 ? "" : "s", f->site);
		return;
	}
	say(out, style, 4, "  %s: %s %s/step%s%s%s%s", report_verdict_name(f->verdict), f->kind,
	    amount(a, g.per_step, f->unit), f->site ? " from " : "", f->site ? f->site : "",
	    f->class ? ", " : "", f->class ? report_class_name(f->class) : "");
	if (quiet)
		return;
	if (f->class)
		say(out, style, 6, "      %s", report_class_text(f->class));
	if (g.processes > 1)
		snprintf(processes, sizeof processes, " in %zu processes", g.processes);
	if (g.stacks > 1)
		say(out, style, 6, "      by %zu stacks%s; of the largest, %s/step:", g.stacks,
		    processes, amount(a, f->per_step, f->unit));
	say(out, style, 6, "      between %s and %s/step; now %s", amount(a, f->lo, f->unit),
	    amount(b, f->hi, f->unit), amount(c, f->live, f->unit));
	if (!isnan(f->live_blocks))
		say(out, style, 6, "      %.0f blocks live, %.3g per step; %s", f->live_blocks,
		    f->blocks_per_step, f->why);
	else
		say(out, style, 6, "      %s", f->why);
	if (!isnan(f->lost))
		say(out, style, 6, "      reachable: %.0f blocks; lost: %.0f (%s)", f->held,
		    f->lost, amount(a, f->lost_bytes, "bytes"));
	if (f->suppressed)
		say(out, style, 6, "      suppressed");
	for (size_t i = 0; i < f->frames && i < STACK_SHOWN; i++)
		frame(&f->frame[i], style, out);
}

static void series(const struct report *r, struct plot_style style, FILE *out)
{
	char a[96], b[96];

	for (size_t i = 0; i < r->n_series; i++) {
		const struct report_series *s = &r->series[i];
		say(out, style, 4, "  %-11s %-11s %s to %s", s->name, s->verdict,
		    amount(a, s->first, s->unit), amount(b, s->last, s->unit));
	}
}

static void ledger(const struct report *r, struct plot_style style, FILE *out)
{
	char a[96], b[96];

	if (r->level && !isnan(r->events))
		say(out, style, 4, "  ledger: %.0f events at level %s%s", r->events, r->level,
		    r->dropped > 0 ? ", some dropped" : "");
	if (!isnan(r->trim_before))
		say(out, style, 4, "  malloc_trim: RssAnon %s before, %s after",
		    amount(a, r->trim_before, "bytes"), amount(b, r->trim_after, "bytes"));
	if (!isnan(r->rollup_first))
		say(out, style, 4, "  smaps_rollup: Pss %s, private dirty %s at step %.0f",
		    amount(a, r->pss_first, "bytes"), amount(b, r->dirty_first, "bytes"),
		    r->rollup_first);
	if (!isnan(r->rollup_last))
		say(out, style, 4, "    then %s and %s at step %.0f",
		    amount(a, r->pss_last, "bytes"), amount(b, r->dirty_last, "bytes"),
		    r->rollup_last);
	if (!isnan(r->oom_seconds))
		say(out, style, 4, "  out of memory in %s at this rate",
		    duration(a, r->oom_seconds));
	if (r->signal > 0)
		say(out, style, 4, "  the command was ended by signal %.0f", r->signal);
	else if (r->status > 0)
		say(out, style, 4, "  the command ended with status %.0f", r->status);
	for (size_t i = 0; i < r->n_actions; i++)
		say(out, style, 4, "  guard, step %.0f, %s: %s", r->action[i].step,
		    duration(a, r->action[i].seconds), r->action[i].what);
	for (size_t i = 0; i < r->n_notes; i++)
		say(out, style, 4, "  note: %s", r->note[i]);
}

int report_human(const struct report *r, struct plot_style style, int quiet, FILE *out,
                 struct err *e)
{
	headline(r, style, out);
	for (size_t i = 0; i < r->n_findings; i++) {
		struct report_group g = report_group(r, i);
		if (g.stacks)
			finding(&r->finding[i], g, style, quiet, out);
	}
	if (!quiet) {
		if (r->n_series)
			plot_text(r, &r->series[0], ROWS, style, out);
		series(r, style, out);
		ledger(r, style, out);
	}
	return ferror(out) ? err_sys(e, "cannot write the report") : 0;
}
