/*
 * What a model of any architecture keeps for each token: the layers and their caches, read from the
 * metadata alone.  Wider than arch.h, which knows the graphs that we compute: here it is enough to
 * know how many values are kept.  The rules and their formulas are in shape.c.
 */
#ifndef SHAPE_H
#define SHAPE_H

#include "gguf.h"

/* Positions come in multiples of this in a layer's cache (as PLAN_CTX_STEP). */
#define SHAPE_STEP 256

struct shape_layer {
	uint32_t kv_heads;     /* 0: nothing is cached per token */
	uint32_t dim_k, dim_v; /* values of one cached key and value row of one head */
	uint32_t window;       /* positions that are looked back at, 0: all */
	uint64_t state;        /* bytes of recurrent state per sequence, whatever the context */
};

#define SHAPE_ASSUMED 8

/* All-zero is empty. */
struct shape {
	char name[64]; /* general.architecture, printable */
	uint32_t n_layer;
	uint32_t n_embd;                  /* 0: not told */
	uint32_t n_ctx;                   /* context_length; 0: not told */
	uint32_t n_vocab;                 /* 0: not told */
	struct shape_layer *layer;        /* (n_layer), owned */
	int windows;                      /* some layers have one */
	int latent;                       /* keys and values are kept as one latent row (MLA) */
	int recurrent;                    /* some layers have a state */
	char assumed[SHAPE_ASSUMED][160]; /* keys that are missing, with what was taken instead */
	unsigned n_assumed;
};

/* Errors (status 2): general.architecture is missing; a key of the wrong type or an impossible
 * value, named; so many layers that no model has them.  Owner: the caller, shape_free. */
int shape_read(struct shape *s, const struct gguf *g, struct err *e);
void shape_free(struct shape *s);

/* Positions that layer i keeps in a context of ctx tokens, which are computed ubatch at once. */
uint32_t shape_positions(const struct shape *s, uint32_t i, uint32_t ctx, uint32_t ubatch);

/* Bytes of the keys (values == 0) or values (1) of layer i and one sequence: KV heads x positions x
 * row bytes of the type.  Errors: heads that are no multiple of the type's block, over 2^62. */
int shape_kv(const struct shape *s, uint32_t i, uint32_t positions, enum dtype t, int values,
             uint64_t *bytes, struct err *e);

#endif
