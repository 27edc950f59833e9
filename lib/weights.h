/*
 * The tensors of a model by role: found by name, shapes checked against the hyperparameters, then
 * used where they lie in the mapped file or copied where that is impossible.
 */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "arch.h"
#include "arena.h"
#include "kernels.h"
#include "threads.h"

enum weights_load {
	WEIGHTS_MMAP,    /* used where the file is mapped */
	WEIGHTS_MLOCK,   /* the same, locked in memory */
	WEIGHTS_READ,    /* copied into private memory */
	WEIGHTS_HUGETLB, /* copied into huge pages (2 MiB) */
	WEIGHTS_DENSE    /* as WEIGHTS_MMAP, but the I2_S of layers is made denser in private
	                    memory (strips.h), and vectors are copied: the file's part of the
	                    layers is let go of */
};

/* One tensor in its role.  t is NULL for an optional one that the file lacks. */
struct weight {
	const struct gguf_tensor *t;
	const struct gguf_tensor *scale; /* NAME.scale, or NULL */
	uint64_t copy;                   /* bytes of the copy; 0: used in place */
	int dense;                       /* the copy is in strips */
	uint8_t *packed;                 /* while loading: where they are made */
	struct kernel_mat
	    mat;        /* matrices, after weights_load(); I2_S rows are filled up to whole units */
	const float *v; /* vectors, after weights_load() */
};

struct weights_layer {
	struct weight attn_norm;     /* (n_embd) */
	struct weight q;             /* (n_head * dim_k, n_embd) */
	struct weight k;             /* (n_head_kv * dim_k, n_embd) */
	struct weight v;             /* (n_head_kv * dim_v, n_embd) */
	struct weight attn_sub_norm; /* (n_head * dim_v), with sub_norms */
	struct weight o;             /* (n_embd, n_head * dim_v) */
	struct weight ffn_norm;      /* (n_embd) */
	struct weight gate, up;      /* (n_ff, n_embd) */
	struct weight ffn_sub_norm;  /* (n_ff), with sub_norms */
	struct weight down;          /* (n_embd, n_ff) */
};

struct weights {
	struct weights_layer *layer; /* n_layer of them, owned */
	uint32_t n_layer;
	struct weight embd;        /* (n_vocab, n_embd) */
	struct weight output_norm; /* (n_embd) */
	struct weight output;      /* (n_vocab, n_embd): the head; t is embd's when tied */
	struct weight rope_freqs;  /* (n_rot / 2) divisors of the angles, optional */
	uint64_t mapped;           /* bytes of tensors that are used in place */
	uint64_t copied;           /* bytes of the copies, each rounded as arena_take does */
};

/* Bytes that are copied before the pages that they came from are let go of. */
#define WEIGHTS_PIECE (UINT64_C(4) << 20)

struct weights_options {
	enum weights_load load;
	int i2s_group; /* elements / 4 of an I2_S packing unit: 32 (published), 16 (ARM builds);
	                  where the file says (TERNARY_KEY_I2S), that counts */
	int check;     /* look for I2_S codes 3 and bad scales while loading */
};

/* Bytes of a matrix of a layer in strips; 0 for one that stays as it is when weights are loaded
 * dense: of another type than I2_S, of rows that are no multiple of 16. */
uint64_t weights_dense_bytes(const struct gguf_tensor *t);

/* Finds and checks all tensors and decides which are copied; touches no tensor data.
 * Errors (status 2, the tensor is named): missing, unknown, of a wrong shape, of a type that is
 * not computed with in its role.  Owner: the caller, weights_close. */
int weights_find(struct weights *w, const struct arch *a, const struct gguf *g,
                 const struct weights_options *o, struct err *e);

/* Fills in the data pointers, copying into the arena (w->copied bytes) what must be; the threads of
 * pool look for codes 3 together.
 * Errors: tensor data missing (status 3), a scale that is not finite, a code 3 (status 2). */
int weights_load(struct weights *w, const struct gguf *g, const struct weights_options *o,
                 const struct kernels *kern, struct arena *copies, struct threads *pool,
                 struct err *e);

void weights_close(struct weights *w); /* a zeroed one is allowed */

#endif
