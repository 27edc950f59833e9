#include "report_json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "mem.h"

#define FORM 1 /* version of the form */

/* Members by name and place, so that writing and reading agree. */
struct member {
	const char *name;
	size_t at;
	enum { NUMBER, TEXT, INTEGER, OFFSET } kind;
};
#define M(type, kind, field)                                                                       \
	{                                                                                          \
#field, offsetof(struct type, field), kind                                         \
	}

static const struct member report_members[] = {M(report, TEXT, command),
                                               M(report, TEXT, host),
                                               M(report, TEXT, model),
                                               M(report, TEXT, version),
                                               M(report, TEXT, source),
                                               M(report, TEXT, started),
                                               M(report, NUMBER, seconds),
                                               M(report, NUMBER, steps),
                                               M(report, NUMBER, errors),
                                               M(report, NUMBER, status),
                                               M(report, NUMBER, signal),
                                               M(report, NUMBER, could_see),
                                               M(report, NUMBER, ledger_could_see),
                                               M(report, NUMBER, oom_seconds),
                                               M(report, NUMBER, limit),
                                               M(report, NUMBER, trim_before),
                                               M(report, NUMBER, trim_after),
                                               M(report, NUMBER, rollup_first),
                                               M(report, NUMBER, rollup_last),
                                               M(report, NUMBER, pss_first),
                                               M(report, NUMBER, pss_last),
                                               M(report, NUMBER, dirty_first),
                                               M(report, NUMBER, dirty_last),
                                               M(report, NUMBER, peak),
                                               M(report, NUMBER, stop_ms),
                                               M(report, TEXT, level),
                                               M(report, NUMBER, events),
                                               M(report, NUMBER, dropped),
                                               M(report, NUMBER, dropped_bytes),
                                               M(report, NUMBER, dropped_sites),
                                               M(report, NUMBER, foreign),
                                               {NULL, 0, NUMBER}};

static const struct member finding_members[] = {
    M(report_finding, TEXT, kind),          M(report_finding, TEXT, unit),
    M(report_finding, TEXT, site),          M(report_finding, TEXT, process),
    M(report_finding, TEXT, why),           M(report_finding, INTEGER, pid),
    M(report_finding, INTEGER, suppressed), M(report_finding, NUMBER, per_step),
    M(report_finding, NUMBER, lo),          M(report_finding, NUMBER, hi),
    M(report_finding, NUMBER, live),        M(report_finding, NUMBER, blocks_per_step),
    M(report_finding, NUMBER, births),      M(report_finding, NUMBER, live_blocks),
    M(report_finding, NUMBER, lost),        M(report_finding, NUMBER, lost_bytes),
    M(report_finding, NUMBER, held),        {NULL, 0, NUMBER}};

static const struct member frame_members[] = {
    M(report_frame, TEXT, function), M(report_frame, TEXT, file),
    M(report_frame, INTEGER, line),  M(report_frame, TEXT, module),
    M(report_frame, OFFSET, offset), {NULL, 0, NUMBER}};

static const struct member series_members[] = {
    M(report_series, TEXT, name),    M(report_series, TEXT, unit),
    M(report_series, TEXT, verdict), M(report_series, NUMBER, slope),
    M(report_series, NUMBER, lo),    M(report_series, NUMBER, hi),
    M(report_series, NUMBER, first), M(report_series, NUMBER, last),
    M(report_series, NUMBER, max),   {NULL, 0, NUMBER}};

static const struct member action_members[] = {M(report_action, NUMBER, seconds),
                                               M(report_action, NUMBER, step),
                                               M(report_action, TEXT, what),
                                               {NULL, 0, NUMBER}};

/* ---- writing ---- */

