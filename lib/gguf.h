/*
 * Reading GGUF: header, metadata and tensor table of a file, a set of split files or a
 * stream.  Nothing is trusted: every length is checked against what is left, and nothing
 * is allocated by an unchecked number.  Spec: gguf.md (container), sections 1 to 9.
 *
 * The strings and arrays of the metadata stay where they are in the file; what is
 * returned is borrowed until gguf_close.
 */
#ifndef GGUF_H
#define GGUF_H

#include <stdint.h>

#include "dtype.h"
#include "err.h"
#include "io.h"

enum gguf_type {
	GGUF_U8 = 0,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64
};

/* "u32", "string", ... */
const char *gguf_type_name(enum gguf_type t);

struct gguf_str {
	const char *p; /* n bytes, not NUL terminated, any content */
	uint64_t n;
};

struct gguf_kv {
	struct gguf_str key;
	enum gguf_type type;    /* of the value; for arrays GGUF_ARRAY */
	enum gguf_type element; /* of the elements of an array; the same as type for scalars */
	uint64_t count;         /* elements; 1 for scalars */
	const uint8_t *data; /* first byte of the (first) element, unaligned, in the file's order */
	uint64_t bytes;      /* of the elements, length fields of strings included */
	unsigned part;
};

#define GGUF_MAX_DIMS 4

struct gguf_tensor {
	struct gguf_str name;
	uint32_t n_dims;
	uint64_t ne[GGUF_MAX_DIMS]; /* ne[0] contiguous; missing ones are 1 */
	uint64_t cols, rows;        /* ne[0], and the product of the others */
	uint32_t id;                /* type id as stored */
	enum dtype type;            /* what it means in this file (collisions decided by size) */
	uint64_t bytes;             /* of the payload */
	uint64_t offset;            /* of the payload from the start of its part's file */
	uint64_t room;              /* bytes up to the next payload or the file's end; 0: unknown */
	unsigned part;              /* index into parts */
	const uint8_t *data;        /* payload when mapped and wholly there, else NULL */
};

struct gguf_part {
	char *path;           /* owned */
	struct io_map map;    /* closed for a stream */
	int fd;               /* of a stream, standing at the start of the data section; else -1 */
	uint8_t *header;      /* owned copy of the header, for a stream (io_grow) */
	uint64_t header_room; /* bytes that header has room for */
	uint64_t header_size; /* bytes: start of the data section (header, infos, padding) */
	uint64_t size;        /* bytes of the file; 0 when unknown (stream) */
	uint64_t alignment;
	uint32_t version;
	int swapped; /* the file's byte order is not this machine's */
};

struct gguf {
	struct gguf_part *parts;
	unsigned n_parts;
	struct gguf_kv *kv; /* in the order of the file; later parts add the keys that are new */
	uint64_t n_kv;
	struct gguf_tensor *tensors; /* in the order of the files */
	uint64_t n_tensors;
	uint64_t data_missing; /* bytes of tensor data that the files lack (header-only files) */
	struct gguf_warning {
		char text[200];
	} warnings[8]; /* things that were decided or tolerated, for people */
	unsigned n_warnings;
	void *index; /* private: names to tensors, keys to values */
};

enum gguf_open_flags {
	GGUF_HEADER_ONLY = 1, /* tensor data may be missing (memory plans) */
	GGUF_NO_SIBLINGS = 2, /* do not open the other parts of a split file */
	GGUF_FILES_ONLY = 4,  /* refuse streams: the tensor data is needed */
};

/* Opens a file, with all its parts when it is split (any part may be named), mapped read-only; or
 * "-" or a FIFO, a stream, of which the header and not one byte more is read (the data section can
 * be read from parts[0].fd next).
 *
 * Errors: status 2 for anything wrong, 3 when the file ends too early or a part is missing; the
 * text names the thing in the file (not path: callers put it in front, but for another part of a
 * split file that part's name is in the text).  Files of other kinds are named ("this is a
 * safetensors file; bitnet-convert reads those").
 *
 * Owner: the caller; gguf_close ends it, on errors nothing is left open. */
int gguf_open(struct gguf *g, const char *path, unsigned flags, struct err *e);

/* The same from memory (fuzzing, streams already read): n bytes that stay the caller's. */
int gguf_parse(struct gguf *g, const uint8_t *data, uint64_t n, unsigned flags, struct err *e);

void gguf_close(struct gguf *g);

/* NULL when absent. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name);

/* Values.  Return 0 and set *out; 1 when the key is absent (*out untouched); -1 with an error
 * that names the key when it has another type or does not fit.  Any integer type is taken for
 * integers, f32 or f64 for reals. */
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, struct err *e);
int gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e);
int gguf_get_bool(const struct gguf *g, const char *key, int *out, struct err *e);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct err *e);

/* Element i of an array of numbers (i < count; a scalar is an array of one), in this machine's byte
 * order.  gguf_array_u64 refuses what is not a nonnegative integer; gguf_array_f64 converts any
 * number. */
int gguf_array_u64(const struct gguf *g, const struct gguf_kv *kv, uint64_t i, uint64_t *out,
                   struct err *e);
double gguf_array_f64(const struct gguf *g, const struct gguf_kv *kv, uint64_t i);

/* Walks an array of strings: *at starts at 0 and is private; returns 0 after the last. */
struct gguf_walk {
	uint64_t at; /* byte offset of the next string */
	uint64_t i;  /* its index */
};
int gguf_next_str(const struct gguf *g, const struct gguf_kv *kv, struct gguf_walk *w,
                  struct gguf_str *out);

#endif
