/*
 * bitnet-leakcheck: runs a command, or attaches to a process, and tells leaks from noise.
 *
 * The command's own output stays as it is; the report goes to standard error, and in other forms
 * to files (-o).
 */
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "baseline.h"
#include "fmt.h"
#include "io.h"
#include "judge.h"
#include "leak_out.h"
#include "mem.h"
#include "opt.h"
#include "report_human.h"
#include "report_json.h"
#include "spawn.h"
#include "suppress.h"
#include "timeline_report.h"
#include "watch_builtin.h"

static struct {
	int64_t pid;
	uint64_t runs, max_steps, period, step_growth, blocks;
	double interval, seconds, grace;
	const char *regex, *client, *level, *picture, *again, *compare, *baseline, *suppressions;
	const char *timeline, *limit, *action, *hook, *workload, *alone, *model, *exit_status;
	int unsettled_ok, quiet, no_trim, no_reach;
	struct opt_list out;
} o = {.pid = 0,
       .blocks = 1 << 22,
       .period = 512 * 1024,
       .level = "stack",
       .grace = 10,
       .exit_status = "verdict"};

static const struct opt options[] = {
    {OPT_HEAD, 0, NULL, NULL, NULL, "What is watched", 0, 0, NULL},
    {OPT_INT, 'p', "pid", &o.pid, "PID", "attach to a running process, from outside only", 1,
     INT_MAX, NULL},
    {OPT_STRING, 'w', "workload", &o.workload, "NAME",
     "a built-in workload, or all of them; a list is printed for 'help'", 0, 0, NULL},
    {OPT_STRING, 0, "workload-alone", &o.alone, "NAME",
     "run a built-in workload here and now, without watching it", 0, 0, NULL},
    {OPT_STRING, 'm', "model", &o.model, "FILE",
     "the model of the workloads; part of a baseline's key", 0, 0, NULL},
    {OPT_STRING, 'r', "render", &o.again, "FILE",
     "no run: print the report of this JSON file again", 0, 0, NULL},
    {OPT_STRING, 't', "timeline", &o.timeline, "FILE",
     "no run: tell what this file of $BITNET_MEM_TRACE shows", 0, 0, NULL},
    {OPT_HEAD, 0, NULL, NULL, NULL,
     "Where steps come from (otherwise: $BITNET_LEAKCHECK_FD, or time)", 0, 0, NULL},
    {OPT_STRING, 'S', "step", &o.regex, "REGEX",
     "a step ends at each line of the output that matches", 0, 0, NULL},
    {OPT_REAL, 's', "interval", &o.interval, "SECONDS", "a step is this long", 0.001, 1e6, NULL},
    {OPT_STRING, 'c', "client", &o.client, "COMMAND",
     "run by sh again and again; each run is a step", 0, 0, NULL},
    {OPT_COUNT, 'k', "runs", &o.runs, "N", "run the command N times; each run is a step", 0, 0,
     NULL},
    {OPT_COUNT, 'n', "steps", &o.max_steps, "N", "watch N steps at most", 0, 0, NULL},
    {OPT_REAL, 'T', "time", &o.seconds, "SECONDS", "watch so long at most", 0.001, 1e9, NULL},
    {OPT_HEAD, 0, NULL, NULL, NULL, "The ledger", 0, 0, NULL},
    {OPT_STRING, 'l', "level", &o.level, "LEVEL", "off, site, stack (the default) or sampled", 0, 0,
     NULL},
    {OPT_SIZE, 0, "period", &o.period, "BYTES",
     "at level sampled: one block in so many bytes (512K)", 0, 0, NULL},
    {OPT_COUNT, 0, "ledger-blocks", &o.blocks, "N",
     "room for so many live blocks of a process (4194304), in powers of two", 0, 0, NULL},
    {OPT_FLAG, 0, "no-reach", &o.no_reach, NULL, "take no snapshots for reachability", 0, 0, NULL},
    {OPT_FLAG, 0, "no-trim", &o.no_trim, NULL, "never call malloc_trim in the command", 0, 0, NULL},
    {OPT_HEAD, 0, NULL, NULL, NULL, "The report", 0, 0, NULL},
    {OPT_LIST, 'o', "output", &o.out, "FORM:FILE",
     "write it as json, tap, junit, csv, svg or text too; FILE may be -", 0, 0, NULL},
    {OPT_STRING, 'f', "figure", &o.picture, "FILE", "a picture of the series, as SVG", 0, 0, NULL},
    {OPT_FLAG, 'q', "quiet", &o.quiet, NULL, "print findings only, in a line each", 0, 0, NULL},
    {OPT_STRING, 'u', "suppressions", &o.suppressions, "FILE",
     "leak:PATTERN and growth:PATTERN, as for LeakSanitizer", 0, 0, NULL},
    {OPT_STRING, 'B', "write-baseline", &o.baseline, "FILE", "keep what was measured", 0, 0, NULL},
    {OPT_STRING, 'b', "baseline", &o.compare, "FILE", "compare with what was kept", 0, 0, NULL},
    {OPT_FLAG, 'z', "unsettled-ok", &o.unsettled_ok, NULL,
     "status 0, not 3, when more steps are needed", 0, 0, NULL},
    {OPT_STRING, 0, "exit-status", &o.exit_status, "WHOSE", "verdict (the default) or command", 0,
     0, NULL},
    {OPT_HEAD, 0, NULL, NULL, NULL, "The guard", 0, 0, NULL},
    {OPT_STRING, 'M', "limit", &o.limit, "LIMIT", "bytes, percent of the memory, or device:BYTES",
     0, 0, NULL},
    {OPT_STRING, 'A', "action", &o.action, "ACTION",
     "how far it goes: warn, usr1, term or kill (the default)", 0, 0, NULL},
    {OPT_STRING, 'K', "hook", &o.hook, "COMMAND", "run by sh at the limit, with $PID", 0, 0, NULL},
    {OPT_REAL, 0, "grace", &o.grace, "SECONDS", "between hook, TERM and KILL (10)", 0.01, 1e6,
     NULL},
    {OPT_SIZE, 0, "max-step-growth", &o.step_growth, "BYTES", "stop it at this growth per step", 0,
     0, NULL},
    {OPT_END, 0, NULL, NULL, NULL, NULL, 0, 0, NULL}};

