/*
 * The memory of a run as a list of regions, computed before anything is allocated: a pure function
 * of the hyperparameters, the tensor table and the options.  bitnet-run takes exactly these regions
 * and carves every buffer out of them; bitnet-memplan prints them.
 */
#ifndef PLAN_H
#define PLAN_H

#include <jansson.h>
#include <stdio.h>

#include "kernels.h"
#include "weights.h"

struct plan_options {
	uint32_t ctx;         /* tokens that the KV cache holds per sequence */
	uint32_t sequences;   /* that run side by side, each with a cache; at least 1 */
	uint32_t ubatch;      /* tokens computed at once, at most */
	uint32_t logits_rows; /* positions whose logits are kept at once; at least 1 */
	int threads;
	enum dtype k_type, v_type; /* of the cache */
	enum weights_load load;
	int screen;             /* keep a small copy of the head (head.h), where that helps */
	uint32_t device_layers; /* the last so many are on a device; PLAN_DEVICE_ALL, or more than
	                           there are: and all else that is computed */
};

enum plan_kind {
	PLAN_MAPPED,   /* pages of the model file, shared and reclaimable */
	PLAN_PRIVATE,  /* anonymous memory */
	PLAN_RESERVED, /* address space of which little is touched (thread stacks) */
};

struct plan_region {
	const char *name; /* "weights.mapped", "kv.k", ... ; static */
	const char *what; /* one phrase for people */
	enum mem_tag tag;
	enum plan_kind kind;
	uint64_t bytes;
	uint64_t device; /* bytes on the device; the others are the host's */
};

/* Regions in a fixed order; those that are not needed have 0 bytes. */
enum plan_index {
	PLAN_WEIGHTS_MAPPED, /* tensors used where the file is mapped */
	PLAN_WEIGHTS_COPIED, /* tensors converted, or copied because the user wants that */
	PLAN_VOCAB,          /* tokenizer tables */
	PLAN_KV_K,           /* keys: layers x sequences x KV heads x positions x row of dim_k */
	PLAN_KV_V,           /* values, the same with dim_v */
	PLAN_ACTIVATION,     /* buffers of one ubatch */
	PLAN_LOGITS,         /* logits_rows x n_vocab float32 */
	PLAN_SAMPLER,        /* candidates and probabilities, n_vocab each */
	PLAN_SCRATCH,        /* KERNELS_SCRATCH per thread */
	PLAN_STACKS,         /* stacks of the workers */
	PLAN_STAGING,        /* page-locked memory, through which things go to a device and back */
	PLAN_REGIONS
};

struct plan {
	struct plan_region region[PLAN_REGIONS];
	uint32_t ctx; /* positions per sequence, rounded up to PLAN_CTX_STEP */
	uint32_t host_layers;
	int huge_cache; /* large enough for huge pages, where the system gives them */
};

/* Cache positions come in multiples of this.  A sequence's cache is (chunk of that many positions,
 * layer, KV head, position): positions that are stored lie in front, side by side. */
#define PLAN_CTX_STEP KERNELS_CHUNK

/* What options that were left open become, and what they are cut to: ctx 0 is the model's, at most
 * PLAN_CTX; ubatch 0 is PLAN_UBATCH, at most ctx; types NONE are F16; the other zeros are 1;
 * logits_rows is at least sequences, at most ubatch. */
#define PLAN_CTX        4096
#define PLAN_CTX_ALL    UINT32_MAX /* for ctx: the model's, however large */
#define PLAN_UBATCH     512
#define PLAN_DEVICE_ALL UINT32_MAX
void plan_settle(struct plan_options *o, const struct arch *a);

/* Rows of activation buffers begin at multiples of this many values (the unit of I2_S). */
#define PLAN_STRIDE 128

/* Stages of a layer whose work is dealt out in blocks, each with a counter (forward.h). */
#define PLAN_STAGES 5

/* Bytes of the host's screen of the head, which lie behind the copied tensors; 0 without. */
uint64_t plan_screen(const struct weights *w, const struct plan_options *o);

/* Errors (status 2): a cache type that the heads do not fit, sums over 2^63, dense weights on a
 * device. */
int plan_make(struct plan *p, const struct arch *a, const struct weights *w, uint64_t vocab_bytes,
              const struct plan_options *o, struct err *e);

/* From here on a chunk of cached keys or values, bytes, is put on huge pages. */
#define PLAN_HUGE_CHUNK (UINT64_C(2) << 20)

/* Bytes of one cached row of n values. */
uint64_t plan_kv_row(enum dtype t, uint32_t n);

/* The activation buffers, in the order in which they are taken; see plan.c for each one's use. */
struct plan_buffers {
	uint64_t x, h, qkv, gate, up, out, hidden; /* float32, per ubatch */
	uint64_t q8, q8_scale, q8_sum, q8_sum256;
	uint64_t dealt;                                     /* counters of the stages */
	uint64_t states;                                    /* of chunks; 0: there is one */
	uint64_t rope;                                      /* cosines and sines */
	uint64_t x_stride, h_stride, qkv_stride, ff_stride; /* elements between rows */
	uint64_t sum_stride;                                /* of q8_sum256 */
};
void plan_buffers(struct plan_buffers *b, const struct arch *a, uint32_t ubatch, uint32_t ctx);

/* Total bytes of the regions of one kind. */
uint64_t plan_total(const struct plan *p, enum plan_kind kind);

/* Total bytes on the device. */
uint64_t plan_device_total(const struct plan *p);

/* "mapped", "private", "reserved". */
const char *plan_kind_name(enum plan_kind kind);

/* "mmap", "mlock", "read", "hugetlb", "dense": as users write it. */
const char *plan_load_name(enum weights_load load);

/* The regions as a table for people, or as JSON: {"regions": [{"name", "kind", "tag", "bytes",
 * "device"}], "totals": {"mapped", "private", "reserved", "device"}}; NULL when out of memory. */
int plan_print(const struct plan *p, FILE *out);
json_t *plan_json(const struct plan *p);

#endif
