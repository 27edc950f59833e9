#include "bench.h"

static const struct {
	const char *name, *unit;
} facts[] = {
    [BENCH_READ] = {"read", "GB/s"},
    [BENCH_INT8] = {"int8", "G multiply-adds/s"},
    [BENCH_PREFILL] = {"prefill", "tokens/s"},
    [BENCH_DECODE] = {"decode", "tokens/s"},
};

const char *bench_what_name(enum bench_what w)
{
	return facts[w].name;
}

const char *bench_unit(enum bench_what w)
{
	return facts[w].unit;
}

void bench_print_head(FILE *out, enum bench_style s)
{
	if (s == BENCH_MARKDOWN)
		fputs("| what | threads | tokens | at once | depth | median | low | high | unit | "
		      "share of "
		      "ceiling |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | "
		      "---: |\n",
		      out);
	else if (s == BENCH_CSV)
		fputs("what,threads,tokens,at_once,depth,median,low,high,unit,share\n", out);
	else
		fprintf(out, "%-8s %7s %7s %7s %7s %9s %9s %9s  %-18s %s\n", "what", "threads",
		        "tokens", "at once", "depth", "median", "low", "high", "unit",
		        "share of ceiling");
}

/* Per cent of what the ceiling allows; nothing for the ceilings themselves. */
static void share(FILE *out, const struct bench_row *r, const char *format)
{
	if (r->bound > 0)
		fprintf(out, format, 100 * r->median / r->bound);
}

void bench_print_row(FILE *out, enum bench_style s, const struct bench_row *r)
{
	static const char *const format[] = {
	    [BENCH_TABLE] = "%-8s %7u %7u %7u %7u %9.2f %9.2f %9.2f  %-18s ",
	    [BENCH_MARKDOWN] = "| %s | %u | %u | %u | %u | %.2f | %.2f | %.2f | %s | ",
	    [BENCH_CSV] = "%s,%u,%u,%u,%u,%.4f,%.4f,%.4f,%s,",
	};

	fprintf(out, format[s], facts[r->what].name, r->threads, r->tokens, r->ubatch, r->depth,
	        r->median, r->low, r->high, facts[r->what].unit);
	share(out, r, s == BENCH_CSV ? "%.2f" : "%.1f %%");
	fputs(s == BENCH_MARKDOWN ? " |\n" : "\n", out);
}

json_t *bench_json(const struct bench_row *r)
{
	json_t *o =
	    json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:s}", "what", facts[r->what].name,
	              "threads", (int)r->threads, "tokens", (int)r->tokens, "at_once",
	              (int)r->ubatch, "depth", (int)r->depth, "median", r->median, "low", r->low,
	              "high", r->high, "unit", facts[r->what].unit);

	if (o && r->bound > 0 && json_object_set_new(o, "share", json_real(r->median / r->bound))) {
		json_decref(o);
		return NULL;
	}
	return o;
}
