#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"

#define STEP_NS 5000000 /* between two looks at a command */
#define PAGE    UINT64_C(4096)

/* What is looked for: the regions of f, and the files of g. */
struct subject {
	const struct gguf *g;
	const struct forecast *f;
};

/* One look at a process.  Regions are told by the size of their mapping, which is the plan's. */
struct look {
	uint64_t peak, rss, anonymous, model; /* bytes; model: pages of the model's files */
	uint64_t group;                       /* peak of its control group, 0: not told */
	int group_shared;                     /* others are in the group too */
	uint64_t region[FORECAST_REGIONS];    /* resident bytes of those that were found */
	uint64_t most[FORECAST_REGIONS];      /* the same at any look */
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
static int region_of(const struct subject *s, const struct look *l, uint64_t size)
{
	for (int i = 0; i < PLAN_REGIONS; i++) {
		const struct forecast_region *x = &s->f->region[i];
		if (x->kind == PLAN_PRIVATE && x->bytes && !l->found[i] && pages(x->bytes) == size)
			return i;
	}
	return -1;
}

/* A mapping's first line; returns its region, -2 for the model's file, -1 for all others. */
static int mapping(const struct subject *s, struct look *l, char *line)
{
	char *end;
	uint64_t from = strtoull(line, &end, 16),
		 to = *end == '-' ? strtoull(end + 1, &end, 16) : 0;
	char *path = strchr(line, '/');
	int i = -1;

	line[strcspn(line, "\n")] = 0;
	if (path)
		return is_model(s->g, path) ? -2 : -1;
	if (!strchr(end, '[') && strstr(end, " rw-p "))
		i = region_of(s, l, to - from);
	if (i >= 0)
		l->found[i] = 1;
	return i;
}

static int read_mappings(const struct subject *s, struct look *l, pid_t pid, struct err *e)
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
			now = mapping(s, l, line);
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

/* The peak of the control group that the process is in. */
static void read_group(struct look *l, pid_t pid)
{
	static const char *const file[] = {[1] = "memory.max_usage_in_bytes", [2] = "memory.peak"};
	struct cgroup c;

	for (int version = 2; version >= 1 && !l->group; version--)
		if (cgroup_find(&c, "", pid, version)) {
			l->group = cgroup_number(&c, file[version]);
			l->group_shared = cgroup_is_shared(&c);
		}
}

static int look_at(const struct subject *s, struct look *l, pid_t pid, struct err *e)
{
	memset(l, 0, sizeof *l);
	return read_mappings(s, l, pid, e) || read_peak(l, pid, e) ? -1 : 0;
}

/* ---- a command ---- */

/* Tells why it could not: the parent reads errno from the pipe, which closes when it could. */
static void become(char *const *command, int tell)
{
	dup2(STDERR_FILENO, STDOUT_FILENO);
	/* The parent stops us at our end, when what we held can still be seen. */
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		raise(SIGSTOP);
	execvp(command[0], command);
	int why = errno;
	ssize_t ignored = write(tell, &why, sizeof why);
	(void)ignored;
	_exit(127);
}

/* Keeps the look at which most was resident, and the highest of what else was seen. */
static void keep(struct look *best, const struct look *l)
{
	struct look to = l->rss > best->rss ? *l : *best;

	to.peak = l->peak > best->peak ? l->peak : best->peak;
	to.group = l->group > best->group ? l->group : best->group;
	to.group_shared = best->group_shared || l->group_shared;
	for (int i = 0; i < FORECAST_REGIONS; i++)
		to.most[i] = l->region[i] > best->most[i] ? l->region[i] : best->most[i];
	*best = to;
}

/* A stop of the command: at its end a last look, else it goes on with its signal. */
static void handle_stop(struct look *best, pid_t pid, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	struct look l = {0};

	if (event == PTRACE_EVENT_EXIT && !read_peak(&l, pid, NULL)) {
		read_group(&l, pid);
		keep(best, &l);
	}
	if (event || sig == SIGTRAP || sig == SIGSTOP)
		sig = 0;
	ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)sig);
}