static json_t *number(double v)
{
	if (!isfinite(v))
		return json_null();
	return v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

/* Names come from files and processes: what is not UTF-8 becomes '?'. */
static json_t *text(const char *s)
{
	if (!s)
		return json_null();
	json_t *j = json_string(s);
	if (j)
		return j;
	char *copy = mem_strndup(MEM_OTHER, s, strlen(s), NULL);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	j = copy ? json_string(copy) : NULL;
	mem_free(copy);
	return j;
}

static json_t *object(const void *from, const struct member *m)
{
	json_t *o = json_object();

	for (; m->name; m++) {
		const char *at = (const char *)from + m->at;
		json_t *v = m->kind == TEXT     ? text(*(char *const *)(const void *)at)
		            : m->kind == NUMBER ? number(*(const double *)(const void *)at)
		            : m->kind == INTEGER
		                ? json_integer(*(const int *)(const void *)at)
		                : json_integer((json_int_t) * (const uint64_t *)(const void *)at);
		json_object_set_new(o, m->name, v);
	}
	return o;
}

static json_t *numbers(const double *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, number(v[i]));
	return a;
}

static json_t *finding(const struct report_finding *f)
{
	json_t *o = object(f, finding_members), *frames = json_array();

	json_object_set_new(o, "verdict", json_string(report_verdict_name(f->verdict)));
	json_object_set_new(o, "class", json_string(report_class_name(f->class)));
	for (size_t i = 0; i < f->frames; i++)
		json_array_append_new(frames, object(&f->frame[i], frame_members));
	json_object_set_new(o, "frames", frames);
	return o;
}

int report_json_write(const struct report *r, FILE *out, struct err *e)
{
	json_t *o = object(r, report_members), *a;

	json_object_set_new(o, "form", json_integer(FORM));
	json_object_set_new(o, "verdict", json_string(report_verdict_name(r->verdict)));
	json_object_set_new(o, "step", numbers(r->step, r->samples));
	json_object_set_new(o, "series", a = json_array());
	for (size_t i = 0; i < r->n_series; i++) {
		json_t *s = object(&r->series[i], series_members);
		json_object_set_new(s, "values", numbers(r->series[i].v, r->samples));
		json_array_append_new(a, s);
	}
	json_object_set_new(o, "findings", a = json_array());
	for (size_t i = 0; i < r->n_findings; i++)
		json_array_append_new(a, finding(&r->finding[i]));
	json_object_set_new(o, "actions", a = json_array());
	for (size_t i = 0; i < r->n_actions; i++)
		json_array_append_new(a, object(&r->action[i], action_members));
	json_object_set_new(o, "notes", a = json_array());
	for (size_t i = 0; i < r->n_notes; i++)
		json_array_append_new(a, text(r->note[i]));
	int failed = !a || json_dumpf(o, out, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) ||
	             fputc('\n', out) == EOF;
	json_decref(o);
	return failed ? err_sys(e, "cannot write JSON") : 0;
}

/* ---- reading ---- */

static int wrong(const char *name, const char *what, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "not a report: '%s' is not %s", name, what);
}

static int read_number(const json_t *v, const char *name, double *to, struct err *e)
{
	*to = NAN;
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_number(v))
		return wrong(name, "a number or null", e);
	*to = json_number_value(v);
	return 0;
}

static int read_text(const json_t *v, const char *name, char **to, struct err *e)
{
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
		return wrong(name, "a string or null", e);
	return report_string(to, json_string_value(v), e);
}

static int read_object(const json_t *o, void *to, const struct member *m, struct err *e)
{
	if (!json_is_object(o))
		return wrong("an element", "an object", e);
	for (; m->name; m++) {
		const json_t *v = json_object_get(o, m->name);
		void *at = (char *)to + m->at;
		double x;
		if (m->kind == TEXT) {
			if (read_text(v, m->name, at, e))
				return -1;
			continue;
		}
		if (read_number(v, m->name, &x, e))
			return -1;
		if (m->kind == NUMBER)
			*(double *)at = x;
		else if (!(x >= 0 && x < (m->kind == INTEGER ? 2147483648.0 : 9e15)))
			return wrong(m->name, "a whole number in its range", e);
		else if (m->kind == INTEGER)
			*(int *)at = (int)x;
		else
			*(uint64_t *)at = (uint64_t)x;
	}
	return 0;
}

