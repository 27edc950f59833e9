/* What the files of bench share. */
#ifndef BENCH_PRIVATE_H
#define BENCH_PRIVATE_H

#include "bench.h"
#include "kernels.h"

/* Bytes and multiply-adds of the matrices, once each: of the layers, and of the head. */
struct bench_load {
	double bytes, head_bytes, products;
	double dense_bytes;       /* in place of bytes, where weights are loaded dense */
	double screen_bytes;      /* of the head's screen, that are read each time */
	enum dtype weights, head; /* the type of most bytes; of the head */
};

struct bench {
	const struct bench_options *o;
	int (*row)(void *arg, const struct bench_row *r, struct err *e);
	void *arg;
	const struct kernels *kern;
	const struct gguf *model;
	struct bench_load load;
	int dense;         /* how the weights of the session at hand are loaded */
	double read, int8; /* ceilings at hand: bytes and multiply-adds a second */
	double run[BENCH_REPEAT];
};

/* Median and spread of b->run to the caller's row. */
int bench_figure(struct bench *b, struct bench_row *r, struct err *e);

/* The ceilings of b->o->device, and a product of one vector there. */
int bench_device(struct bench *b, struct err *e);

#endif