static int follow(const struct subject *s, pid_t pid, struct look *best, struct err *e)
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
			handle_stop(best, pid, status);
			continue;
		}
		if (got == pid)
			break;
		/* It may just have gone. */
		if (!look_at(s, &l, pid, NULL))
			keep(best, &l);
		nanosleep(&step, NULL);
	}
	if (WIFSIGNALED(status))
		return err_set(e, ERR_TROUBLE, "the command ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status) ? err_set(e, ERR_TROUBLE, "the command ended with status %d",
	                                     WEXITSTATUS(status))
	                           : 0;
}

static int run(const struct subject *s, char *const *command, struct look *best, struct err *e)
{
	int tell[2], why = 0;

	memset(best, 0, sizeof *best);
	fflush(NULL);
	if (pipe2(tell, O_CLOEXEC))
		return err_sys(e, "cannot start %s", command[0]);
	pid_t pid = fork();
	if (!pid)
		become(command, tell[1]);
	close(tell[1]);
	int r = pid < 0 ? err_sys(e, "cannot start %s", command[0]) : follow(s, pid, best, e);
	if (r && pid > 0 && read(tell[0], &why, sizeof why) == sizeof why) {
		errno = why;
		err_sys(e, "cannot start %s", command[0]);
	}
	close(tell[0]);
	return r;
}

/* ---- the tokens that a process has ---- */

/* The least number up to most with which a region's resident part is what was seen; most when it
 * never is.  put() puts the number into the options. */
static int least_with(const struct solve *s, struct forecast_options *o, int region, uint64_t seen,
                      uint32_t most, void (*put)(struct forecast_options *o, uint32_t n),
                      uint32_t *out, struct err *e)
{
	uint32_t low = 0, high = most;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		struct forecast f;
		put(o, mid);
		if (solve_forecast(s, o, &f, NULL, e))
			return -1;
		if (f.region[region].full >= seen)
			high = mid;
		else
			low = mid + 1;
		forecast_free(&f);
	}
	put(o, low);
	*out = low;
	return 0;
}

static void put_fill(struct forecast_options *o, uint32_t n)
{
	o->has_fill = 1;
	o->fill_percent = 0;
	o->fill = n;
}

static void put_prompt(struct forecast_options *o, uint32_t n)
{
	o->prompt = n ? n : 1;
}

/* Tokens stored and the longest prompt, by what of the cache and of the buffers is resident. */
static int estimate(const struct solve *s, const struct look *l, const struct forecast *f,
                    struct forecast_options *o, struct err *e)
{
	uint32_t fill = 0, prompt = 0;

