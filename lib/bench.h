/*
 * Speed, beside what the machine gives at best: its ceilings (bytes read, int8 multiply-adds) are
 * measured in the same run by loops of the kernel set in use, and every figure of a model comes
 * with its share of the ceiling that binds it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "dtype.h"

#define BENCH_LIST 16

struct bench_list {
	uint32_t v[BENCH_LIST];
	size_t n;
};

/* "1,2,4"; errors: not a list of numbers from least on, more than BENCH_LIST. */
int bench_list_parse(struct bench_list *l, const char *text, uint32_t least, struct err *e);

struct bench_options {
	const char *model;  /* GGUF file */
	const char *kernel; /* NULL: the best */
	struct bench_list threads;
	struct bench_list prompts;  /* tokens of prefills */
	struct bench_list ubatches; /* tokens computed at once in a prefill */
	struct bench_list depths;   /* tokens in the cache where decoding begins */
	uint32_t decode;            /* tokens of one decoding; 0: none */
	enum dtype k_type, v_type;
	unsigned repeat; /* runs of each figure, of which the median counts */
	int pin;         /* threads to cores */
	int screen;      /* decode with the screened head, greedily */
};

enum bench_what { BENCH_READ, BENCH_INT8, BENCH_PREFILL, BENCH_DECODE };

struct bench_row {
	enum bench_what what;
	uint32_t threads;
	uint32_t tokens, ubatch, depth;
	double median, low, high; /* GB/s, G multiply-adds/s or tokens/s */
	double bound;             /* what the ceiling would allow, same unit; 0: not known */
};

/* "read", "int8", "prefill", "decode"; their units. */
const char *bench_what_name(enum bench_what w);
const char *bench_unit(enum bench_what w);

/* Measures everything; row is called as each figure is known.  Errors: those of the session, of
 * row; no memory. */
int bench_run(const struct bench_options *o,
              int (*row)(void *arg, const struct bench_row *r, struct err *e), void *arg,
              struct err *e);

enum bench_style { BENCH_TABLE, BENCH_MARKDOWN, BENCH_CSV };

void bench_print_head(FILE *out, enum bench_style s);
void bench_print_row(FILE *out, enum bench_style s, const struct bench_row *r);
json_t *bench_json(const struct bench_row *r); /* NULL: no memory */

/* Runs ours and theirs by the shell in turns, repeat times, and prints each pair's seconds and
 * ratio, and the median ratio.  Errors: a command that fails. */
int bench_versus(const char *ours, const char *theirs, unsigned repeat, FILE *out, struct err *e);

#endif
