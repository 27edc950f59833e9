/*
 * The last layers of a model on a CUDA device: their weights in the kernels' layout, the caches of
 * all sequences, and a pass through them.  With all layers the embedding, the last norm and the
 * head are there too, and only ids go there and only tokens come back.
 *
 *	gpu_open(&g, "cuda:0", &e)      the device, its code
 *	gpu_fits(g, plan, &e)           before anything is taken
 *	gpu_start(g, &parts, taken, &e) memory as planned, weights
 *	gpu_eval(g, &rows, want, &e)    starts a pass; what follows waits for it
 *
 * A pass of one token a sequence is one captured graph; nothing waits but for its result.
 * Everything here is used by one thread.
 */
#ifndef GPU_H
#define GPU_H

#include "arch.h"
#include "plan.h"
#include "threads.h"
#include "weights.h"

struct gpu; /* private */

/* Errors (status 2): built without CUDA code, no driver, no such device, one that is too old.
 * Owner: the caller. */
int gpu_open(struct gpu **g, const char *device, struct err *e);

/* Waits for what runs and gives everything back; NULL is allowed.  -1: the driver refused a part,
 * or tells now of an earlier failure; g is gone all the same. */
int gpu_close(struct gpu *g, struct err *e);

/* Whether the plan's device part fits into what is free there now; names the region with which it
 * does not (status 2). */
int gpu_fits(const struct gpu *g, const struct plan *p, struct err *e);

/* What a pass works with; all of it outlives g. */
struct gpu_parts {
	const struct arch *arch;
	const struct weights *w;      /* loaded */
	const struct plan_options *o; /* settled */
	const struct plan *plan;
	struct threads *pool; /* packs the weights */
	const char *who;      /* in front of messages */
};

/* Takes the regions, tells in taken what was really taken, and brings the weights there. */
int gpu_start(struct gpu *g, const struct gpu_parts *parts, struct plan *taken, struct err *e);

/* n tokens of one sequence (slot the same, ascending positions), or of n different ones (single).
 */
struct gpu_rows {
	size_t n;
	int single;
	const int32_t *ids, *pos, *slot; /* (n) */
	/* Without the head: what the layers before computed, and the angles. */
	const float *x, *cosine, *sine; /* (n, x_stride), (n, n_rot / 2) */
};

/* Starts a pass.  want: so many of the greatest logits of each row will be asked for (single rows
 * only; 0: not, or unknown). */
int gpu_eval(struct gpu *g, const struct gpu_rows *r, size_t want, struct err *e);

/* Without the head: waits, and copies the residual stream (n, x_stride) back. */
int gpu_result(struct gpu *g, float *x, struct err *e);

/* With the head.  Logits of rows i .. i + n - 1 of the last pass, (n, n_vocab), valid until the
 * next call; n is at most the plan's logits_rows or sequences. */
int gpu_logits(struct gpu *g, size_t i, size_t n, const float **rows, struct err *e);

/* The want (1 .. PLAN_DEVICE_TOP) greatest of row i: ids and logits, greatest first, ties by the
 * lower id; valid until the next call. */
int gpu_top(struct gpu *g, size_t i, size_t want, const int32_t **ids, const float **logits,
            struct err *e);

#endif
