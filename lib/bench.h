/*
 * Speed, beside what the machine gives at best: its ceilings (bytes read, int8 multiply-adds) are
 * measured in the same run by loops of the kernel set in use, and every figure of a model comes
 * with its share of the ceiling that binds it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "gguf.h"

#define BENCH_LIST 16

struct bench_list {
	uint32_t v[BENCH_LIST];
	size_t n;
};

/* "1,2,4"; errors: not a list of numbers from least on, more than BENCH_LIST. */
int bench_list_parse(struct bench_list *l, const char *text, uint32_t least, struct err *e);

/* How decoding reads the output head. */
enum bench_head { BENCH_FULL = 1, BENCH_SCREENED = 2 };

/* How the weights are loaded: as bitnet-run does with --load=mmap, or dense. */
enum bench_loading { BENCH_MMAP = 1, BENCH_DENSE = 2 };

struct bench_options {
	const char *kernel; /* NULL: the best */
	struct bench_list threads;
	struct bench_list prompts;  /* tokens of prefills */
	struct bench_list ubatches; /* tokens computed at once in a prefill */
	struct bench_list depths;   /* tokens in the cache where decoding begins */
	struct bench_list
	    batches;        /* sequences that are decoded at once, each BENCH_BATCH at most */
	uint32_t decode;    /* tokens of one decoding; 0: none */
	int heads;          /* of enum bench_head, both: decode either way */
	int loads;          /* of enum bench_loading, both: measure either way */
	const char *device; /* "cuda:0": measured in place of the threads; or NULL */
	enum dtype k_type, v_type;
	unsigned repeat; /* runs of each figure, of which the median counts */
	int pin;         /* threads to cores */
};

#define BENCH_REPEAT 101 /* runs at most */
#define BENCH_BATCH  256

enum bench_what { BENCH_READ, BENCH_COPY, BENCH_INT8, BENCH_GEMV, BENCH_PREFILL, BENCH_DECODE };

struct bench_row {
	enum bench_what what;
	uint32_t threads;               /* 0: a device */
	uint32_t tokens, ubatch, depth; /* ubatch: at once, of one sequence or of as many */
	enum dtype weights, head;       /* NONE: those of a ceiling */
	int screened, dense;
	double median, low, high; /* GB/s, G multiply-adds/s or tokens/s */
	double bound;             /* what the ceiling would allow, same unit; 0: not known */
};

/* Median and spread of n runs, which are sorted. */
void bench_settle(struct bench_row *r, double *v, unsigned n);

/* "read", "copy", "int8", "gemv", "prefill", "decode"; their units. */
const char *bench_what_name(enum bench_what w);
const char *bench_unit(enum bench_what w);

/* Measures everything with a model; row is called as each figure is known.  Errors: those of the
 * session, of row; no memory. */
int bench_run(const struct bench_options *o, const struct gguf *model,
              int (*row)(void *arg, const struct bench_row *r, struct err *e), void *arg,
              struct err *e);

/* Two commands in turns. */
struct bench_pair {
	double ours, theirs; /* seconds */
	double ratio;        /* theirs / ours */
};

/* Runs ours and theirs by the shell in turns, repeat times (1..BENCH_REPEAT), without input and
 * without their output; pair is called after each turn, sum (only median, low and high) gets the
 * ratios.  Errors: a command that fails, those of pair. */
int bench_versus(const char *ours, const char *theirs, unsigned repeat, struct bench_row *sum,
                 int (*pair)(void *arg, const struct bench_pair *p, struct err *e), void *arg,
                 struct err *e);

/* What was measured, a line per figure, as it comes; -1 when it cannot be written. */
enum bench_style { BENCH_TABLE, BENCH_MARKDOWN, BENCH_CSV, BENCH_JSON };

struct bench_print {
	FILE *out;
	enum bench_style style;
	unsigned lines; /* that were printed; begins with 0 */
};

int bench_print_row(struct bench_print *p, const struct bench_row *r, struct err *e);
int bench_print_pair(struct bench_print *p, const struct bench_pair *pair, struct err *e);
int bench_print_sum(struct bench_print *p, const struct bench_row *sum, struct err *e);

#endif
