/*
 * bitnet-memplan: the memory that a model will need, from its header alone.  The plan is the one
 * that bitnet-run allocates from; this program adds nothing to it but paper.
 */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "device_memory.h"
#include "emit.h"
#include "fmt.h"
#include "forecast_report.h"
#include "opt.h"
#include "plan_opt.h"
#include "threads.h"
#include "verify.h"

#define TYPES 16

static struct {
	int64_t ctx, sequences, ubatch, logits_rows, threads, prompt;
	enum dtype kv[2], embed, type[TYPES];
	size_t n_types;
	enum weights_load load;
	int screen;
	struct plan_amount fill, reserve;
	uint32_t device_layers;
	uint64_t device_bytes, device_overhead;
	struct budget budget; /* n 0: none */
	int solve;            /* enum solve_what; -1: nothing */
	int form;             /* of --emit; -1: none */
	int plot;             /* enum forecast_plot */
	const char *pid;      /* of --verify */
	char **command;       /* behind --verify -- */
	double tolerance;
	int quiet, total, json, bytes, si;
	struct forecast_report_options report;
} o = {.device_overhead = FORECAST_DEVICE_OVERHEAD, .tolerance = 2, .solve = -1, .form = -1};

/* ---- options that are more than a number ---- */

static int set_types(void *to, const char *value, struct err *e)
{
	(void)to;
	for (o.n_types = 0;; value++) {
		char one[16];
		size_t n = strcspn(value, ",");
		if (o.n_types == TYPES)
			return err_set(e, ERR_TROUBLE, "more than %d types", TYPES);
		snprintf(one, sizeof one, "%.*s", n < sizeof one ? (int)n : 15, value);
		if (plan_opt_type(&o.type[o.n_types++], one, e))
			return -1;
		value += n;
		if (!*value)
			return 0;
	}
}

static int set_device(void *to, const char *value, struct err *e)
{
	return strcmp(value, "auto") ? fmt_parse_size(value, to, e) : device_memory(to, e);
}

static const struct opt options[] = {
    {OPT_HEAD, .help = "The run"},
    {OPT_CALL, 'c', "ctx-size", &o.ctx, "N|max",
     "tokens of context per sequence (default: the model's, at most 4096)", .call = plan_opt_ctx},
    {OPT_CALL, 'k', "kv-type", o.kv, "K[,V]",
     "type of the KV cache: f16 (default), f32, bf16, q8_0, q4_0", .call = plan_opt_kv_type},
    {OPT_INT, 'B', "batch-size", &o.sequences, "N", "sequences side by side (default 1)", .min = 1,
     .max = 1 << 20},
    {OPT_INT, 'u', "ubatch-size", &o.ubatch, "N", "prompt tokens computed at once (default 512)",
     .min = 1, .max = 65536},
    {OPT_INT, 0, "logits-rows", &o.logits_rows, "N",
     "positions whose logits are kept at once (default: one per sequence)", .min = 1, .max = 65536},
    {OPT_CALL, 0, "head", &o.screen, "HOW",
     "output head: full (default) or screened, with a copy of 6 bits a value",
     .call = plan_opt_head},
    {OPT_INT, 't', "threads", &o.threads, "N",
     "threads (default: the cores that this process may use)", .min = 1, .max = 1024},
    {OPT_CALL, 0, "load", &o.load, "HOW",
     "weights: mmap (default), mlock, read, hugetlb or dense: ternary ones in 1.6 bits",
     .call = plan_opt_load},
    {OPT_CALL, 'f', "fill", &o.fill, "N|PCT",
     "tokens really stored per sequence, or percent of the context (default 100%)",
     .call = plan_opt_amount},
    {OPT_INT, 0, "prompt-tokens", &o.prompt, "N",
     "tokens of the longest prompt (default: all that are stored)", .min = 1, .max = 1 << 30},
    {OPT_CALL, 0, "as-type", NULL, "LIST",
     "as if the matrices had these types; with several, a table of them", .call = set_types},
    {OPT_CALL, 0, "embed-type", &o.embed, "TYPE",
     "as if the tables of embeddings and output had this type", .call = plan_opt_type},
    {OPT_HEAD, .help = "A device"},
    {OPT_CALL, 'g', "gpu-layers", &o.device_layers, "N|all",
     "the last N layers on the device; all: and the head", .call = plan_opt_layers},
    {OPT_CALL, 0, "gpu", &o.device_bytes, "SIZE|auto",
     "memory of the device; auto asks the driver what is free", .call = set_device},
    {OPT_SIZE, 0, "gpu-overhead", &o.device_overhead, "SIZE",
     "what the driver takes there (default 512M)"},
    {OPT_HEAD, .help = "A budget"},
    {OPT_CALL, 'M', "max-memory", &o.budget, "SIZE|auto",
     "whether it fits; auto: the tightest of available memory, cgroup limits, RLIMIT_AS and "
     "RLIMIT_DATA",
     .call = budget_opt},
    {OPT_CALL, 'r', "reserve", &o.reserve, "SIZE|PCT", "of the budget, kept for others",
     .call = plan_opt_reserve},
    {OPT_CALL, 0, "solve", &o.solve, "WHAT",
     "print the largest that fits: ctx, batch, ubatch, kv-type, type or gpu-layers",
     .call = solve_opt},
    {OPT_HEAD, .help = "Output"},
    {OPT_FLAG, 'q', "quiet", &o.quiet, NULL, "nothing on standard output: only the exit status"},
    {OPT_FLAG, 'b', "bytes", &o.bytes, NULL, "sizes in bytes"},
    {OPT_FLAG, 'H', "si", &o.si, NULL, "sizes in powers of 1000"},
    {OPT_FLAG, 'n', "no-heading", &o.report.no_heading, NULL, "no headings"},
    {OPT_CALL, 'o', "output", &o.report, "COLUMNS",
     "only these columns: name, kind, tag, size, start, full, device, share, what, formula",
     .call = forecast_report_opt_columns},
    {OPT_FLAG, 'l', "layers", &o.report.layers, NULL, "each layer's weights and cache"},
    {OPT_FLAG, 'x', "tensors", &o.report.tensors, NULL, "each tensor"},
    {OPT_FLAG, 'T', "total", &o.total, NULL, "the sum over all files at the end"},
    {OPT_FLAG, 0, "explain", &o.report.explain, NULL, "each number with its formula"},
    {OPT_FLAG, 'J', "json", &o.json, NULL, "one JSON object per file, sizes in bytes"},
    {OPT_CALL, 0, "plot", &o.plot, "WHEN", "bars: auto (default, on a terminal), always, never",
     .call = forecast_report_opt_plot},
    {OPT_CALL, 0, "emit", &o.form, "FORM",
     "settings for sh, k8s, systemd or docker, with what they mean", .call = emit_opt},
    {OPT_HEAD, .help = "Reality"},
    {OPT_STRING, 0, "verify", &o.pid, "PID",
     "compare the plan with a running process; --verify -- COMMAND... at the end runs one"},
    {OPT_REAL, 0, "tolerance", &o.tolerance, "PCT",
     "with --verify: percent that may be missed by (default 2)", .min = 0, .max = 1000},
    {OPT_END},
};

