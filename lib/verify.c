#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_NS 5000000 /* between two looks at a command */
#define PAGE    UINT64_C(4096)

/* One look at a process.  Regions are told by the size of their mapping, which is the plan's. */
struct look {
	uint64_t peak, rss, anonymous, model; /* bytes; model: pages of the model's files */
	uint64_t region[FORECAST_REGIONS];    /* resident bytes of those that were found */
	int found[FORECAST_REGIONS];
};

static uint64_t pages(uint64_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

/* "Rss:     120 kB" */
static int field(const char *line, const char *name, uint64_t *bytes)
{
	size_t n = strlen(name);

	if (strncmp(line, name, n) != 0 || line[n] != ':')
		return 0;
	*bytes = strtoull(line + n + 1, NULL, 10) * 1024;
	return 1;
}

static int is_model(const struct gguf *g, const char *path)
{
	char real[4096];

	for (unsigned i = 0; i < g->n_parts; i++)
		if (g->parts[i].path && realpath(g->parts[i].path, real) && !strcmp(real, path))
			return 1;
	return 0;
}

/* The first region of that size that was not found yet. */
static int region_of(const struct report *r, const struct look *l, uint64_t size)
{
	for (int i = 0; i < PLAN_REGIONS; i++) {
		const struct forecast_region *x = &r->f->region[i];
		if (x->kind == PLAN_PRIVATE && x->bytes && !l->found[i] && pages(x->bytes) == size)
			return i;
	}
	return -1;
}

/* A mapping's first line; returns its region, -2 for the model's file, -1 for all others. */
static int mapping(const struct report *r, struct look *l, char *line)
{
	char *end;
	uint64_t from = strtoull(line, &end, 16),
		 to = *end == '-' ? strtoull(end + 1, &end, 16) : 0;
	char *path = strchr(line, '/');
	int i = -1;

	line[strcspn(line, "\n")] = 0;
	if (path)
		return is_model(r->g, path) ? -2 : -1;
	if (!strchr(end, '[') && strstr(end, " rw-p "))
		i = region_of(r, l, to - from);
	if (i >= 0)
		l->found[i] = 1;
	return i;
}

static int read_mappings(const struct report *r, struct look *l, pid_t pid, struct err *e)
{
	char name[64], line[4400];
	uint64_t rss, anonymous;
	int now = -1;

	snprintf(name, sizeof name, "/proc/%d/smaps", (int)pid);
	FILE *f = fopen(name, "re");
	if (!f)
		return err_sys(e, "process %d", (int)pid);
	while (fgets(line, sizeof line, f)) {
		if (field(line, "Rss", &rss)) {
			l->rss += rss;
			l->model += now == -2 ? rss : 0;
			if (now >= 0)
				l->region[now] = rss;
		} else if (field(line, "Anonymous", &anonymous)) {
			l->anonymous += anonymous;
		} else if (strchr("0123456789abcdef", line[0])) {
			now = mapping(r, l, line);
		}
	}
	fclose(f);
	return 0;
}

static int read_peak(struct look *l, pid_t pid, struct err *e)
{
	char name[64], line[200];

	snprintf(name, sizeof name, "/proc/%d/status", (int)pid);
	FILE *f = fopen(name, "re");
	if (!f)
		return err_sys(e, "process %d", (int)pid);
	while (fgets(line, sizeof line, f) && !field(line, "VmHWM", &l->peak))
		;
	fclose(f);
	return 0;
}

static int look_at(const struct report *r, struct look *l, pid_t pid, struct err *e)
{
	memset(l, 0, sizeof *l);
	return read_mappings(r, l, pid, e) || read_peak(l, pid, e) ? -1 : 0;
}

/* ---- a command ---- */

static void become(char *const *command)
{
	dup2(STDERR_FILENO, STDOUT_FILENO);
	/* The parent stops us at our end, when what we held can still be seen. */
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		raise(SIGSTOP);
	execvp(command[0], command);
	fprintf(stderr, "bitnet-memplan: %s: %s\n", command[0], strerror(errno));
	_exit(127);
}

/* Keeps the look at which most was resident, and the highest peak. */
static void keep(struct look *best, const struct look *l)
{
	uint64_t peak = l->peak > best->peak ? l->peak : best->peak;

	if (l->rss > best->rss)
		*best = *l;
	best->peak = peak;
}

/* A stop of the command: at its end a last look, else it goes on with its signal. */
static void handle_stop(const struct report *r, struct look *best, pid_t pid, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	struct look l = {0};

	if (event == PTRACE_EVENT_EXIT && !read_peak(&l, pid, NULL))
		keep(best, &l);
	(void)r;
	if (event || sig == SIGTRAP || sig == SIGSTOP)
		sig = 0;
	ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)sig);
}

