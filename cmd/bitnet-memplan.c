/*
 * bitnet-memplan: the memory that a model will need, from its header alone.  The plan is the one
 * that bitnet-run allocates from; this program adds nothing to it but paper.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device_memory.h"
#include "emit.h"
#include "fmt.h"
#include "forecast_report.h"
#include "mem.h"
#include "opt.h"
#include "plan_opt.h"
#include "threads.h"
#include "verify.h"

#define TYPES 16

static struct {
	int64_t ctx, sequences, ubatch, threads, prompt;
	enum dtype kv[2], embed, type[TYPES];
	size_t n_types;
	enum weights_load load;
	const char *gpu_layers, *gpu, *fill, *max_memory, *reserve, *solve, *columns, *emit, *plot;
	const char *verify;
	uint64_t gpu_overhead;
	double tolerance;
	int quiet, total, json;
	struct report_options report;
	int bytes, si;
	char **command; /* behind --, with --verify */
} o = {.gpu_overhead = FORECAST_DEVICE_OVERHEAD, .tolerance = 2, .plot = "auto"};

static struct budget budget;
static uint64_t device_bytes;

static int set_type(const char *name, size_t n, enum dtype *out, struct err *e)
{
	char one[16];

	snprintf(one, sizeof one, "%.*s", n < sizeof one ? (int)n : 15, name);
	*out = dtype_find(one);
	return *out ? 0 : err_set(e, ERR_TROUBLE, "'%s' is not a tensor type", one);
}

static int set_types(void *to, const char *value, struct err *e)
{
	(void)to;
	for (o.n_types = 0;; value++) {
		size_t n = strcspn(value, ",");
		if (o.n_types == TYPES)
			return err_set(e, ERR_TROUBLE, "more than %d types", TYPES);
		if (set_type(value, n, &o.type[o.n_types++], e))
			return -1;
		value += n;
		if (!*value)
			return 0;
	}
}

static int set_embed(void *to, const char *value, struct err *e)
{
	return set_type(value, strlen(value), to, e);
}

static int set_columns(void *to, const char *value, struct err *e)
{
	struct report_options *r = to;

	for (r->n_columns = 0;; value++) {
		size_t n = strcspn(value, ",");
		int c = report_column(value, n);
		if (c < 0 || r->n_columns == REPORT_COLUMNS)
			return err_set(e, ERR_TROUBLE, "'%.*s' is not one of %s", (int)n, value,
			               report_columns());
		r->columns[r->n_columns++] = c;
		value += n;
		if (!*value)
			return 0;
	}
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
    {OPT_INT, 't', "threads", &o.threads, "N",
     "threads (default: the cores that this process may use)", .min = 1, .max = 1024},
    {OPT_CALL, 0, "load", &o.load, "HOW", "weights: mmap (default), mlock, read or hugetlb",
     .call = plan_opt_load},
    {OPT_STRING, 'f', "fill", &o.fill, "N|PCT",
     "tokens really stored per sequence, or percent of the context (default 100%)"},
    {OPT_INT, 0, "prompt-tokens", &o.prompt, "N",
     "tokens of the longest prompt (default: all that are stored)", .min = 1, .max = 1 << 30},
    {OPT_CALL, 0, "as-type", NULL, "LIST",
     "as if the matrices had these types; with several, a table of them", .call = set_types},
    {OPT_CALL, 0, "embed-type", &o.embed, "TYPE",
     "as if the tables of embeddings and output had this type", .call = set_embed},
    {OPT_HEAD, .help = "A device"},
    {OPT_STRING, 'g', "gpu-layers", &o.gpu_layers, "N|all",
     "the last N layers on the device; all: and the head"},
    {OPT_STRING, 0, "gpu", &o.gpu, "SIZE|auto",
     "memory of the device; auto asks the driver what is free"},
    {OPT_SIZE, 0, "gpu-overhead", &o.gpu_overhead, "SIZE",
     "what the driver takes there (default 512M)"},
    {OPT_HEAD, .help = "A budget"},
    {OPT_STRING, 'M', "max-memory", &o.max_memory, "SIZE|auto",
     "whether it fits; auto: the tightest of available memory, cgroup limits, RLIMIT_AS and "
     "RLIMIT_DATA"},
    {OPT_STRING, 'r', "reserve", &o.reserve, "SIZE|PCT", "of the budget, kept for others"},
    {OPT_STRING, 0, "solve", &o.solve, "WHAT",
     "print the largest that fits: ctx, batch, ubatch, kv-type, type or gpu-layers"},
    {OPT_HEAD, .help = "Output"},
    {OPT_FLAG, 'q', "quiet", &o.quiet, NULL, "nothing on standard output: only the exit status"},
    {OPT_FLAG, 'b', "bytes", &o.bytes, NULL, "sizes in bytes"},
    {OPT_FLAG, 'H', "si", &o.si, NULL, "sizes in powers of 1000"},
    {OPT_FLAG, 'n', "no-heading", &o.report.no_heading, NULL, "no headings"},
    {OPT_CALL, 'o', "output", &o.report, "COLUMNS",
     "only these columns: name, kind, tag, size, start, full, device, share, what, formula",
     .call = set_columns},
    {OPT_FLAG, 'l', "layers", &o.report.layers, NULL, "each layer's weights and cache"},
    {OPT_FLAG, 'x', "tensors", &o.report.tensors, NULL, "each tensor"},
    {OPT_FLAG, 'T', "total", &o.total, NULL, "the sum over all files at the end"},
    {OPT_FLAG, 0, "explain", &o.report.explain, NULL, "each number with its formula"},
    {OPT_FLAG, 'J', "json", &o.json, NULL, "one JSON object per file, sizes in bytes"},
    {OPT_STRING, 0, "plot", &o.plot, "WHEN", "bars: auto (default, on a terminal), always, never"},
    {OPT_STRING, 0, "emit", &o.emit, "FORM",
     "settings for sh, k8s, systemd or docker, with what they mean"},
    {OPT_HEAD, .help = "Reality"},
    {OPT_STRING, 0, "verify", &o.verify, "PID",
     "compare the plan with a running process; --verify -- COMMAND... at the end runs one"},
    {OPT_REAL, 0, "tolerance", &o.tolerance, "PCT",
     "with --verify: percent that may be missed by (default 2)", .min = 0, .max = 1000},
    {OPT_END},
};