static const struct opt_program program = {
    .name = "bitnet-leakcheck",
    .synopsis = "[OPTION]... -- COMMAND [ARGUMENT]...\n"
		"[OPTION]... -p PID\n"
		"[OPTION]... -w NAME [-m MODEL]\n"
		"[-o FORM:FILE] -r FILE.json\n"
		"[-q] -t FILE",
    .about = "Tells a leak from noise in any command, with the call site.",
    .examples = "  bitnet-leakcheck -S '^loss ' -- ./train.sh\n"
		"  bitnet-leakcheck -p \"$(pgrep -n server)\" -s 1 -T 600\n"
		"  bitnet-leakcheck -w all -m model.gguf -o junit:leaks.xml\n",
    .options = options,
};

static int level_of(const char *s, enum ledger_level *level, struct err *e)
{
	static const char *const name[] = {"off", "site", "stack", "sampled"};

	for (int i = 0; i < 4; i++)
		if (!strcmp(s, name[i])) {
			*level = (enum ledger_level)i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "--level: '%s' is not off, site, stack or sampled", s);
}

/* Of the next power of two, within what a table can be. */
static unsigned log2_of(uint64_t n)
{
	unsigned log2 = 10;

	while (log2 < 30 && ((uint64_t)1 << log2) < n)
		log2++;
	return log2;
}

static int guard_of(struct guard_options *g, struct err *e)
{
	static const char *const name[] = {"warn", "usr1", "term", "kill"};

	*g = (struct guard_options){.end = GUARD_KILL,
	                            .hook = o.hook,
	                            .grace = o.grace,
	                            .step_growth = (double)o.step_growth};
	if (o.limit && guard_parse(g, o.limit, probe_limit(getpid()), e))
		return err_in(e, "--limit");
	if (!o.action)
		return 0;
	for (int i = 0; i < 4; i++)
		if (!strcmp(o.action, name[i])) {
			g->end = (enum guard_end)i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "--action: '%s' is not warn, usr1, term or kill", o.action);
}

/* The preloaded library lies beside the program when it was built here, else where it is
 * installed; its name may not contain what separates names in LD_PRELOAD. */
static const char *preload_path(struct report *r, struct err *e)
{
	static const char *const beside[] = {"libbitnet-ledger.so",
	                                     "../lib/bitnet/libbitnet-ledger.so"};
	static char path[PATH_MAX + 64];
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');
	for (int i = 0; slash && i < 2; i++) {
		snprintf(path, sizeof path, "%.*s/%s", (int)(slash - self), self, beside[i]);
		if (access(path, R_OK) == 0 && !strpbrk(path, " :"))
			return path;
	}
	report_note(r, e, "libbitnet-ledger.so was not found beside the program: no ledger");
	return NULL;
}

static void put_argv(char *text, size_t cap, char *const *argv)
{
	size_t n = 0;

	text[0] = 0;
	for (; *argv && n < cap; argv++)
		n += (size_t)snprintf(text + n, cap - n, "%s%s", n ? " " : "", *argv);
}