static const struct opt_program program = {
    .name = "bitnet-memplan",
    .synopsis = "[options] FILE...\n"
		"[options] --verify=PID FILE\n"
		"[options] FILE --verify -- COMMAND [ARGUMENT...]",
    .about = "Plans the memory that a model in GGUF form will need, from its header alone.\n"
	     "FILE - reads a header from standard input, and stops behind it.",
    .examples = "  curl -sL URL | bitnet-memplan -\n"
		"  bitnet-memplan -q -M 8G model.gguf || echo 'does not fit'\n"
		"  bitnet-run -c \"$(bitnet-memplan --solve=ctx -M 6G model.gguf)\" -m model.gguf\n"
		"  bitnet-memplan -J *.gguf | jq .totals.rss_peak\n",
    .options = options,
};

/* ---- what the options say together ---- */

static void fill_in(struct solve *s)
{
	struct forecast_options *f = &s->o;

	f->plan = (struct plan_options){
	    .ctx = o.ctx < 0 ? PLAN_CTX_ALL : (uint32_t)o.ctx,
	    .sequences = (uint32_t)o.sequences,
	    .ubatch = (uint32_t)o.ubatch,
	    .logits_rows = (uint32_t)o.logits_rows,
	    .threads = o.threads ? (int)o.threads : threads_available(),
	    .k_type = o.kv[0],
	    .v_type = o.kv[1],
	    .load = o.load,
	    .screen = o.screen,
	    .device_layers = o.device_layers,
	};
	f->prompt = (uint64_t)o.prompt;
	f->has_fill = o.fill.given;
	f->fill = o.fill.n;
	f->fill_percent = o.fill.percent;
	f->device_overhead = o.device_overhead;
	s->budget = o.budget.n ? &o.budget : NULL;
	s->device_bytes = o.device_bytes;
	s->type = o.n_types == 1 && o.solve != SOLVE_TYPE ? o.type[0] : DTYPE_NONE;
	s->embed = o.embed;
}