static const struct opt_program program = {
    .name = "bitnet-memplan",
    .synopsis = "[options] FILE...\n"
		"--verify=PID [options] FILE\n"
		"--verify=run [options] FILE -- COMMAND [ARGUMENT...]",
    .about = "Plans the memory that a model in GGUF form will need, from its header alone.\n"
	     "FILE - reads a header from standard input, and stops behind it.",
    .examples = "  curl -sL URL | bitnet-memplan -\n"
		"  bitnet-memplan -q -M 8G model.gguf || echo 'does not fit'\n"
		"  bitnet-run -c \"$(bitnet-memplan --solve=ctx -M 6G model.gguf)\" -m model.gguf\n"
		"  bitnet-memplan -J *.gguf | jq .totals.rss_peak\n",
    .options = options,
};

/* ---- options into a forecast's options ---- */

/* "12%" or "12": the percent sign tells which. */
static int number_or_percent(const char *name, const char *s, uint64_t *n, int *percent,
                             struct err *e)
{
	char *end;
	unsigned long long v = strtoull(s, &end, 10);

	*percent = *end == '%' && !end[1];
	if (end == s || *s == '-' || (*end && !*percent) || (*percent && v > 100))
		return err_set(e, ERR_TROUBLE, "--%s: '%s' is neither a count nor 0%% to 100%%",
		               name, s);
	*n = v;
	return 0;
}

static int fill_in(struct forecast_options *f, struct err *e)
{
	char *end = NULL;

	f->plan.ctx = o.ctx < 0 ? PLAN_CTX_ALL : (uint32_t)o.ctx;
	f->plan.sequences = (uint32_t)o.sequences;
	f->plan.ubatch = (uint32_t)o.ubatch;
	f->plan.threads = o.threads ? (int)o.threads : threads_available();
	f->plan.k_type = o.kv[0];
	f->plan.v_type = o.kv[1];
	f->plan.load = o.load;
	f->prompt = (uint64_t)o.prompt;
	f->device_overhead = o.gpu_overhead;
	if (o.fill && number_or_percent("fill", o.fill, &f->fill, &f->fill_percent, e))
		return -1;
	f->has_fill = o.fill != NULL;
	if (!o.gpu_layers)
		return 0;
	f->device = 1;
	f->device_layers = UINT32_MAX;
	if (strcmp(o.gpu_layers, "all") != 0)
		f->device_layers = (uint32_t)strtoul(o.gpu_layers, &end, 10);
	return end && (*end || end == o.gpu_layers)
	           ? err_set(e, ERR_TROUBLE, "--gpu-layers: '%s' is neither a count nor all",
	                     o.gpu_layers)
	           : 0;
}

