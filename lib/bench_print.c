#include "bench.h"

#include <string.h>

#include "fmt.h"

static const struct {
	const char *name, *unit;
} facts[] = {
    [BENCH_READ] = {"read", "GB/s"},
    [BENCH_COPY] = {"copy", "GB/s"},
    [BENCH_INT8] = {"int8", "G multiply-adds/s"},
    [BENCH_GEMV] = {"gemv", "GB/s"},
    [BENCH_PREFILL] = {"prefill", "tokens/s"},
    [BENCH_DECODE] = {"decode", "tokens/s"},
};

#define BAR 20 /* columns of a full one */

const char *bench_what_name(enum bench_what w)
{
	return facts[w].name;
}

const char *bench_unit(enum bench_what w)
{
	return facts[w].unit;
}

/* Everything that was printed has arrived. */
static int written(struct bench_print *p, struct err *e)
{
	p->lines++;
	return fflush(p->out) || ferror(p->out) ? err_sys(e, "standard output") : 0;
}

static int print_json(struct bench_print *p, json_t *j, struct err *e)
{
	int failed = !j || json_dumpf(j, p->out, JSON_COMPACT) || putc('\n', p->out) == EOF;

	json_decref(j);
	return failed ? err_set(e, ERR_TROUBLE, "cannot write JSON") : written(p, e);
}

static json_t *json_of(const struct bench_row *r)
{
	json_t *o =
	    json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:s}", "what", facts[r->what].name,
	              "threads", (int)r->threads, "tokens", (int)r->tokens, "at_once",
	              (int)r->ubatch, "depth", (int)r->depth, "median", r->median, "low", r->low,
	              "high", r->high, "unit", facts[r->what].unit);

	if (!o)
		return o;
	if ((r->weights &&
	     (json_object_set_new(o, "weights", json_string(dtype_get(r->weights)->name)) ||
	      json_object_set_new(o, "dense", json_boolean(r->dense)) ||
	      json_object_set_new(o, "head", json_string(dtype_get(r->head)->name)) ||
	      json_object_set_new(o, "screened", json_boolean(r->screened)))) ||
	    (r->bound > 0 && json_object_set_new(o, "share", json_real(r->median / r->bound)))) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static void print_head(const struct bench_print *p)
{
	if (p->style == BENCH_MARKDOWN)
		fputs("| what | threads | tokens | at once | depth | weights | head | median | low "
		      "| high | unit | share of ceiling |\n"
		      "| --- | ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | --- | "
		      "---: |\n",
		      p->out);
	else if (p->style == BENCH_CSV)
		fputs("what,threads,tokens,at_once,depth,weights,head,median,low,high,unit,share\n",
		      p->out);
	else
		fprintf(p->out, "%-8s %7s %6s %7s %6s  %-10s %-12s %8s %8s %8s  %-17s  %s\n",
		        "what", "threads", "tokens", "at once", "depth", "weights", "head",
		        "median", "low", "high", "unit", "share of ceiling");
}

/* Per cent of what the ceiling allows, and the bar; nothing for the ceilings themselves. */
static void print_share(const struct bench_print *p, const struct bench_row *r)
{
	double share = r->bound > 0 ? r->median / r->bound : 0;

	if (!(share > 0))
		return;
	if (p->style == BENCH_TABLE) {
		fprintf(p->out, "%*s%5.1f %% ", 19 - (int)strlen(facts[r->what].unit), "",
		        100 * share);
		fmt_bar_cell(p->out, share, 1, BAR);
		fputs("|", p->out);
	} else {
		fprintf(p->out, p->style == BENCH_CSV ? "%.2f" : "%.1f %%", 100 * share);
	}
}

int bench_print_row(struct bench_print *p, const struct bench_row *r, struct err *e)
{
	static const char *const format[] = {
	    [BENCH_TABLE] = "%-8s %7u %6u %7u %6u  %-10s %-12s %8.2f %8.2f %8.2f  %s",
	    [BENCH_MARKDOWN] = "| %s | %u | %u | %u | %u | %s | %s | %.2f | %.2f | %.2f | %s | ",
	    [BENCH_CSV] = "%s,%u,%u,%u,%u,%s,%s,%.4f,%.4f,%.4f,%s,",
	};
	char head[40] = "", weights[40] = "";

	if (p->style == BENCH_JSON)
		return print_json(p, json_of(r), e);
	if (!p->lines)
		print_head(p);
	if (r->weights)
		snprintf(weights, sizeof weights, "%s%s", dtype_get(r->weights)->name,
		         r->dense ? " dense" : "");
	if (r->head)
		snprintf(head, sizeof head, "%s%s", dtype_get(r->head)->name,
		         r->screened ? " screen" : "");
	fprintf(p->out, format[p->style], facts[r->what].name, r->threads, r->tokens, r->ubatch,
	        r->depth, weights, head, r->median, r->low, r->high, facts[r->what].unit);
	print_share(p, r);
	fputs(p->style == BENCH_MARKDOWN ? " |\n" : "\n", p->out);
	return written(p, e);
}

int bench_print_pair(struct bench_print *p, const struct bench_pair *pair, struct err *e)
{
	static const char *const head[] = {
	    [BENCH_TABLE] = "pair       ours     theirs  theirs / ours\n",
	    [BENCH_MARKDOWN] = ("| pair | ours | theirs | theirs / ours |\n"
	                        "| ---: | ---: | ---: | ---: |\n"),
	    [BENCH_CSV] = "pair,ours,theirs,ratio\n",
	};
	static const char *const format[] = {
	    [BENCH_TABLE] = "%4u %8.3f s %8.3f s %14.3f\n",
	    [BENCH_MARKDOWN] = "| %u | %.3f s | %.3f s | %.3f |\n",
	    [BENCH_CSV] = "%u,%.6f,%.6f,%.6f\n",
	};

	if (p->style == BENCH_JSON)
		return print_json(p,
		                  json_pack("{s:i, s:f, s:f, s:f}", "pair", (int)p->lines + 1,
		                            "ours", pair->ours, "theirs", pair->theirs, "ratio",
		                            pair->ratio),
		                  e);
	if (!p->lines)
		fputs(head[p->style], p->out);
	fprintf(p->out, format[p->style], p->lines + 1, pair->ours, pair->theirs, pair->ratio);
	return written(p, e);
}

int bench_print_sum(struct bench_print *p, const struct bench_row *sum, struct err *e)
{
	static const char *const format[] = {
	    [BENCH_TABLE] = "median %34.3f  (%.3f to %.3f)\n",
	    [BENCH_MARKDOWN] = "| median | | | %.3f (%.3f to %.3f) |\n",
	    [BENCH_CSV] = "median,,,%.6f\n",
	};

	if (p->style == BENCH_JSON)
		return print_json(p,
		                  json_pack("{s:f, s:f, s:f}", "median", sum->median, "low",
		                            sum->low, "high", sum->high),
		                  e);
	fprintf(p->out, format[p->style], sum->median, sum->low, sum->high);
	return written(p, e);
}
