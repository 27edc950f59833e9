/*
 * Safetensors: reading one file or a checkpoint of several with its index, and writing.
 *
 *	u64 length N | N bytes JSON: name -> {dtype, shape, data_offsets} | data
 *
 * Nothing is trusted: the ranges must cover the data without gap or overlap and agree with dtype
 *and shape, names must be unique over all files.  Source: ternary-formats.md 6.
 */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include <stdint.h>

#include "dtype.h"
#include "err.h"
#include "json.h"
#include "strindex.h"

#define SAFETENSORS_MAX_DIMS 8

struct safetensors_type {
	const char *name; /* as in files: "BF16", "U8" */
	uint32_t bytes;   /* of an element */
	enum dtype type;  /* DTYPE_NONE when there is none (U8, BOOL, F8_*) */
};

struct safetensors_tensor {
	const char *name; /* borrowed from the file's header */
	const struct safetensors_type *type;
	unsigned n_dims;
	uint64_t shape[SAFETENSORS_MAX_DIMS]; /* shape[n_dims - 1] contiguous */
	uint64_t elements;
	uint64_t offset; /* of the data from the start of the file */
	uint64_t bytes;
	unsigned file;
};

struct safetensors_file {
	char *path; /* owned */
	int fd;
	uint64_t size, data_start;
	json_t *header; /* owned */
};

/* All-zero is closed. */
struct safetensors {
	struct safetensors_file *files;
	unsigned n_files;
	struct safetensors_tensor *tensors; /* by file, then by offset */
	uint32_t n_tensors, cap_tensors;
	struct strindex index; /* private */
};

/* Opens one file. Errors: status 2 for anything wrong, 3 when the file is shorter than it says. */
int safetensors_open(struct safetensors *s, const char *path, struct err *e);

/* Opens the checkpoint in a directory: the files that model.safetensors.index.json names, else
 * model.safetensors.  Errors name the file; status 3 when one is missing. */
int safetensors_open_dir(struct safetensors *s, const char *dir, struct err *e);

void safetensors_close(struct safetensors *s);

/* NULL when absent. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name);

/* Writing: add all tensors, then take the header; their data follow in the same order, unpadded. */
struct safetensors_write {
	json_t *header; /* owned */
	uint64_t data;  /* bytes so far */
};
/* The name of a type in files; type must have one (see safetensors_type_of). */
const struct safetensors_type *safetensors_type_find(const char *name);
const struct safetensors_type *safetensors_type_of(enum dtype type); /* NULL: none */

int safetensors_write_tensor(struct safetensors_write *w, const char *name,
                             const struct safetensors_type *type, unsigned n_dims,
                             const uint64_t *shape, uint64_t *bytes, struct err *e);

/* The header with its length in front, padded so that the data start at a multiple of 64; the
 * caller ends *header with mem_free. */
int safetensors_write_header(const struct safetensors_write *w, char **header, size_t *n,
                             struct err *e);
void safetensors_write_free(struct safetensors_write *w);

#endif
