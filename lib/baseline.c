#include "baseline.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"

#define LIMIT   (16u << 20) /* bytes of a baseline file */
#define KEY     256
#define METRICS 32
#define WORSE   0.05
#define MADS    3.0

struct metric {
	char name[48];
	double median, mad;
};

/* Words of the key may not contain what separates them. */
static void key_part(char *out, size_t cap, const char *s)
{
	size_t n = 0;

	for (; s && *s && n + 1 < cap; s++)
		out[n++] = isgraph((unsigned char)*s) && *s != '/' ? *s : '_';
	out[n] = 0;
}

static void key_of(const struct report *r, char out[KEY])
{
	char host[64], model[64], command[100];

	key_part(host, sizeof host, r->host ? r->host : "any");
	key_part(model, sizeof model, r->model ? r->model : "none");
	key_part(command, sizeof command, r->command);
	snprintf(out, KEY, "%s/%s/%s", host, model, command);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Median and MAD of the samples after the warm-up. */
static int of_series(const struct report *r, const struct report_series *s, struct metric *m,
                     struct err *e)
{
	size_t from = r->samples / 5, n = r->samples - from;
	double *v = mem_calloc(MEM_OTHER, n, sizeof *v, e);

	if (!v)
		return -1;
	memcpy(v, s->v + from, n * sizeof *v);
	m->median = median(v, n);
	for (size_t i = 0; i < n; i++)
		v[i] = fabs(s->v[from + i] - m->median);
	m->mad = 1.4826 * median(v, n);
	mem_free(v);
	key_part(m->name, sizeof m->name, s->name);
	return 0;
}

/* The metrics that are compared; how many. */
static int measure(const struct report *r, struct metric m[METRICS], struct err *e)
{
	int n = 0;

	for (size_t i = 0; i < r->n_series && r->samples && n + 2 < METRICS; i++)
		/* What else goes on in the group or the page cache is not the command's. */
		if (strcmp(r->series[i].verdict, "information") != 0 &&
		    of_series(r, &r->series[i], &m[n++], e))
			return -1;
	if (isfinite(r->peak))
		m[n++] = (struct metric){"peak", r->peak, 0};
	return n;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The file's lines; *text holds them, both the caller's. */
static int read_lines(const char *path, char **text, char ***line, size_t *n, struct err *e)
{
	size_t bytes, cap = 1;

	*n = 0;
	*text = NULL;
	*line = NULL;
	if (access(path, F_OK) == 0) {
		if (io_slurp(path, LIMIT, text, &bytes, e))
			return err_in(e, "%s", path);
		for (const char *p = *text; (p = strchr(p, '\n')); p++)
			cap++;
	}
	*line = mem_calloc(MEM_OTHER, cap + METRICS, sizeof **line, e);
	if (!*line)
		return -1;
	char *rest = *text;
	for (char *l; rest && (l = strsep(&rest, "\n"));)
		if (*l)
			(*line)[(*n)++] = l;
	return 0;
}

static int write_lines(const char *path, char **line, size_t n, struct err *e)
{
	struct io_out o;

	qsort(line, n, sizeof *line, by_text);
	if (io_create(&o, path, 1, e))
		return err_in(e, "%s", path);
	for (size_t i = 0; i < n; i++)
		if (io_write(o.fd, line[i], strlen(line[i]), e) || io_write(o.fd, "\n", 1, e)) {
			io_abort(&o);
			return err_in(e, "%s", path);
		}
	return io_commit(&o, e) ? err_in(e, "%s", path) : 0;
}

int baseline_write(const char *path, const struct report *r, struct err *e)
{
	char key[KEY], fresh[METRICS][1024], *text = NULL, **line = NULL;
	struct metric m[METRICS];
	size_t n, kept = 0;
	int count = measure(r, m, e), failed = -1;

	key_of(r, key);
	if (count < 0 || read_lines(path, &text, &line, &n, e))
		goto out;
	for (size_t i = 0; i < n; i++)
		if (strncmp(line[i], key, strlen(key)) != 0 || line[i][strlen(key)] != ' ')
			line[kept++] = line[i];
	for (int i = 0; i < count; i++) {
		snprintf(fresh[i], sizeof fresh[i], "%.200s %.40s %.0f %.0f", key, m[i].name,
		         m[i].median, m[i].mad);
		line[kept++] = fresh[i];
	}
	failed = write_lines(path, line, kept, e);
out:
	mem_free(line);
	free(text);
	return failed;
}

static int regression(struct report *r, const struct metric *now, double before, double mad,
                      struct err *e)
{
	char why[400];
	struct report_finding *f = report_finding_add(r, e);

	if (!f)
		return -1;
	f->verdict = REPORT_REGRESSION;
	f->live = now->median;
	snprintf(why, sizeof why, "%.40s is %.0f, was %.0f with a MAD of %.0f: %.1f %% more",
	         now->name, now->median, before, mad, 100 * (now->median / before - 1));
	if (r->verdict == REPORT_CLEAN)
		r->verdict = REPORT_REGRESSION;
	return report_string(&f->kind, now->name, e) || report_string(&f->why, why, e) ||
	       report_string(&f->unit, "", e);
}

static int compare_line(struct report *r, const char *line, size_t key, const struct metric *m,
                        int count, int number, struct err *e)
{
	char name[48];
	double before, mad;

	if (sscanf(line + key, " %47s %lf %lf", name, &before, &mad) != 3)
		return err_set(e, ERR_TROUBLE, "line %d: expected KEY METRIC MEDIAN MAD", number);
	for (int i = 0; i < count; i++) {
		double more = m[i].median - before;
		if (!strcmp(m[i].name, name) && more > WORSE * before &&
		    more > MADS * fmax(mad, m[i].mad) && regression(r, &m[i], before, mad, e))
			return -1;
	}
	return 0;
}

int baseline_compare(const char *path, struct report *r, struct err *e)
{
	char key[KEY], *text = NULL, **line = NULL;
	struct metric m[METRICS];
	size_t n, ours = 0;
	int count = measure(r, m, e), failed = -1;

	key_of(r, key);
	if (count < 0)
		return -1;
	if (access(path, F_OK)) {
		err_sys(e, "%s", path);
		goto out;
	}
	if (read_lines(path, &text, &line, &n, e))
		goto out;
	failed = 0;
	for (size_t i = 0; i < n && !failed; i++)
		if (!strncmp(line[i], key, strlen(key)) && line[i][strlen(key)] == ' ') {
			ours++;
			failed = compare_line(r, line[i], strlen(key), m, count, (int)i + 1, e);
			if (failed)
				err_in(e, "%s", path);
		}
	if (!failed && !ours)
		failed = report_note(r, e, "the baseline has nothing for %s: not compared", key);
out:
	mem_free(line);
	free(text);
	return failed;
}
