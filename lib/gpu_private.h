/* What the files of gpu share. */
#ifndef GPU_PRIVATE_H
#define GPU_PRIVATE_H

#include "cuda_blas.h"
#include "cuda_driver.h"
#include "device.h"
#include "gpu.h"
#include "plan_device.h"

/* A matrix on the device. */
struct gpu_matrix {
	const struct gguf_tensor *t;
	struct cuda_packing packing; /* bytes 0: as in the file */
	cuda_address data;
	int mixed; /* d differs within rows */
	enum dtype type;
	uint32_t rows, cols;
	size_t row_bytes; /* in the file */
	float scale;
};

struct gpu_layer {
	struct gpu_matrix q, k, v, o, gate, up, down;
	cuda_address attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm; /* 0: none */
};

/* The buffers of plan_device.h. */
struct gpu_buffers {
	cuda_address ids, pos, slot, x, h, qkv, gate, up, cosine, sine, freq, divisor;
	cuda_address q8, q8_scale, q8_sum, partial, ticket, hidden;
	cuda_address best, best_ticket, id, value;
	cuda_address screen_x, screen_bound, screen_low, screen_limit, wide, work;
};

struct gpu_staging {
	int32_t *ids, *pos, *slot, *id;
	float *value, *logits, *x, *cosine, *sine;
};

/* A pass of single tokens that was captured. */
#define GPU_GRAPHS 8
struct gpu_graph {
	void *graph, *executable; /* NULL: none */
	size_t n, want;
};

/* One block of device memory, carved from the front. */
struct gpu_region {
	cuda_address base;
	uint64_t bytes, used;
};

struct gpu {
	struct device *device, *pinned;
	void *module, *stream, *event[2];
	void *function[CUDA_KERNELS];
	struct cuda_blas *blas; /* NULL: not installed, or no float layers */
	int early;              /* kernels may start before those in front of them end */

	struct gpu_parts parts;
	uint32_t first; /* layer of the device */
	int head;
	struct gpu_region region[PLAN_REGIONS];
	uint8_t *staging; /* page-locked */
	uint64_t staging_bytes;
	struct plan_device_buffers sizes;
	struct plan_device_staging staged;
	struct gpu_buffers b;
	struct gpu_staging s;
	struct gpu_layer *layer; /* (n_layer - first) */
	struct gpu_matrix embd, output;
	cuda_address output_norm, k, v, logits;
	cuda_address screen, screen_scale, screen_lost, screen_norm;           /* 0: none */
	size_t k_row, v_row, k_head, v_head, k_slot, v_slot, k_layer, v_layer; /* bytes */

	struct gpu_graph graph[GPU_GRAPHS];
	size_t graphs; /* that were ever made: the next one takes place graphs % GPU_GRAPHS */

	/* Of the last pass. */
	size_t n, topped; /* rows; how many of the greatest were found for each */
	int headed;       /* whole rows of logits are there */
	int busy;         /* it may still run */
};

/* Device memory of a region; 0 when it is full, which means that the plan is wrong. */
cuda_address gpu_carve(struct gpu *g, enum plan_index region, uint64_t bytes);

/* gpu_load.c: everything that comes from the model. */
int gpu_load(struct gpu *g, struct err *e);

/* gpu_pass.c: what one pass launches. */
int gpu_launch(struct gpu *g, enum cuda_kernel k, const void *args, struct err *e);
int gpu_layers(struct gpu *g, size_t n, int single, struct err *e);
int gpu_head(struct gpu *g, size_t first, size_t n, size_t want, struct err *e);
int gpu_embed(struct gpu *g, size_t n, struct err *e);
int gpu_fill_screen(struct gpu *g, struct err *e);

#endif
