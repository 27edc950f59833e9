/*
 * Tensors of GGUF files as sources and targets of retyping: what the file, its metadata or the user
 * say about layouts that the bytes do not tell.
 */
#ifndef RETYPE_GGUF_H
#define RETYPE_GGUF_H

#include "gguf.h"
#include "gguf_write.h"
#include "retype.h"

/* Tilings for TL1 and TL2, from the user. */
struct retype_tile {
	uint64_t rows, cols; /* the shape it is for; 0: any */
	struct ternary_tile tile;
};

#define RETYPE_TILES 64
struct retype_hints {
	enum ternary_kind
	    i2s; /* how I2_S lies; TERNARY_NONE: as the file says, else as published */
	struct retype_tile tiles[RETYPE_TILES];
	unsigned n_tiles;
};

/* Adds "[ROWSxCOLS:]BM,BY[,bm]" (bm: 32) to the tiles. */
int retype_hints_tile(struct retype_hints *h, const char *text, struct err *e);

/* The hint's tiling for a shape; NULL when there is none. */
const struct ternary_tile *retype_hints_find(const struct retype_hints *h, uint64_t rows,
                                             uint64_t cols);

/* What had to be assumed about a source. */
enum retype_assumed {
	RETYPE_ASSUMED_I2S = 1,    /* the published layout of I2_S: the file does not say */
	RETYPE_ASSUMED_TILE = 2,   /* a preset tiling for the shape */
	RETYPE_ASSUMED_ONE_OF = 4, /* of two that are in use */
};

/* How the elements of a tensor lie; its data need not be there.  *assumed and errors as below. */
int retype_gguf_form(struct retype_form *form, const struct gguf *g, const struct gguf_tensor *t,
                     const struct retype_hints *h, int *assumed, struct err *e);

/* A tensor of an open file, read where it is mapped.  *assumed collects enum retype_assumed.
 * factor is 1: see retype_gguf_factor.
 * Errors: a type that cannot be converted, a tiling that is not known. */
int retype_gguf_source(struct retype_source *src, const struct gguf *g, const struct gguf_tensor *t,
                       const struct retype_hints *h, int *assumed, struct err *e);

/* The tensor NAME.scale that goes with NAME.weight; NULL when there is none.  *factor is its one
 * value.  Errors: it is no single F32, F16 or BF16 value, or not finite. */
int retype_gguf_factor(const struct gguf *g, const struct gguf_tensor *t,
                       const struct gguf_tensor **scale, float *factor, struct err *e);

/* Whether this tensor is one of the matrices that BitNet models keep ternary: projections of
 * attention, feed-forward (experts too), never embeddings, heads, norms, routers or biases. */
int retype_gguf_is_ternary_role(const struct gguf_tensor *t);

/* Marks of what the bytes do not tell, in the metadata of a file that is written.
 * Of a TL1 or TL2 matrix its tiling, once for a shape; of other matrices nothing.  Errors: the
 * shape has another tiling already. */
int retype_gguf_mark_tile(struct gguf_write *w, const struct ternary *t, struct err *e);

/* Of the file the layout that all its I2_S tensors have; TERNARY_NONE: there are none. */
int retype_gguf_mark_i2s(struct gguf_write *w, enum ternary_kind kind, struct err *e);

/* general.file_type for files whose matrices have this type; -1: none is known. */
int retype_gguf_file_type(enum dtype type);

#endif