static int check_options(struct err *e)
{
	if (o.reserve.given && !o.budget.n)
		return err_set(e, ERR_TROUBLE, "--reserve needs --max-memory");
	if (o.bytes && o.si)
		return err_set(e, ERR_TROUBLE, "--bytes and --si exclude each other");
	if (o.solve == SOLVE_LAYERS ? !o.device_bytes : o.solve >= 0 && !o.budget.n)
		return err_set(e, ERR_TROUBLE, "--solve=%s needs %s",
		               solve_name((enum solve_what)o.solve),
		               o.solve == SOLVE_LAYERS ? "--gpu" : "--max-memory");
	return 0;
}

static void settle_output(void)
{
	if (o.reserve.given)
		budget_reserve(&o.budget, o.reserve.percent ? 0 : o.reserve.n,
		               o.reserve.percent ? (unsigned)o.reserve.n : 0);
	o.report.units = o.bytes ? FMT_BYTES : o.si ? FMT_SI : FMT_BINARY;
	o.report.colour = fmt_colour(stdout);
	o.report.bars = o.plot == FORECAST_PLOT_ALWAYS ||
	                (o.plot == FORECAST_PLOT_AUTO && isatty(STDOUT_FILENO));
	o.report.width = fmt_columns(stdout);
}

static int check_operands(int n, struct err *e)
{
	if (n < 1)
		return err_set(e, ERR_TROUBLE, "a FILE is needed (see --help)");
	if ((o.pid || o.command) && n > 1)
		return err_set(e, ERR_TROUBLE, "--verify takes one FILE, found %d", n);
	return 0;
}

/* ---- one file ---- */

/* Consumes j. */
static int print_json(json_t *j, struct err *e)
{
	int failed = !j || json_dumpf(j, stdout, JSON_COMPACT) || putchar('\n') == EOF;

	json_decref(j);
	return failed ? err_set(e, ERR_TROUBLE, "cannot write JSON") : 0;
}

static json_t *json_solution(const char *file, enum solve_what what, const struct solve_answer *a)
{
	json_t *value = !a->found ? json_null()
	                : a->type ? json_string(dtype_get(a->type)->name)
	                          : json_integer(a->number);

	return json_pack("{s:s, s:o, s:s, s:o}", "schema", "bitnet-memplan/1", "file",
	                 forecast_json_name(file), "solve", solve_name(what), "value", value);
}

/* Prints the answer to --solve; 1 when nothing fits. */
static int print_solution(const struct solve *s, const char *file, struct err *e)
{
	enum solve_what what = (enum solve_what)o.solve;
	struct solve_answer a;

	if (solve(s, what, o.type, o.n_types, &a, e))
		return -1;
	if (o.quiet)
		return !a.found;
	if (!a.found)
		fprintf(stderr, "bitnet-memplan: %s: no %s fits\n", file, solve_name(what));
	else if (a.lacks[0])
		fprintf(stderr, "bitnet-memplan: %s: the largest %s%s\n", file, solve_name(what),
		        a.lacks);
	if (o.json && print_json(json_solution(file, what, &a), e))
		return -1;
	if (!o.json && a.found && a.type)
		printf("%s\n", dtype_get(a.type)->name);
	else if (!o.json && a.found)
		printf("%lld\n", (long long)a.number);
	return !a.found;
}

/* The whole report on a forecast, in the form that is asked for. */
static int print_forecast(const struct solve *s, const char *file, const struct forecast *f,
                          unsigned refused, struct err *e)
{
	struct forecast_report r = {.file = file,
	                            .g = s->g,
	                            .f = f,
	                            .budget = s->budget,
	                            .device_bytes = s->device_bytes,
	                            .type = s->type,
	                            .embed = s->embed,
	                            .refused = refused};
	struct advice advice;
	char text[FORECAST_WARNING];

	if (o.quiet)
		return 0;
	for (unsigned i = 0; forecast_report_warning(&r, i, text); i++)
		fprintf(stderr, "bitnet-memplan: %s: %s\n", file, text);
	if (o.form >= 0)
		return emit(&r, o.form, stdout, e);
	if (advise(&advice, s, f, o.json ? FMT_BINARY : o.report.units, e))
		return -1;
	r.advice = &advice;
	if (o.json)
		return print_json(forecast_report_json(&r, &o.report), e);
	if (forecast_report_text(&r, &o.report, stdout))
		return err_sys(e, "standard output");
	forecast_report_verdict(&r, o.report.units, stdout);
	return 0;
}

/* The usual answer: one forecast, as the file is or as if it had other types; 1 when it does not
 * fit. */
static int plan_one(const struct solve *s, const char *file, struct forecast_totals *sum,
                    struct err *e)
{
	struct forecast f;
	unsigned refused;

	if (solve_forecast(s, &s->o, &f, &refused, e))
		return -1;
	int r = print_forecast(s, file, &f, refused, e);
	if (!r)
		r = solve_exceeded(s, &f) != NULL;
	forecast_add(sum, &f.total);
	forecast_free(&f);
	return r;
}

