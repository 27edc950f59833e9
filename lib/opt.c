#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fmt.h"

#define MAX_OPTIONS 96
#define LONG_ONLY   1000 /* getopt value of option i without a letter: LONG_ONLY + i */
#define HELP_COLUMN 30
#define HELP_WIDTH  80

static int has_value(const struct opt *o)
{
	return o->kind != OPT_FLAG && o->kind != OPT_OFF && o->arg;
}

static int store_int(const struct opt *o, const char *v, struct err *e)
{
	char *end;
	errno = 0;
	long long x = strtoll(v, &end, 10);

	if (errno || end == v || *end || isspace((unsigned char)*v))
		return err_set(e, ERR_TROUBLE, "--%s: '%s' is not a whole number", o->name, v);
	if (o->max > o->min && ((double)x < o->min || (double)x > o->max))
		return err_set(e, ERR_TROUBLE, "--%s: %lld is not within %.0f and %.0f", o->name, x,
		               o->min, o->max);
	*(int64_t *)o->to = x;
	return 0;
}

static int store_count(const struct opt *o, const char *v, struct err *e)
{
	char *end;
	errno = 0;
	unsigned long long x = strtoull(v, &end, 10);

	if (errno || end == v || *end || !isdigit((unsigned char)*v))
		return err_set(e, ERR_TROUBLE, "--%s: '%s' is not a count", o->name, v);
	*(uint64_t *)o->to = x;
	return 0;
}

static int store_real(const struct opt *o, const char *v, struct err *e)
{
	char *end;
	double x = strtod(v, &end);

	if (end == v || *end || !isfinite(x))
		return err_set(e, ERR_TROUBLE, "--%s: '%s' is not a number", o->name, v);
	if (o->max > o->min && (x < o->min || x > o->max))
		return err_set(e, ERR_TROUBLE, "--%s: %s is not within %g and %g", o->name, v,
		               o->min, o->max);
	*(double *)o->to = x;
	return 0;
}

static int store(const struct opt *o, const char *v, struct err *e)
{
	struct opt_list *l;

	switch (o->kind) {
	case OPT_FLAG:
		*(int *)o->to = 1;
		return 0;
	case OPT_OFF:
		*(int *)o->to = 0;
		return 0;
	case OPT_STRING:
		*(const char **)o->to = v;
		return 0;
	case OPT_LIST:
		l = o->to;
		if (l->n == OPT_LIST_MAX)
			return err_set(e, ERR_TROUBLE, "--%s: given more than %d times", o->name,
			               OPT_LIST_MAX);
		l->v[l->n++] = v;
		return 0;
	case OPT_INT:
		return store_int(o, v, e);
	case OPT_COUNT:
		return store_count(o, v, e);
	case OPT_REAL:
		return store_real(o, v, e);
	case OPT_SIZE:
		if (fmt_parse_size(v, o->to, e))
			return err_in(e, "--%s", o->name);
		return 0;
	case OPT_CALL:
		if (o->call(o->to, v, e))
			return err_in(e, "--%s", o->name);
		return 0;
	case OPT_END:
	case OPT_HEAD:
		break;
	}
	return err_set(e, ERR_TROUBLE, "--%s: no such kind of option", o->name);
}

/* Turns the table into what getopt_long wants. */
static void to_getopt(const struct opt *t, char *letters, struct option *longs)
{
	*letters++ = ':';
	for (int i = 0; t[i].kind != OPT_END; i++) {
		if (t[i].kind == OPT_HEAD)
			continue;
		if (t[i].letter) {
			*letters++ = (char)t[i].letter;
			if (has_value(&t[i]))
				*letters++ = ':';
		}
		longs->name = t[i].name;
		longs->has_arg = has_value(&t[i]) ? required_argument : no_argument;
		longs->flag = NULL;
		longs->val = LONG_ONLY + i;
		longs++;
	}
	memcpy(letters, "hV", 3);
	longs[0] = (struct option){"help", no_argument, NULL, 'h'};
	longs[1] = (struct option){"version", no_argument, NULL, 'V'};
	memset(&longs[2], 0, sizeof longs[2]);
}