static int read_device(struct err *e)
{
	if (!o.gpu)
		return 0;
	if (strcmp(o.gpu, "auto") ? fmt_parse_size(o.gpu, &device_bytes, e)
	                          : device_memory(&device_bytes, e))
		return err_in(e, "--gpu");
	return 0;
}

static int read_reserve(struct err *e)
{
	uint64_t n;
	int percent;

	if (!strchr(o.reserve, '%')) {
		if (fmt_parse_size(o.reserve, &n, e))
			return err_in(e, "--reserve");
		budget_reserve(&budget, n, 0);
		return 0;
	}
	if (number_or_percent("reserve", o.reserve, &n, &percent, e))
		return -1;
	budget_reserve(&budget, 0, (unsigned)n);
	return 0;
}

static int read_budget(struct err *e)
{
	uint64_t n;

	if (!o.max_memory)
		return o.reserve ? err_set(e, ERR_TROUBLE, "--reserve needs --max-memory") : 0;
	if (!strcmp(o.max_memory, "auto")) {
		if (budget_find(&budget, "", e))
			return -1;
	} else {
		if (fmt_parse_size(o.max_memory, &n, e))
			return err_in(e, "--max-memory");
		budget_fixed(&budget, "--max-memory", n);
	}
	return o.reserve ? read_reserve(e) : 0;
}

static int read_options(struct forecast_options *f, struct err *e)
{
	static const char *const when[] = {"auto", "always", "never"};
	int plot = 0;

	if (fill_in(f, e) || read_device(e) || read_budget(e))
		return -1;
	while (plot < 3 && strcmp(o.plot, when[plot]) != 0)
		plot++;
	if (plot == 3)
		return err_set(e, ERR_TROUBLE, "--plot: '%s' is not auto, always or never", o.plot);
	if (o.emit && emit_find(o.emit, e) < 0)
		return -1;
	if (o.bytes && o.si)
		return err_set(e, ERR_TROUBLE, "--bytes and --si exclude each other");
	o.report.units = o.bytes ? REPORT_BYTES : o.si ? REPORT_SI : REPORT_BINARY;
	o.report.colour = fmt_colour(stdout);
	o.report.bars = plot == 1 || (plot == 0 && isatty(STDOUT_FILENO));
	o.report.width = fmt_columns(stdout);
	return 0;
}

/* ---- one file ---- */

/* Prints the answer to --solve; 1 when nothing fits. */
static int print_solution(const struct solve *s, struct err *e)
{
	static const enum dtype usual[] = {DTYPE_F16,   DTYPE_Q8_0, DTYPE_I2_S,
	                                   DTYPE_TQ2_0, DTYPE_TL2,  DTYPE_TQ1_0};
	uint32_t n = 0;
	enum dtype t = DTYPE_NONE;
	int none = 0, r, types = 0;

	if (!strcmp(o.solve, "ctx")) {
		r = solve_ctx(s, &n, e);
	} else if (!strcmp(o.solve, "batch")) {
		r = solve_batch(s, &n, e);
	} else if (!strcmp(o.solve, "ubatch")) {
		r = solve_ubatch(s, &n, e);
	} else if (!strcmp(o.solve, "gpu-layers")) {
		r = solve_device_layers(s, &n, &none, e);
		n++;
	} else if (!strcmp(o.solve, "kv-type")) {
		r = solve_kv_type(s, &t, e);
		types = 1;
	} else {
		r = solve_type(s, o.n_types ? o.type : usual,
		               o.n_types ? o.n_types : sizeof usual / sizeof *usual, &t, e);
		types = 1;
	}
	if (r < 0)
		return -1;
	if (none || (types ? !t : !n)) {
		if (!o.quiet)
			fprintf(stderr, "bitnet-memplan: no %s fits\n", o.solve);
		return ERR_NO;
	}
	if (types)
		printf("%s\n", dtype_get(t)->name);
	else
		printf("%u\n", n - !strcmp(o.solve, "gpu-layers"));
	return 0;
}