	if (!l->found[PLAN_KV_K] || !l->found[PLAN_ACTIVATION])
		return 0;
	if (least_with(s, o, PLAN_KV_K, l->most[PLAN_KV_K], f->options.ctx, put_fill, &fill, e))
		return -1;
	/* A chunk is resident at once on huge pages: it may be full. */
	if (f->huge_cache && fill) {
		fill += (f->ctx - fill) % PLAN_CTX_STEP;
		put_fill(o, fill < f->options.ctx ? fill : f->options.ctx);
	}
	if (s->o.prompt)
		return 0;
	return least_with(s, o, PLAN_ACTIVATION, l->most[PLAN_ACTIVATION], fill, put_prompt,
	                  &prompt, e);
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
static size_t rows_of(const struct forecast *f, const struct look *l, struct row *row)
{
	int idle = f->fill == 0;
	uint64_t anonymous = 0, model = 0, now = idle ? f->total.start : f->total.full;
	size_t n = 0;

	for (int i = 0; i < FORECAST_REGIONS; i++) {
		const struct forecast_region *x = &f->region[i];
		if (x->kind != PLAN_MAPPED)
			anonymous += idle ? x->start : x->full;
		else if (i != FORECAST_CODE)
			model += idle ? x->start : x->full;
	}
	row[n++] = (struct row){"peak", idle ? f->total.load : f->total.peak, l->peak, 1};
	row[n++] = (struct row){"resident", now, l->rss, l->rss > 0};
	row[n++] = (struct row){"anonymous", anonymous, l->anonymous, l->rss > 0};
	row[n++] = (struct row){"model file", model, l->model, l->rss > 0};
	row[n++] = (struct row){l->group_shared ? "cgroup (shared)" : "cgroup peak",
	                        f->total.charged, l->group, l->group > 0};
	for (int i = 0; i < PLAN_REGIONS; i++) {
		const struct forecast_region *x = &f->region[i];
		if (x->kind == PLAN_PRIVATE && x->bytes)
			row[n++] = (struct row){x->name, idle ? x->start : x->full, l->region[i],
			                        l->found[i]};
	}
	return n;
}

static void write_text(const struct forecast *f, const struct row *row, size_t n, enum fmt_units u,
                       FILE *out)
{
	char p[24], s[24];

	fprintf(out, "%u tokens stored, longest prompt %u\n", f->fill, f->fill ? f->prompt : 0);
	fprintf(out, "%-16s %12s %12s %12s\n", "", "planned", "seen", "difference");
	for (size_t i = 0; i < n; i++)
		if (row[i].found)
			fprintf(out, "%-16s %12s %12s %+11.2f%%\n", row[i].name,
			        fmt_size_as(p, u, row[i].planned), fmt_size_as(s, u, row[i].seen),
			        missed_by(row[i].planned, row[i].seen));
		else
			fprintf(out, "%-16s %12s %12s\n", row[i].name,
			        fmt_size_as(p, u, row[i].planned), "-");
}

static int write_json(const struct forecast *f, const char *file, const struct row *row, size_t n,
                      int within, FILE *out)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
		    a,
		    json_pack("{s:s, s:I, s:o}", "name", row[i].name, "planned",
		              (json_int_t)row[i].planned, "seen",
		              row[i].found ? json_integer((json_int_t)row[i].seen) : json_null()));
	json_t *j = json_pack("{s:s, s:o, s:i, s:i, s:o, s:b}", "schema", "bitnet-memplan/1",
	                      "file", forecast_json_name(file), "fill", (int)f->fill, "prompt",
	                      f->fill ? (int)f->prompt : 0, "verify", a, "within", within);
	int failed = !j || json_dumpf(j, out, JSON_COMPACT) || fputc('\n', out) == EOF;
	json_decref(j);
	return failed;
}

static int write_rows(const struct forecast *f, const char *file, const struct look *l,
                      const struct verify_options *o, FILE *out, struct err *e)
{
	struct row row[5 + PLAN_REGIONS];
	size_t n = rows_of(f, l, row);
	int within = fabs(missed_by(row[0].planned, row[0].seen)) <= o->tolerance;

	if (out && o->json && write_json(f, file, row, n, within, out))
		return err_set(e, ERR_TROUBLE, "cannot write JSON");
	if (out && !o->json)
		write_text(f, row, n, o->units, out);
	return within ? 0 : ERR_NO;
}

/* Looks at the process, or runs the command and looks at it. */
static int observe(const struct subject *s, const struct verify_options *o, struct look *l,
                   struct err *e)
{
	char *end = NULL;

	if (o->command)
		return run(s, o->command, l, e);
	long id = strtol(o->pid, &end, 10);
	if (*end || id < 1 || id > INT32_MAX)
		return err_set(e, ERR_TROUBLE, "--verify: '%s' is not a process id", o->pid);
	struct look now;
	if (look_at(s, &now, (pid_t)id, e))
		return -1;
	read_group(&now, (pid_t)id);
	memset(l, 0, sizeof *l);
	keep(l, &now);
	return 0;
}

int verify_run(const struct solve *s, const char *file, const struct verify_options *o, FILE *out,
               struct err *e)
{
	struct forecast_options settled = s->o;
	struct forecast f;
	struct look l;
	int r;

	if (solve_forecast(s, &s->o, &f, NULL, e))
		return -1;
	struct subject subject = {s->g, &f};
	r = observe(&subject, o, &l, e);
	if (!r && !s->o.has_fill) {
		r = estimate(s, &l, &f, &settled, e);
		forecast_free(&f);
		if (r || solve_forecast(s, &settled, &f, NULL, e))
			return -1;
	}
	if (!r)
		r = write_rows(&f, file, &l, o, out, e);
	forecast_free(&f);
	return r;
}
