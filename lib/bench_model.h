/*
 * A model of a given shape with random weights, made in memory: machines can be compared without a
 * download.
 */
#ifndef BENCH_MODEL_H
#define BENCH_MODEL_H

#include "dtype.h"

struct bench_shape {
	uint32_t embd, layers, ffn, heads, kv_heads, vocab;
	enum dtype type, head; /* of the ternary matrices; of the embedding table, also the head */
};

/* "2560,30,6912,20,5,128256" (width, layers, feed-forward width, heads, KV heads, tokens), or the
 * name of a shape: "2b-4t", "3b", "large", "tiny".  Leaves the types alone. */
int bench_shape_parse(struct bench_shape *s, const char *text, struct err *e);

/* Writes the model (architecture bitnet-b1.58) into memory and path, a name that gguf_open takes
 * as long as *fd is open.  Owner: the caller closes *fd.  Errors: types that cannot be filled at
 * random, shapes that they do not fit, no memory. */
int bench_model_make(const struct bench_shape *s, int *fd, char path[64], struct err *e);

#endif