/* The option that getopt_long's answer stands for; the end of the table when there is none. */
static const struct opt *by_value(const struct opt *t, int c)
{
	if (c >= LONG_ONLY)
		return &t[c - LONG_ONLY];
	while (t->kind != OPT_END && (t->kind == OPT_HEAD || t->letter != c))
		t++;
	return t;
}

static int bad_option(const struct opt *t, int c, char **argv, struct err *e)
{
	const char *word = argv[optind - 1];

	if (optopt >= LONG_ONLY)
		return err_set(e, ERR_TROUBLE, "--%s %s (see --help)", t[optopt - LONG_ONLY].name,
		               c == ':' ? "needs a value" : "takes no value");
	if (optopt)
		return err_set(e, ERR_TROUBLE, "%s -%c (see --help)",
		               c == ':' ? "a value is needed for" : "no such option:", optopt);
	return err_set(e, ERR_TROUBLE, "no such option: %s (see --help)", word);
}

int opt_parse(const struct opt_program *p, int argc, char **argv, int *first, struct err *e)
{
	char letters[2 * MAX_OPTIONS + 4];
	struct option longs[MAX_OPTIONS + 3];
	int c;

	to_getopt(p->options, letters, longs);
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (c == 'h')
			return OPT_HELP;
		if (c == 'V')
			return OPT_VERSION;
		if (c == '?' || c == ':')
			return bad_option(p->options, c, argv, e);
		if (store(by_value(p->options, c), optarg, e))
			return -1;
	}
	*first = optind;
	return OPT_RUN;
}

/* Prints text from column HELP_COLUMN on, broken at spaces before HELP_WIDTH. */
static void wrap(FILE *out, const char *text, int column)
{
	while (*text) {
		size_t n = strcspn(text, " ");

		if (column > HELP_COLUMN && column + (int)n + 1 > HELP_WIDTH) {
			fprintf(out, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		}
		column += fprintf(out, "%s%.*s", column > HELP_COLUMN ? " " : "", (int)n, text);
		text += n;
		while (*text == ' ')
			text++;
	}
	fputc('\n', out);
}

static void help_option(FILE *out, int letter, const char *name, const char *arg, const char *help)
{
	int n =
	    letter ? fprintf(out, "  -%c, --%s", letter, name) : fprintf(out, "      --%s", name);

	if (arg)
		n += fprintf(out, "=%s", arg);
	if (n + 2 > HELP_COLUMN) {
		fputc('\n', out);
		n = 0;
	}
	fprintf(out, "%*s", HELP_COLUMN - n, "");
	wrap(out, help, HELP_COLUMN);
}

int opt_help(const struct opt_program *p, FILE *out)
{
	const char *line = p->synopsis;
	const char *lead = "usage:";

	while (line) {
		const char *end = strchr(line, '\n');
		int n = end ? (int)(end - line) : (int)strlen(line);
		fprintf(out, "%s %s %.*s\n", lead, p->name, n, line);
		lead = "      ";
		line = end ? end + 1 : NULL;
	}
	fprintf(out, "\n%s\n", p->about);
	if (p->options[0].kind != OPT_HEAD)
		fprintf(out, "\nOptions:\n");
	for (const struct opt *o = p->options; o->kind != OPT_END; o++) {
		if (o->kind == OPT_HEAD)
			fprintf(out, "\n%s:\n", o->help);
		else
			help_option(out, o->letter, o->name, o->arg, o->help);
	}
	fprintf(out, "\nAlso:\n");
	help_option(out, 'h', "help", NULL, "print this text");
	help_option(out, 'V', "version", NULL, "print the version");
	if (p->examples)
		fprintf(out, "\nExamples:\n%s", p->examples);
	return ferror(out) ? -1 : 0;
}

int opt_version(const struct opt_program *p, FILE *out)
{
	return fprintf(out, "%s %s\n", p->name, BITNET_VERSION) < 0 ? -1 : 0;
}
