/*
 * What a model is: the hyperparameters of the architectures that we compute, read from the
 * metadata and checked.  Spec: architectures.md sections 1 to 4, gguf.md section 3.
 */
#ifndef ARCH_H
#define ARCH_H

#include "gguf.h"

enum arch_act { ARCH_SILU, ARCH_RELU2 };

struct arch {
	const char *name;   /* "bitnet", "bitnet-25", "bitnet-b1.58", "llama"; static */
	uint32_t n_layer;   /* block_count */
	uint32_t n_embd;    /* values of the residual stream */
	uint32_t n_ff;      /* feed_forward_length */
	uint32_t n_head;    /* query heads */
	uint32_t n_head_kv; /* key/value heads; divides n_head */
	uint32_t dim_k;     /* key_length: values per head of Q and K */
	uint32_t dim_v;     /* value_length */
	uint32_t n_rot;     /* rotated values per head, even, at most dim_k */
	uint32_t n_vocab;   /* rows of token_embd.weight */
	uint32_t n_ctx;     /* context_length: tokens the model was trained for */
	float eps;          /* of every RMS norm */
	double rope_base;
	double rope_factor; /* linear scaling: positions are divided by it; 1 is none */
	enum arch_act act;  /* of the feed-forward gate */
	int neox;           /* rotary pairs (j, j + n_rot/2), else (2j, 2j + 1) */
	int sub_norms;      /* attn_sub_norm and ffn_sub_norm exist */
	int output_tensor;  /* output.weight is used when present (bitnet: always token_embd) */
};

/* Fills a.  act: "silu" or "relu2" overrides the choice, NULL: from the file.
 * Errors (status 2): an architecture that we do not compute, with those that we do; a missing or
 * impossible hyperparameter, named; a rope scaling that we do not do. */
int arch_read(struct arch *a, const struct gguf *g, const char *act, struct err *e);

#endif