static int follow(const struct report *r, pid_t pid, struct look *best, struct err *e)
{
	const struct timespec step = {0, STEP_NS};
	int status, first = 1;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);
		struct look l;
		if (got < 0 && errno != EINTR)
			return err_sys(e, "cannot wait for the command");
		if (got == pid && WIFSTOPPED(status)) {
			if (first)
				ptrace(PTRACE_SETOPTIONS, pid, NULL,
				       (void *)(intptr_t)(PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC));
			first = 0;
			handle_stop(r, best, pid, status);
			continue;
		}
		if (got == pid)
			break;
		/* It may just have gone. */
		if (!look_at(r, &l, pid, NULL))
			keep(best, &l);
		nanosleep(&step, NULL);
	}
	if (WIFSIGNALED(status))
		return err_set(e, ERR_TROUBLE, "the command ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status) ? err_set(e, ERR_TROUBLE, "the command ended with status %d",
	                                     WEXITSTATUS(status))
	                           : 0;
}

static int run(const struct report *r, char *const *command, struct look *best, struct err *e)
{
	memset(best, 0, sizeof *best);
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return err_sys(e, "cannot start %s", command[0]);
	if (!pid)
		become(command);
	return follow(r, pid, best, e);
}

/* ---- report ---- */

static double missed_by(uint64_t planned, uint64_t seen)
{
	return seen ? 100.0 * ((double)planned - (double)seen) / (double)seen : 0;
}

struct row {
	const char *name;
	uint64_t planned, seen;
	int found;
};

/* The peak first; then what was resident at the fullest moment that was seen. */
static size_t rows_of(const struct report *r, const struct look *l, struct row *row)
{
	const struct forecast *f = r->f;
	uint64_t private = 0;
	size_t n = 0;

	for (int i = 0; i < FORECAST_REGIONS; i++)
		if (f->region[i].kind != PLAN_MAPPED)
	private += f->region[i].full;
	row[n++] = (struct row){"peak", f->total.full, l->peak, 1};
	row[n++] = (struct row){"resident", f->total.full, l->rss, l->rss > 0};
	row[n++] = (struct row){"anonymous", private, l->anonymous, l->rss > 0};
	row[n++] = (struct row){
	    "model file", f->region[PLAN_WEIGHTS_MAPPED].full + f->region[FORECAST_HEADER].full,
	    l->model, l->rss > 0};
	for (int i = 0; i < PLAN_REGIONS; i++)
		if (f->region[i].kind == PLAN_PRIVATE && f->region[i].bytes)
			row[n++] = (struct row){f->region[i].name, f->region[i].full, l->region[i],
			                        l->found[i]};
	return n;
}

static void write_text(const struct row *row, size_t n, enum report_units u, FILE *out)
{
	char p[24], s[24];

	fprintf(out, "%-16s %12s %12s %9s\n", "", "planned", "seen", "");
	for (size_t i = 0; i < n; i++)
		if (row[i].found)
			fprintf(out, "%-16s %12s %12s %+8.2f%%\n", row[i].name,
			        report_size(u, row[i].planned, p), report_size(u, row[i].seen, s),
			        missed_by(row[i].planned, row[i].seen));
		else
			fprintf(out, "%-16s %12s %12s\n", row[i].name,
			        report_size(u, row[i].planned, p), "-");
}

static int write_json(const struct report *r, const struct row *row, size_t n, int within,
                      FILE *out)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
		    a,
		    json_pack("{s:s, s:I, s:o}", "name", row[i].name, "planned",
		              (json_int_t)row[i].planned, "seen",
		              row[i].found ? json_integer((json_int_t)row[i].seen) : json_null()));
	json_t *j = json_pack("{s:s, s:s, s:o, s:b}", "schema", "bitnet-memplan/1", "file", r->file,
	                      "verify", a, "within", within);
	int failed = !j || json_dumpf(j, out, JSON_COMPACT) || fputc('\n', out) == EOF;
	json_decref(j);
	return failed;
}

int verify_run(const struct report *r, const char *pid, char *const *command, double tolerance,
               int json, enum report_units units, FILE *out, struct err *e)
{
	struct row row[4 + PLAN_REGIONS];
	struct look l;
	char *end = NULL;
	long id = command ? 0 : strtol(pid, &end, 10);

	if (!command && (*end || id < 1))
		return err_set(e, ERR_TROUBLE, "--verify: '%s' is not a process id", pid);
	if (command ? run(r, command, &l, e) : look_at(r, &l, (pid_t)id, e))
		return -1;
	size_t n = rows_of(r, &l, row);
	int within = fabs(missed_by(row[0].planned, row[0].seen)) <= tolerance;
	if (out && json && write_json(r, row, n, within, out))
		return err_set(e, ERR_TROUBLE, "cannot write JSON");
	if (out && !json)
		write_text(row, n, units, out);
	return within ? 0 : ERR_NO;
}
