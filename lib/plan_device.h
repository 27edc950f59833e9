/*
 * The part of a plan that lies on a device: the last layers, and with all of them the embedding,
 * the last norm and the head.  As plan.h: a pure function, from which the device's memory is taken
 * (gpu.h) and from which bitnet-memplan's device column comes.
 */
#ifndef PLAN_DEVICE_H
#define PLAN_DEVICE_H

#include "../kernels/cuda/cuda.h"
#include "plan.h"

/* Every buffer there begins at a multiple of this (that of device_take). */
#define PLAN_DEVICE_ALIGN 256
static inline uint64_t plan_device_round(uint64_t n)
{
	return (n + PLAN_DEVICE_ALIGN - 1) / PLAN_DEVICE_ALIGN * PLAN_DEVICE_ALIGN;
}

/* How many of the greatest logits a device finds by itself, at most. */
#define PLAN_DEVICE_TOP 128

/* Bytes of page-locked memory through which weights go to the device, in two halves. */
#define PLAN_DEVICE_LOAD (UINT64_C(8) << 20)

/* Bytes to which rows of float matrices are widened at once for products by a library, at most, and
 * work space of the library: for models with float layers. */
#define PLAN_DEVICE_WIDE (UINT64_C(64) << 20)
#define PLAN_DEVICE_WORK (UINT64_C(32) << 20)

/* Blocks that share the positions of one sequence: as many as the kernel may have. */
#define PLAN_DEVICE_SPLITS 64

/* The first layer that is on the device: n_layer when none is. */
uint32_t plan_device_first(const struct arch *a, const struct plan_options *o);

/* Whether the head is there too; then so is all else. */
int plan_device_head(const struct arch *a, const struct plan_options *o);

/* A matrix there: ternary types packed (packing.bytes > 0), others as in the file.  Its bytes.
 * rows and columns of a head or layer; for the embedding table, which is only looked up, packed is
 * 0. */
uint64_t plan_device_matrix(struct cuda_packing *packing, const struct gguf_tensor *t, int packed);

/* Whether matrices a and b are multiplied by one launch. */
int plan_device_fused(const struct gguf_tensor *a, const struct gguf_tensor *b);

/* Buffers on the device, bytes each, in the order in which they are taken. */
struct plan_device_buffers {
	uint64_t ids, pos, slot; /* (rows) int32 */
	uint64_t x;              /* (rows, x_stride) float32, and so on as in plan.c */
	uint64_t h, qkv, gate, up;
	uint64_t cosine, sine, freq, divisor;
	uint64_t q8, q8_scale, q8_sum;
	uint64_t partial, ticket;              /* of attention of one token a sequence */
	uint64_t hidden;                       /* (head_rows, x_stride) */
	uint64_t best, best_ticket, id, value; /* the greatest logits */
	uint64_t screen_x, screen_bound, screen_low, screen_limit;
	uint64_t wide, work;                                          /* of products by a library */
	uint64_t x_stride, h_stride, qkv_stride, ff_stride, q8_bytes; /* of a row */
	uint32_t rows, head_rows;
};

/* Page-locked buffers on the host, in the order in which they are taken. */
struct plan_device_staging {
	uint64_t ids, pos, slot;  /* (rows) int32 */
	uint64_t id, value;       /* (batch, PLAN_DEVICE_TOP) */
	uint64_t logits;          /* (head_rows, n_vocab): with the head */
	uint64_t x, cosine, sine; /* (rows, ...): without */
};

void plan_device_buffers(struct plan_device_buffers *b, struct plan_device_staging *s,
                         const struct arch *a, const struct weights *w,
                         const struct plan_options *o);

/* Adds the device's part to a plan whose host part was made without: fills in region[].device and
 * the staging region, and takes off the host what is there instead.  Errors (status 2): a type that
 * is not computed there. */
int plan_device_add(struct plan *p, const struct arch *a, const struct weights *w,
                    const struct plan_options *o, struct err *e);

#endif