/* What the report says about where and when. */
static int describe(struct report *r, const struct watch *w, struct err *e)
{
	char command[1024], when[32], host[160];
	struct utsname u;
	time_t t = time(NULL) - (time_t)w->seconds;

	if (w->o.argv)
		put_argv(command, sizeof command, w->o.argv);
	else
		snprintf(command, sizeof command, "process %d", (int)w->o.pid);
	if (o.workload && w->o.argv)
		snprintf(command, sizeof command, "workload %s", w->o.argv[2]);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
	snprintf(host, sizeof host, "%s-%s", uname(&u) ? "unknown" : u.nodename, u.machine);
	const char *slash = o.model ? strrchr(o.model, '/') : NULL;
	if (w->o.argv && w->ended) {
		if (WIFSIGNALED(w->status))
			r->signal = WTERMSIG(w->status);
		else
			r->status = WEXITSTATUS(w->status);
	}
	return report_string(&r->command, command, e) || report_string(&r->started, when, e) ||
	       report_string(&r->host, host, e) ||
	       report_string(&r->source, watch_source_text(w), e) ||
	       report_string(&r->version, BITNET_VERSION, e) ||
	       report_string(&r->level, w->has_ledger ? o.level : "off", e) ||
	       report_string(&r->model, slash ? slash + 1 : o.model, e);
}

static int compare(struct report *r, struct err *e)
{
	if (o.suppressions && suppress_apply(o.suppressions, r, e))
		return -1;
	if (o.compare && baseline_compare(o.compare, r, e))
		return -1;
	return o.baseline ? baseline_write(o.baseline, r, e) : 0;
}

static int write_files(const struct report *r, struct err *e)
{
	char picture[PATH_MAX + 8];

	for (size_t i = 0; i < o.out.n; i++)
		if (leak_out(r, o.out.v[i], e))
			return -1;
	snprintf(picture, sizeof picture, "svg:%s", o.picture ? o.picture : "");
	return o.picture ? leak_out(r, picture, e) : 0;
}

static int print(const struct report *r, FILE *to, struct err *e)
{
	return report_human(r, report_style(to), o.quiet, to, e);
}

static int status_of(const struct report *r)
{
	int status = report_status(r);

	if (!strcmp(o.exit_status, "command") && !o.workload) {
		if (r->signal > 0)
			return 128 + (int)r->signal;
		if (r->status >= 0)
			return (int)r->status;
	}
	return status == ERR_SHORT && o.unsettled_ok ? ERR_OK : status;
}

static int settled(void *arg)
{
	return judge_settled(arg);
}

/* Watches one command or process and fills the report r. */
static int watch_one(char *const *argv, struct report *r, struct err *e)
{
	struct watch *w = mem_calloc(MEM_OTHER, 1, sizeof *w, e);
	struct watch_options wo = {.argv = argv,
	                           .pid = (pid_t)o.pid,
	                           .source = o.regex          ? WATCH_REGEX
	                                     : o.client       ? WATCH_CLIENT
	                                     : o.runs         ? WATCH_RUNS
	                                     : o.interval > 0 ? WATCH_TIME
	                                                      : WATCH_AUTO,
	                           .interval = o.interval,
	                           .regex = o.regex,
	                           .client = o.client,
	                           .runs = o.runs,
	                           .max_steps = o.max_steps,
	                           .seconds = o.seconds,
	                           .no_trim = o.no_trim,
	                           .no_reach = o.no_reach,
	                           .settled = settled,
	                           .arg = w,
	                           .ledger = {.period = o.period, .block_log2 = log2_of(o.blocks)}};

	report_init(r);
	int failed = !w || level_of(o.level, &wo.ledger.level, e) || guard_of(&wo.guard, e);
	if (!failed && argv && wo.ledger.level != LEDGER_OFF)
		wo.preload = preload_path(r, e);
	failed = failed || watch_run(w, wo, r, e) || judge_run(w, r, e) || describe(r, w, e);
	if (w)
		watch_free(w);
	mem_free(w);
	return failed ? -1 : 0;
}

static int watch_command(char *const *argv, int *status, struct err *e)
{
	struct report r;
	int failed =
	    watch_one(argv, &r, e) || compare(&r, e) || write_files(&r, e) || print(&r, stderr, e);

	*status = status_of(&r);
	report_free(&r);
	return failed ? -1 : 0;
}

/* One workload into the report of all.  One that fails is trouble, whatever it leaks. */
static int workload(char **argv, const char *name, struct report *all, struct err *e)
{
	struct report r;

	argv[2] = (char *)(uintptr_t)name;
	fprintf(stderr, "workload %s: ", name);
	int failed = watch_one(argv, &r, e);
	if (!failed && r.status == BUILTIN_SKIP)
		failed = report_note(all, e, "workload %s was skipped", name);
	else if (!failed && (r.status > 0 || r.signal > 0))
		failed = err_set(e, ERR_TROUBLE, "it failed");
	else if (!failed)
		failed = compare(&r, e) || print(&r, stderr, e) || report_absorb(all, &r, name, e);
	report_free(&r);
	return failed ? err_in(e, "workload %s", name) : 0;
}