/* A row of the table of types; 1 when it does not fit. */
static int print_type(const struct solve *s, struct err *e)
{
	struct forecast f;
	unsigned refused;

	if (solve_forecast(s, &s->o, &f, &refused, e))
		return -1;
	const char *over = solve_exceeded(s, &f);
	if (!o.quiet)
		forecast_report_type(&f, s->type, refused, over, o.report.units, stdout);
	forecast_free(&f);
	return over != NULL;
}

/* Several types: a row for each, or with -J an object. */
static int plan_types(const struct solve *s, const char *file, struct forecast_totals *sum,
                      struct err *e)
{
	struct solve as = *s;
	int status = 0;

	if (!o.report.no_heading && !o.json && !o.quiet)
		printf("%s\ntype          weights        full\n", file);
	for (size_t i = 0; i < o.n_types; i++) {
		as.type = o.type[i];
		int r = o.json ? plan_one(&as, file, sum, e) : print_type(&as, e);
		if (r < 0)
			return -1;
		status |= r;
	}
	return status;
}

static int verify(const struct solve *s, const char *file, struct err *e)
{
	struct verify_options v = {o.pid, o.command, o.tolerance, o.json, o.report.units};

	return verify_run(s, file, &v, o.quiet ? NULL : stdout, e);
}

static int plan_file(const char *file, struct forecast_totals *sum, struct err *e)
{
	struct gguf g;
	struct solve s = {&g};

	fill_in(&s);
	if (gguf_open(&g, file, GGUF_HEADER_ONLY, e))
		return -1;
	int r = o.solve >= 0         ? print_solution(&s, file, e)
	        : o.pid || o.command ? verify(&s, file, e)
	        : o.n_types > 1      ? plan_types(&s, file, sum, e)
	                             : plan_one(&s, file, sum, e);
	gguf_close(&g);
	return r;
}

/* ---- all files ---- */

static int print_total(const struct forecast_totals *t, struct err *e)
{
	if (o.json)
		return print_json(json_pack("{s:s, s:o}", "schema", "bitnet-memplan/1", "sum",
		                            forecast_json_totals(t)),
		                  e);
	forecast_report_sum(t, o.report.units, stdout);
	return 0;
}

/* Every file, also behind one that fails: the worst status counts. */
static int plan_all(char **file, int n)
{
	struct forecast_totals sum = {.complete = 1};
	int status = 0;
	struct err e;

	for (int i = 0; i < n; i++) {
		e = (struct err){0};
		int r = plan_file(file[i], &sum, &e);
		if (r < 0) {
			fprintf(stderr, "bitnet-memplan: %s: %s\n", file[i], e.text);
			r = e.status;
		}
		status = r > status ? r : status;
		if (i + 1 < n && !o.json && !o.quiet && o.solve < 0)
			putchar('\n');
	}
	e = (struct err){0};
	if (o.total && !o.quiet && print_total(&sum, &e)) {
		fprintf(stderr, "bitnet-memplan: %s\n", e.text);
		status = e.status;
	}
	return status;
}

/* The first word before end; end when there is none. */
static int find_word(char **argv, int end, const char *word)
{
	int i = 1;

	while (i < end && strcmp(argv[i], word) != 0)
		i++;
	return i;
}

/* "FILE --verify -- COMMAND..." and "--verify FILE -- COMMAND...": the words behind the two dashes
 * are not ours, and --verify has no value, so both are cut out before getopt sees them. */
static int cut_command(int argc, char **argv)
{
	int end = find_word(argv, argc, "--"), verify = find_word(argv, end, "--verify");

	if (end + 1 >= argc || verify == end ||
	    !argv[verify + 1][strspn(argv[verify + 1], "0123456789")])
		return argc;
	o.command = argv + end + 1;
	memmove(argv + verify, argv + verify + 1, (size_t)(end - verify - 1) * sizeof *argv);
	argv[end - 1] = NULL;
	return end - 1;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	int first, status;

	setlocale(LC_CTYPE, "");
	argc = cut_command(argc, argv);
	status = opt_parse(&program, argc, argv, &first, &e);
	if (status == OPT_HELP || status == OPT_VERSION) {
		status =
		    status == OPT_HELP ? opt_help(&program, stdout) : opt_version(&program, stdout);
	} else if (status == 0 && (check_options(&e) || check_operands(argc - first, &e))) {
		status = -1;
	} else if (status == 0) {
		settle_output();
		status = plan_all(argv + first, argc - first);
	}
	if (io_close_stdout(status < 0 ? NULL : &e))
		status = -1;
	if (status < 0) {
		fprintf(stderr, "bitnet-memplan: %s\n", e.text);
		return e.status;
	}
	return status;
}
