#include "suppress.h"

#include <stdlib.h>
#include <string.h>

#include "io.h"

#define LIMIT (1u << 20) /* bytes of a file of suppressions */

/* Whether p matches at the beginning of s; a '$' at its end wants the end of s there. */
static int match_here(const char *p, const char *s)
{
	for (; *p; p++, s++) {
		if (*p == '*') {
			for (;; s++) {
				if (match_here(p + 1, s))
					return 1;
				if (!*s)
					return 0;
			}
		}
		if (*p == '$' && !p[1])
			return !*s;
		if (*p != *s)
			return 0;
	}
	return 1;
}

int suppress_match(const char *pattern, const char *s)
{
	if (*pattern == '^')
		return match_here(pattern + 1, s);
	do {
		if (match_here(pattern, s))
			return 1;
	} while (*s++);
	return 0;
}

static int covers(const char *pattern, const struct report_finding *f)
{
	for (size_t i = 0; i < f->frames; i++) {
		const struct report_frame *a = &f->frame[i];
		if ((a->function && suppress_match(pattern, a->function)) ||
		    (a->file && suppress_match(pattern, a->file)) ||
		    (a->module && suppress_match(pattern, a->module)))
			return 1;
	}
	return 0;
}

static void apply(const char *pattern, int growth_only, struct report *r)
{
	for (size_t i = 0; i < r->n_findings; i++) {
		struct report_finding *f = &r->finding[i];
		if ((f->verdict == REPORT_GROWTH || (f->verdict == REPORT_LEAK && !growth_only)) &&
		    covers(pattern, f))
			f->suppressed = 1;
	}
}

static void settle(struct report *r)
{
	int leak = 0, growth = 0;

	if (r->verdict != REPORT_LEAK && r->verdict != REPORT_GROWTH)
		return;
	for (size_t i = 0; i < r->n_findings; i++) {
		leak |= r->finding[i].verdict == REPORT_LEAK && !r->finding[i].suppressed;
		growth |= r->finding[i].verdict == REPORT_GROWTH && !r->finding[i].suppressed;
	}
	r->verdict = leak ? REPORT_LEAK : growth ? REPORT_GROWTH : REPORT_CLEAN;
}

static int line(char *l, int number, struct report *r, struct err *e)
{
	l[strcspn(l, "#\r")] = 0;
	l += strspn(l, " \t");
	for (size_t n = strlen(l); n && (l[n - 1] == ' ' || l[n - 1] == '\t');)
		l[--n] = 0;
	if (!*l)
		return 0;
	if (!strncmp(l, "leak:", 5) && l[5])
		apply(l + 5, 0, r);
	else if (!strncmp(l, "growth:", 7) && l[7])
		apply(l + 7, 1, r);
	else
		return err_set(e, ERR_TROUBLE, "line %d: expected leak:PATTERN or growth:PATTERN",
		               number);
	return 0;
}

int suppress_apply(const char *path, struct report *r, struct err *e)
{
	char *text, *rest;
	size_t n;
	int number = 0, failed = 0;

	if (io_slurp(path, LIMIT, &text, &n, e))
		return err_in(e, "%s", path);
	rest = text;
	for (char *l; !failed && (l = strsep(&rest, "\n"));)
		failed = line(l, ++number, r, e);
	free(text);
	settle(r);
	return failed ? err_in(e, "%s", path) : 0;
}