/* Each in a process of its own. */
static int watch_workloads(int *status, struct err *e)
{
	char *argv[] = {"/proc/self/exe",      "--workload-alone",         NULL,
	                o.model ? "-m" : NULL, (char *)(uintptr_t)o.model, NULL};
	struct report all;
	const char *name;
	int failed = builtin_check(o.workload, e);

	report_init(&all);
	for (size_t i = 0; !failed && (name = builtin_name(o.workload, i)); i++)
		failed = workload(argv, name, &all, e);
	failed = failed || report_string(&all.command, "workloads", e) ||
	         report_string(&all.version, BITNET_VERSION, e) || write_files(&all, e);
	*status = status_of(&all);
	report_free(&all);
	return failed ? -1 : 0;
}

static int render(int *status, struct err *e)
{
	struct report r;
	char *text = NULL;
	size_t n;

	report_init(&r);
	int failed =
	    io_slurp(o.again, (size_t)1 << 30, &text, &n, e) || report_json_read(&r, text, n, e);
	if (failed)
		err_in(e, "%s", o.again);
	else
		failed = compare(&r, e) || write_files(&r, e) || print(&r, stdout, e);
	*status = failed ? ERR_TROUBLE : status_of(&r);
	free(text);
	report_free(&r);
	return failed ? -1 : 0;
}

/* What a timeline that is cut shows is told too, and then that it is cut. */
static int tell_timeline(int *status, struct err *e)
{
	struct timeline t;
	bool grows = false;
	int rc = timeline_open(&t, o.timeline, e);

	if (!rc || e->status == ERR_SHORT)
		if (timeline_report(&t, o.quiet, stdout, &grows, e))
			rc = -1;
	timeline_close(&t);
	*status = grows ? ERR_NO : ERR_OK;
	return rc ? err_in(e, "%s", o.timeline) : 0;
}

static int check(int operands, struct err *e)
{
	int given = (operands > 0) + (o.pid > 0) + (o.workload != NULL) + (o.again != NULL) +
	            (o.timeline != NULL);
	int sources = (o.regex != NULL) + (o.client != NULL) + (o.runs > 0) + (o.interval > 0);

	if (given != 1)
		return err_set(e, ERR_TROUBLE, "%s (see --help)",
		               given ? "a command, -p, -w, -r and -t exclude one another"
		                     : "a command, -p, -w, -r or -t is needed");
	if (o.timeline && o.out.n)
		return err_set(e, ERR_TROUBLE, "-t writes to standard output only, not to -o");
	if (sources > 1)
		return err_set(e, ERR_TROUBLE, "-S, -s, -c and -k exclude one another");
	if (o.pid > 0 && (o.regex || o.runs))
		return err_set(e, ERR_TROUBLE, "-S and -k need a command, not -p");
	if (strcmp(o.exit_status, "verdict") != 0 && strcmp(o.exit_status, "command") != 0)
		return err_set(e, ERR_TROUBLE, "--exit-status: '%s' is not verdict or command",
		               o.exit_status);
	for (size_t i = 0; i < o.out.n; i++)
		if (leak_out_check(o.out.v[i], e))
			return err_in(e, "--output");
	return 0;
}

static int run(char **argv, int operands, int *status, struct err *e)
{
	if (o.alone) {
		int failed = builtin_run(o.alone, o.model, o.max_steps, status, e);
		if (!failed && *status == BUILTIN_SKIP)
			fprintf(stderr, "skipped: %s\n", e->text);
		return failed;
	}
	if (check(operands, e))
		return -1;
	if (o.again)
		return render(status, e);
	if (o.timeline)
		return tell_timeline(status, e);
	if (o.workload)
		return watch_workloads(status, e);
	return watch_command(operands ? argv : NULL, status, e);
}

int main(int argc, char **argv)
{
	struct err e = {0}, closing = {0};
	int first = 0, status = 0;

	setlocale(LC_CTYPE, "");
	int next = opt_parse(&program, argc, argv, &first, &e);
	if (next == OPT_HELP || next == OPT_VERSION)
		next =
		    next == OPT_HELP ? opt_help(&program, stdout) : opt_version(&program, stdout);
	else if (next == OPT_RUN)
		next = run(argv + first, argc - first, &status, &e);
	if (io_close_stdout(&closing) && next == 0) {
		e = closing;
		next = -1;
	}
	if (next < 0) {
		fprintf(stderr, "bitnet-leakcheck: %s\n", e.text);
		return e.status ? e.status : ERR_TROUBLE;
	}
	return status;
}
