/*
 * A whole GGUF file with its tensors in other types: which tensor becomes what (decided before a
 * byte is written), the metadata that goes with it, then the bytes, in order.
 */
#ifndef REQUANTIZE_H
#define REQUANTIZE_H

#include "gguf_write.h"
#include "retype_gguf.h"

/* A type as users name it: a layout of ternary.h ("i2_s_arm") or a tensor type ("q6_k").
 * All-zero: as it is. */
struct requantize_type {
	enum dtype type;
	enum ternary_kind kind;
};

/* Errors: no such type, one that cannot be written. */
int requantize_type_parse(struct requantize_type *t, const char *name, struct err *e);

/* Tensors whose names match a shell pattern; the first rule that matches decides. */
#define REQUANTIZE_RULES 64
struct requantize_rule {
	char pattern[96];
	struct requantize_type to;
};

struct requantize_options {
	struct requantize_type matrices; /* the projections (retype_gguf_is_ternary_role) */
	struct requantize_type embed;    /* token_embd.weight */
	struct requantize_type output;   /* output.weight */
	struct requantize_rule rules[REQUANTIZE_RULES];
	unsigned n_rules;
	struct retype_hints hints;
	enum quantize_rule rule; /* for floats that are not ternary */
	int lossless;
	int brief; /* nobody reads errors and counts of the reports: see retype_target */
};

/* Adds "PATTERN=TYPE". */
int requantize_rule_add(struct requantize_options *o, const char *text, struct err *e);

struct requantize_tensor {
	const struct gguf_tensor *t;
	struct retype_source src;
	struct retype_target dst;
	int changes; /* the result is not a copy */
	int folded;  /* a .scale tensor went into the values; that tensor is dropped */
	struct quantize_report report; /* after requantize_write */
};

struct requantize {
	const struct gguf *g;              /* borrowed */
	struct requantize_tensor *tensors; /* those of the result, in the order of the file */
	uint64_t n;
	struct gguf_write w; /* laid out: header and offsets of the result */
	int assumed;         /* enum retype_assumed, of all sources */
};

/* Decides everything.  o is read here alone.  Errors (status 2) name the tensor: a shape that the
 * type asked for cannot hold, an unknown tiling, ...  Owner: the caller, requantize_close. */
int requantize_plan(struct requantize *q, const struct gguf *g, const struct requantize_options *o,
                    struct err *e);

/* Bytes of the result. */
uint64_t requantize_bytes(const struct requantize *q);

/* Bytes of memory that requantize_write and what is there already take, at most. */
uint64_t requantize_memory(const struct requantize *q);

/* Header and tensors through put; done (may be NULL) is called behind each tensor, with its report.
 * Errors name the tensor. */
typedef void requantize_done(void *arg, const struct requantize_tensor *t);
int requantize_write(struct requantize *q, struct threads *threads, gguf_write_put *put,
                     void *put_arg, requantize_done *done, void *done_arg, struct err *e);

void requantize_close(struct requantize *q); /* all-zero is allowed */

#endif