static int check_solve(struct err *e)
{
	static const char *const what[] = {"ctx",     "batch", "ubatch",
	                                   "kv-type", "type",  "gpu-layers"};
	size_t i = 0;

	if (!o.solve)
		return 0;
	while (i < 6 && strcmp(o.solve, what[i]) != 0)
		i++;
	if (i == 6)
		return err_set(
		    e, ERR_TROUBLE,
		    "--solve: '%s' is not one of ctx, batch, ubatch, kv-type, type, gpu-layers",
		    o.solve);
	if (i == 5 ? !device_bytes : !o.max_memory)
		return err_set(e, ERR_TROUBLE, "--solve=%s needs %s", o.solve,
		               i == 5 ? "--gpu" : "--max-memory");
	return 0;
}

/* A row for each type of --as-type. */
static int print_types(const struct solve *s, const char *file, struct err *e)
{
	char w[24], n[24];
	int status = 0;

	if (!o.report.no_heading)
		printf("%s\ntype          weights        full  \n", file);
	for (size_t i = 0; i < o.n_types; i++) {
		struct forecast f;
		unsigned refused;
		if (solve_as_type(s, o.type[i], &f, &refused, e))
			return -1;
		const char *over = solve_exceeded(s, &f);
		printf("%-9s %11s %11s", dtype_get(o.type[i])->name,
		       report_size(o.report.units, f.tally.all.bytes, w),
		       report_size(o.report.units, f.total.full, n));
		if (refused)
			printf("  %u tensors keep their type: their shapes do not fit", refused);
		else if (over)
			printf("  does not fit (%s)", over);
		putchar('\n');
		status |= over != NULL;
		forecast_free(&f);
	}
	return status;
}

static int print_json(const struct report *r, struct err *e)
{
	json_t *j = report_json(r, &o.report);

	if (!j || json_dumpf(j, stdout, JSON_COMPACT)) {
		json_decref(j);
		return err_set(e, ERR_TROUBLE, "cannot write JSON");
	}
	json_decref(j);
	putchar('\n');
	return 0;
}

static void warn(const char *file, const struct gguf *g, const struct forecast *f)
{
	if (o.quiet)
		return;
	for (unsigned i = 0; i < g->n_warnings; i++)
		fprintf(stderr, "bitnet-memplan: %s: %s\n", file, g->warnings[i].text);
	for (unsigned i = 0; i < f->shape.n_assumed; i++)
		fprintf(stderr, "bitnet-memplan: %s: %s\n", file, f->shape.assumed[i]);
	if (f->shared[0])
		fprintf(stderr, "bitnet-memplan: %s: %s\n", file, f->shared);
	if (f->tally.longer)
		fprintf(stderr, "bitnet-memplan: %s: %llu bytes behind the last tensor\n", file,
		        (unsigned long long)f->tally.longer);
}

/* The whole report on a forecast; 1 when it does not fit. */
static int print_forecast(const struct solve *s, const char *file, const struct forecast *f,
                          struct err *e)
{
	struct advice advice;
	struct report r = {file, s->g, f, s->budget, s->device_bytes, NULL};
	const char *over = solve_exceeded(s, f);

	warn(file, s->g, f);
	if (o.verify || o.command)
		return verify_run(&r, o.verify, o.command, o.tolerance, o.json, o.report.units,
		                  o.quiet ? NULL : stdout, e);
	if (o.quiet)
		return over != NULL;
	if (o.emit)
		return emit(&r, emit_find(o.emit, e), stdout, e) ? -1 : over != NULL;
	if (advise(&advice, s, f, e))
		return -1;
	r.advice = &advice;
	if (o.json ? print_json(&r, e) : report_text(&r, &o.report, stdout))
		return -1;
	if (!o.json && (s->budget || s->device_bytes))
		report_verdict(&r, over, o.report.units, stdout);
	return over != NULL;
}

static void add_totals(struct forecast_totals *sum, const struct forecast_totals *t)
{
	sum->reserved += t->reserved;
	sum->private += t->private;
	sum->start += t->start;
	sum->full += t->full;
	sum->charged += t->charged;
	sum->device += t->device;
}

/* The usual answer: one forecast, as the file is or as if it had other types. */
static int plan_one(const struct solve *s, const char *file, struct forecast_totals *sum,
                    struct err *e)
{
	struct forecast f;
	unsigned refused = 0;

