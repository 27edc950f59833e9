/*
 * One forward pass of n tokens through all layers, run by every thread of the pool together.
 * The stages and their splits are in forward.c; the graphs are those of architectures.md 2 and 3.
 */
#ifndef FORWARD_H
#define FORWARD_H

#include <signal.h>

#include "arch.h"
#include "blas.h"
#include "head.h"
#include "kernels.h"
#include "plan.h"
#include "threads.h"
#include "weights.h"

/* Where one sequence's keys and values of layer 0, KV head 0 lie, and how to get to the others. */
struct forward_cache {
	uint8_t *k, *v;
	size_t k_row, v_row;     /* bytes from one position to the next */
	size_t k_head, v_head;   /* from one KV head to the next: KERNELS_CHUNK positions */
	size_t k_layer, v_layer; /* from one layer to the next */
	size_t k_chunk, v_chunk; /* from KERNELS_CHUNK positions to the next: all layers */
};

/* A token of a sequence of its own. */
struct forward_row {
	uint8_t *k, *v; /* as forward_cache */
	size_t pos;
};

struct forward {
	const struct arch *arch;
	const struct weights *w;
	const struct kernels *kern;
	struct threads *pool;
	const struct blas *blas; /* for prompts of float models; may be NULL */
	enum dtype k_type, v_type;
	struct forward_cache cache;
	uint32_t layers;               /* how many are computed, from the first one */
	const int32_t *ids;            /* (n), all within the vocabulary */
	size_t n;                      /* tokens, 1..ubatch */
	size_t pos;                    /* position of the first one */
	const struct forward_row *row; /* (n): each token has a sequence of its own, and its values
	                                  are those that it would have alone; NULL: they have one */
	const volatile sig_atomic_t *stop;
	int stopped; /* set when the pass was given up */

	/* Buffers, shapes as in plan.c; strides in elements. */
	float *x, *h, *qkv, *gate, *up, *out, *hidden, *cos, *sin;
	size_t x_stride, h_stride, qkv_stride, ff_stride;
	int8_t *q8;
	float *q8_scale;
	int32_t *q8_sum, *q8_sum256;
	size_t sum_stride;
	float *states;       /* (state_chunks, n_head, kernel_state) of chunks of the cache */
	size_t state_chunks; /* 0: heads are not computed in parts */
	uint8_t *scratch;    /* KERNELS_SCRATCH bytes per thread */
	uint32_t
	    *dealt; /* (n_layer, FORWARD_STAGES): blocks of each stage that threads have taken */
};

/* Stages of a layer whose work is dealt out in blocks. */
enum forward_stage {
	FORWARD_QKV,
	FORWARD_ATTEND,
	FORWARD_OUT,
	FORWARD_GATE_UP,
	FORWARD_DOWN,
	FORWARD_STAGES
};

/* Fills hidden (n, n_embd): the final states after output_norm; keys and values of the n tokens are
 * in the cache.  Where not all layers are computed it ends behind the last of them, with x and the
 * angles; forward_end goes on when x has come through the others. */
void forward_run(struct forward *f);
void forward_end(struct forward *f);

/* logits (rows, n_vocab) of hidden rows first .. first + rows - 1. */
void forward_head(struct forward *f, size_t first, size_t rows, float *logits);

/* Fills a screen from the head's matrix, and uses it: logits (rows, n_vocab) of hidden rows first
 * .. first + rows - 1, of each of which the want greatest are exact, others may be -INFINITY; rows
 * at most the screen's inputs, want <= screen->blocks. */
void forward_fill_screen(struct forward *f, struct head *screen);
void forward_screened(struct forward *f, struct head *screen, size_t first, size_t rows,
                      size_t want, float *logits);

#endif
