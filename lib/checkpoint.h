/*
 * A Hugging Face checkpoint: config.json, the tensors in safetensors files, and what each of them
 * is called and means in GGUF.  Source: architectures.md 3, 4; ternary-formats.md 6.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "retype.h"
#include "safetensors.h"

/* How packed weights and their weight_scale make values. */
enum checkpoint_scale {
	CHECKPOINT_AUTO = 0, /* as config.json says */
	CHECKPOINT_MULTIPLY,
	CHECKPOINT_DIVIDE,
};

enum checkpoint_role {
	CHECKPOINT_NORM = 0, /* kept in F32 */
	CHECKPOINT_LINEAR,   /* one of the seven ternary matrices */
	CHECKPOINT_EMBED,
	CHECKPOINT_HEAD,
	CHECKPOINT_FLOAT, /* a linear one that modules_to_not_convert keeps as floats */
	CHECKPOINT_ROLES
};

/* A tensor that a model of this kind must have. */
struct checkpoint_tensor {
	char name[64];                           /* in GGUF */
	const struct safetensors_tensor *tensor; /* in the checkpoint */
	const struct safetensors_tensor *scale;  /* weight_scale of a packed one, else NULL */
	enum checkpoint_role role;
	uint64_t rows, cols; /* of values; norms: 1 row */
	uint64_t heads;      /* rows are to be interleaved in this many heads; 0: not */
};

/* All-zero is closed. */
struct checkpoint {
	struct safetensors st;
	json_t *config;
	char *dir;        /* where config.json lies, owned */
	const char *arch; /* general.architecture: "bitnet", "bitnet-b1.58", "llama" */
	const char *act;  /* "relu2", "silu" */
	uint64_t n_vocab, n_ctx, n_embd, n_layer, n_ff, n_head, n_head_kv, head_dim;
	double eps, rope_base;
	int tied;                          /* the head is the embedding */
	enum checkpoint_scale scale;       /* of packed weights; AUTO: there may be none */
	struct checkpoint_tensor *tensors; /* in the order of GGUF files, owned */
	uint64_t n_tensors;
	uint64_t n_skipped; /* unknown tensors that were left out */
};

/* Opens a directory, or a .safetensors file with config.json beside it, and finds every tensor.
 * scale: AUTO, or what overrides config.json.  Errors: status 2 for contradictions, unknown tensors
 * (named; skip_unknown leaves them out), kinds of models that are not known; 3 for missing files,
 * tensors and scales. */
int checkpoint_open(struct checkpoint *c, const char *path, enum checkpoint_scale scale,
                    int skip_unknown, struct err *e);
void checkpoint_close(struct checkpoint *c);

/* The value of a weight_scale as the factor of the codes, by c->scale. */
int checkpoint_factor(const struct checkpoint *c, const struct checkpoint_tensor *t, float *factor,
                      struct err *e);

/* The divisors of rotary angles that config.json's rope_scaling of type "llama3" asks for: head_dim
 * / 2 of them; *freqs is NULL when there is no such scaling.  The caller ends it with mem_free. */
int checkpoint_rope_freqs(const struct checkpoint *c, float **freqs, struct err *e);

/* The name in a checkpoint of a tensor in GGUF; 1 when there is none.  sub: sub-norms have the
 * names of the 1bitLLM checkpoints when it is "bitnet". */
int checkpoint_name(const char *gguf_name, const char *arch, char *out, size_t cap);

#endif
