/*
 * Writing GGUF: describe everything first (metadata, tensors), lay it out, then stream: the header
 * of each part is complete before its first payload, so a pipe will do.  Payloads follow in the
 * order of the infos, each padded to the alignment without gaps, the rule that the strictest
 * readers check.  Numbers are stored in this machine's byte order.
 *
 *	struct gguf_write w = {0};
 *	gguf_write_str(&w, "general.architecture", "bitnet", 6, e);
 *	gguf_write_tensor(&w, "token_embd.weight", 2, ne, DTYPE_F16, e);
 *	gguf_write_layout(&w, 0, e);
 *	gguf_write_header(&w, 0, put, file, e);
 *	for each tensor of part 0: w.tensors[i].bytes bytes, then gguf_write_padding() zeros
 *	gguf_write_free(&w);
 */
#ifndef GGUF_WRITE_H
#define GGUF_WRITE_H

#include "gguf.h"

struct gguf_write_kv {
	char *key; /* owned, key_n bytes and a NUL */
	uint64_t key_n;
	enum gguf_type type, element; /* as in struct gguf_kv */
	uint64_t count;
	const uint8_t *data; /* bytes of the elements, lengths of strings included */
	uint64_t bytes;
	uint8_t *owned; /* data when it is ours, else NULL: borrowed */
};

struct gguf_write_tensor {
	char *name; /* owned */
	uint32_t n_dims;
	uint64_t ne[GGUF_MAX_DIMS];
	enum dtype type;
	uint64_t bytes;
	/* From gguf_write_layout: */
	unsigned part;
	uint64_t offset; /* of the payload from the start of its part's file */
};

struct gguf_write_part {
	uint64_t first, n;    /* its tensors: [first, first + n) */
	uint64_t header_size; /* bytes, padding included: where the data section starts */
	uint64_t size;        /* bytes of the whole file */
};

/* All-zero is empty; gguf_write_free ends it. */
struct gguf_write {
	struct gguf_write_kv *kv;
	uint64_t n_kv, cap_kv;
	struct gguf_write_tensor *tensors;
	uint64_t n_tensors, cap_tensors;
	uint64_t alignment;
	struct gguf_write_part *parts;
	unsigned n_parts;
};

/* Metadata.  A key that is there already gets the new value in its old place.  Strings are bytes
 * with a length.  Errors: no memory, an empty or too long key. */
int gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v, struct err *e);
int gguf_write_f32(struct gguf_write *w, const char *key, float v, struct err *e);
int gguf_write_bool(struct gguf_write *w, const char *key, int v, struct err *e);
int gguf_write_str(struct gguf_write *w, const char *key, const char *s, uint64_t n, struct err *e);

/* A scalar or array of any numeric type: count elements in this machine's byte order, copied.
 * array: 0 writes a scalar (count must be 1). */
int gguf_write_numbers(struct gguf_write *w, const char *key, enum gguf_type element, int array,
                       const void *data, uint64_t count, struct err *e);

/* An array of strings, copied. */
int gguf_write_strs(struct gguf_write *w, const char *key, const struct gguf_str *s, uint64_t count,
                    struct err *e);

/* All metadata of g but what tells of its parts (split.*), into a w that has none yet; values are
 * borrowed from g where their byte order allows. */
int gguf_write_metadata(struct gguf_write *w, const struct gguf *g, struct err *e);

const struct gguf_write_kv *gguf_write_find(const struct gguf_write *w, const char *key);

/* Removes key; 1 when it is not there. */
int gguf_write_delete(struct gguf_write *w, const char *key);

/* The next tensor.  Errors: a name of no or more than 63 bytes, a shape that the type cannot hold.
 */
int gguf_write_tensor(struct gguf_write *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                      enum dtype type, struct err *e);

/* Computes every offset and size.  split: bytes that a part may have (0: one file); a tensor is
 * never divided, and the first part of several holds no tensors when the metadata fills it.  More
 * than one part adds the split.* keys.  general.alignment is obeyed (32 without).
 * Errors: duplicate tensor names, a bad alignment, more than 65535 parts. */
int gguf_write_layout(struct gguf_write *w, uint64_t split, struct err *e);

/* Where bytes go; n may be 0. */
typedef int gguf_write_put(void *arg, const void *p, size_t n, struct err *e);

/* Puts the header of a part, padding included: parts[part].header_size bytes. */
int gguf_write_header(const struct gguf_write *w, unsigned part, gguf_write_put *put, void *arg,
                      struct err *e);

/* Zeros behind tensor i's payload. */
uint64_t gguf_write_padding(const struct gguf_write *w, uint64_t i);

/* The name of a part: PATH with "-00002-of-00003" in front of its ".gguf"; path itself when n is 1.
 * The caller ends it with mem_free. */
char *gguf_write_part_name(const char *path, unsigned part, unsigned n, struct err *e);

void gguf_write_free(struct gguf_write *w);

#endif
