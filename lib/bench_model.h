/*
 * A model of a given shape with random weights, made in memory: machines can be compared without a
 * download.
 */
#ifndef BENCH_MODEL_H
#define BENCH_MODEL_H

#include "gguf.h"

struct bench_shape {
	uint32_t embd, layers, ffn, heads, kv_heads, vocab;
	enum dtype type, head; /* of the ternary matrices; of the embedding table, also the head */
};

/* "2560,30,6912,20,5,128256" (width, layers, feed-forward width, heads, KV heads, tokens), or the
 * name of a shape: "2b-4t", "3b", "large", "tiny".  Leaves the types alone. */
int bench_shape_parse(struct bench_shape *s, const char *text, struct err *e);

/* A model in memory.  All-zero is closed. */
struct bench_model {
	struct gguf gguf;
	uint8_t *memory; /* the whole file, (bytes) */
	uint64_t bytes;
};

/* Makes a model of architecture bitnet-b1.58.  Owner: the caller, bench_model_close.  Errors: types
 * that cannot be filled at random, shapes that they do not fit, no memory. */
int bench_model_make(struct bench_model *m, const struct bench_shape *s, struct err *e);

/* Makes one like described, of which only the header is looked at: the same metadata and tensors,
 * random weights. */
int bench_model_fill(struct bench_model *m, const struct gguf *described, struct err *e);

void bench_model_close(struct bench_model *m);

#endif