/* n numbers exactly when n is not 0, which it becomes otherwise. */
static int read_numbers(const json_t *a, const char *name, double **to, size_t *n, struct err *e)
{
	if (!json_is_array(a) || (*n && json_array_size(a) != *n))
		return wrong(name, "an array of one number per sample", e);
	*n = json_array_size(a);
	*to = mem_calloc(MEM_OTHER, *n ? *n : 1, sizeof **to, e);
	if (!*to)
		return -1;
	for (size_t i = 0; i < *n; i++)
		if (read_number(json_array_get(a, i), name, &(*to)[i], e))
			return -1;
	return 0;
}

static int read_verdict(const json_t *v, enum report_verdict *to, struct err *e)
{
	for (unsigned i = 0; i < REPORT_VERDICTS; i++)
		if (json_is_string(v) && !strcmp(json_string_value(v), report_verdict_name(i))) {
			*to = (enum report_verdict)i;
			return 0;
		}
	return wrong("verdict", "one of the verdicts", e);
}

static int read_finding(const json_t *o, struct report *r, struct err *e)
{
	struct report_finding *f = report_finding_add(r, e);
	const json_t *frames = json_object_get(o, "frames"), *class = json_object_get(o, "class");

	if (!f || read_object(o, f, finding_members, e) ||
	    read_verdict(json_object_get(o, "verdict"), &f->verdict, e))
		return -1;
	if (!f->kind || !f->unit || !f->why)
		return wrong("kind, unit or why of a finding", "a string", e);
	for (unsigned i = 0; i < REPORT_CLASSES; i++)
		if (json_is_string(class) &&
		    !strcmp(json_string_value(class), report_class_name(i)))
			f->class = (enum report_class)i;
	for (size_t i = 0; i < json_array_size(frames); i++) {
		struct report_frame *frame = report_frame_add(f, e);
		if (!frame || read_object(json_array_get(frames, i), frame, frame_members, e))
			return -1;
	}
	return 0;
}

static int read_lists(const json_t *o, struct report *r, struct err *e)
{
	const json_t *a = json_object_get(o, "series");

	if (read_numbers(json_object_get(o, "step"), "step", &r->step, &r->samples, e))
		return -1;
	for (size_t i = 0; i < json_array_size(a); i++) {
		struct report_series *s = report_series_add(r, e);
		const json_t *from = json_array_get(a, i), *v = json_object_get(from, "values");
		size_t n = r->samples;
		if (s && !json_is_string(json_object_get(from, "verdict")))
			return wrong("verdict of a series", "a string", e);
		if (!s || read_object(from, s, series_members, e) || !s->name || !s->unit ||
		    json_array_size(v) != r->samples || read_numbers(v, "values", &s->v, &n, e))
			return e && e->text[0] ? -1 : wrong("values", "one number per sample", e);
	}
	a = json_object_get(o, "findings");
	for (size_t i = 0; i < json_array_size(a); i++)
		if (read_finding(json_array_get(a, i), r, e))
			return -1;
	a = json_object_get(o, "actions");
	for (size_t i = 0; i < json_array_size(a); i++)
		if (report_act(r, NAN, NAN, "", e) ||
		    read_object(json_array_get(a, i), &r->action[r->n_actions - 1], action_members,
		                e))
			return -1;
	a = json_object_get(o, "notes");
	for (size_t i = 0; i < json_array_size(a); i++) {
		const char *s = json_string_value(json_array_get(a, i));
		if (!s ? wrong("notes", "an array of strings", e) : report_note(r, e, "%s", s))
			return -1;
	}
	return 0;
}

int report_json_read(struct report *r, const char *in, size_t n, struct err *e)
{
	json_error_t bad;
	json_t *o = json_loadb(in, n, 0, &bad);
	int failed;

	if (!o)
		return err_set(e, ERR_TROUBLE, "line %d: %s", bad.line, bad.text);
	const json_t *form = json_object_get(o, "form");
	if (!json_is_integer(form) || json_integer_value(form) != FORM)
		failed = wrong("form", "1", e);
	else
		failed = read_object(o, r, report_members, e) ||
		                 read_verdict(json_object_get(o, "verdict"), &r->verdict, e) ||
		                 read_lists(o, r, e)
		             ? -1
		             : 0;
	json_decref(o);
	return failed;
}
