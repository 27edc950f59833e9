/*
 * Options from one table: parsing and --help both read it, so they agree.
 * Every program also gets -h/--help and -V/--version.
 */
#ifndef OPT_H
#define OPT_H

#include <stdint.h>
#include <stdio.h>

#include "err.h"

enum opt_kind {
	OPT_END = 0,
	OPT_HEAD,   /* a heading in --help; help is its text */
	OPT_FLAG,   /* int *: set to 1 */
	OPT_OFF,    /* int *: set to 0 */
	OPT_STRING, /* const char **: borrowed from argv */
	OPT_LIST,   /* struct opt_list *: may be given several times */
	OPT_INT,    /* int64_t *: decimal within [min, max] */
	OPT_COUNT,  /* uint64_t *: decimal without sign */
	OPT_REAL,   /* double *: finite, within [min, max] when max > min */
	OPT_SIZE,   /* uint64_t *: bytes, in the manner of coreutils (8G, 8GiB, 8GB) */
	OPT_CALL,   /* call(to, value, e): anything else */
};

#define OPT_LIST_MAX 64
struct opt_list {
	size_t n;
	const char *v[OPT_LIST_MAX]; /* borrowed from argv */
};

struct opt {
	enum opt_kind kind;
	int letter;       /* short option, or 0 */
	const char *name; /* long option */
	void *to;         /* where the value goes, by kind; given may be NULL for OPT_CALL */
	const char *arg;  /* the value's name in --help; NULL when there is none */
	const char *help; /* one sentence, lower case, no full stop; wrapped by the printer */
	double min, max;  /* OPT_INT, OPT_REAL */
	int (*call)(void *to, const char *value, struct err *e);
};

struct opt_program {
	const char *name;     /* "bitnet-run" */
	const char *synopsis; /* "[-m MODEL] [-p TEXT | -f FILE]"; several lines by \n */
	const char *about;    /* one sentence */
	const char *examples; /* lines, or NULL */
	const struct opt *options;
};

enum opt_next { OPT_RUN = 0, OPT_HELP = 1, OPT_VERSION = 2 };

/* Parses argv.  Returns OPT_RUN with *first = index of the first operand (argv is
 * permuted as by getopt_long), OPT_HELP or OPT_VERSION when these were asked for,
 * or -1 with a usage error (status 2) that names the option. */
int opt_parse(const struct opt_program *p, int argc, char **argv, int *first, struct err *e);

/* Writes the help text; 0, or -1 when writing failed. */
int opt_help(const struct opt_program *p, FILE *out);

/* Writes "NAME VERSION". */
int opt_version(const struct opt_program *p, FILE *out);

#endif