	if (o.n_types || o.embed ? solve_as_type(s, o.type[0], &f, &refused, e)
	                         : forecast_make(&f, s->g, &s->o, e))
		return -1;
	if (refused && !o.quiet)
		fprintf(stderr,
		        "bitnet-memplan: %s: %u tensors keep their type: their shapes do not fit\n",
		        file, refused);
	int r = print_forecast(s, file, &f, e);
	add_totals(sum, &f.total);
	forecast_free(&f);
	return r;
}

static int plan_file(const char *file, const struct forecast_options *fo,
                     struct forecast_totals *sum, struct err *e)
{
	struct gguf g;
	struct solve s = {&g, *fo, o.max_memory ? &budget : NULL, device_bytes, o.embed};

	if (gguf_open(&g, file, GGUF_HEADER_ONLY, e))
		return -1;
	int r = o.solve         ? print_solution(&s, e)
	        : o.n_types > 1 ? print_types(&s, file, e)
	                        : plan_one(&s, file, sum, e);
	gguf_close(&g);
	return r;
}

static int print_total(const struct forecast_totals *t, struct err *e)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} rows[] = {{"reserved", t->reserved}, {"private", t->private}, {"rss_start", t->start},
	            {"rss_full", t->full},     {"rss_peak", t->full},   {"charged", t->charged},
	            {"device", t->device}};
	json_t *j = json_object();
	char size[24];

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (o.json)
			json_object_set_new(j, rows[i].name,
			                    json_integer((json_int_t)rows[i].bytes));
		else if (rows[i].bytes && strcmp(rows[i].name, "rss_peak") != 0)
			printf("%stotal %-10s %11s\n", i ? "" : "\n", rows[i].name,
			       report_size(o.report.units, rows[i].bytes, size));
	}
	json_t *line = json_pack("{s:s, s:o}", "schema", "bitnet-memplan/1", "sum", j);
	if (o.json && (!line || json_dumpf(line, stdout, JSON_COMPACT) || putchar('\n') == EOF)) {
		json_decref(line);
		return err_set(e, ERR_TROUBLE, "cannot write JSON");
	}
	json_decref(line);
	return 0;
}

/* Every file, also behind one that fails: the worst status counts. */
static int plan_all(char **file, int n, const struct forecast_options *fo)
{
	struct forecast_totals sum = {0};
	int status = 0;
	struct err e;

	for (int i = 0; i < n; i++) {
		e = (struct err){0};
		int r = plan_file(file[i], fo, &sum, &e);
		if (r < 0) {
			fprintf(stderr, "bitnet-memplan: %s: %s\n", file[i], e.text);
			r = e.status;
		}
		status = r > status ? r : status;
		if (i + 1 < n && !o.json && !o.quiet && !o.solve)
			putchar('\n');
	}
	e = (struct err){0};
	if (o.total && !o.quiet && print_total(&sum, &e)) {
		fprintf(stderr, "bitnet-memplan: %s\n", e.text);
		status = e.status;
	}
	return status;
}

/* "--verify -- COMMAND...": the words behind it are not ours, so they are cut off before getopt,
 * which would take "--" for a process id. */
static int cut_command(int argc, char **argv)
{
	for (int i = 1; i + 2 < argc; i++)
		if (!strcmp(argv[i], "--verify") && !strcmp(argv[i + 1], "--")) {
			o.command = argv + i + 2;
			argv[i] = NULL;
			return i;
		}
	return argc;
}

static int check_operands(int n, struct err *e)
{
	if (n < 1)
		return err_set(e, ERR_TROUBLE, "a FILE is needed (see --help)");
	if ((o.verify || o.command) && n > 1)
		return err_set(e, ERR_TROUBLE, "--verify takes one FILE, found %d", n);
	return 0;
}

int main(int argc, char **argv)
{
	struct forecast_options fo = {0};
	struct err e = {0};
	int first, status;

	argc = cut_command(argc, argv);
	status = opt_parse(&program, argc, argv, &first, &e);
	if (status == OPT_HELP || status == OPT_VERSION)
		status =
		    status == OPT_HELP ? opt_help(&program, stdout) : opt_version(&program, stdout);
	else if (status == 0 &&
	         (read_options(&fo, &e) || check_solve(&e) || check_operands(argc - first, &e)))
		status = -1;
	else if (status == 0)
		status = plan_all(argv + first, argc - first, &fo);
	if (io_close_stdout(status < 0 ? NULL : &e))
		status = -1;
	if (status < 0) {
		fprintf(stderr, "bitnet-memplan: %s\n", e.text);
		return e.status;
	}
	return status;
}
