/*
 * The weights of a model counted: bytes by tensor type and by group, the bytes that are not codes,
 * and what they would be in other types.
 */
#ifndef TALLY_H
#define TALLY_H

#include "gguf.h"

enum tally_group {
	TALLY_EMBEDDING, /* token_embd and other tables of embeddings */
	TALLY_ATTENTION, /* matrices of attention, and of what stands in its place */
	TALLY_FEED_FORWARD,
	TALLY_NORMS,  /* vectors of norms */
	TALLY_OUTPUT, /* output.weight */
	TALLY_OTHER,
	TALLY_GROUPS
};

/* "embedding", "attention", ... */
const char *tally_group_name(enum tally_group g);

struct tally_sum {
	uint64_t tensors, elements, bytes;
};

struct tally {
	struct tally_sum all;
	struct tally_sum type[DTYPE_COUNT];
	struct tally_sum group[TALLY_GROUPS];
	struct tally_sum ternary; /* of types that hold codes and scales */
	uint64_t padding;         /* bytes between tensors, for the files' alignment */
	uint64_t
	    overhead[DTYPE_COUNT]; /* bytes of ternary types that hold no codes: scales, padding */
	uint64_t
	    lookup[DTYPE_COUNT]; /* TL1, TL2: bytes of lookup tables while one token is computed */
	uint64_t file_bytes;     /* header and data of all parts, as the header says */
	uint64_t data_bytes;     /* data sections, padding included */
	uint64_t header_bytes;
	uint64_t longer; /* bytes behind the last tensor that nothing explains */
};

enum tally_group tally_group_of(const struct gguf_tensor *t);

/* Index of the layer of blk.N.*; -1 for the others. */
int tally_layer_of(const struct gguf_tensor *t);

/* The seven matrices of a layer, and their relatives: what --as-type changes. */
int tally_is_matrix(const struct gguf_tensor *t);

void tally_make(struct tally *t, const struct gguf *g);

/* The header that a converter would write: view is g with other types for the matrices (NONE: as
 * they are) and for the tables of embeddings and output (the same), where their shapes allow it;
 * *refused counts the tensors whose shapes do not.  It shares everything else with g, which must
 * outlive it, and has no data.  Owner: the caller, tally_view_end. */
int tally_view(struct gguf *view, const struct gguf *g, enum dtype type, enum dtype embed,
               unsigned *refused, struct err *e);
void tally_view_end(struct gguf *view);

#endif
