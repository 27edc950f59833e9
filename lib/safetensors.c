#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "rd.h"

#define MAX_HEADER  100000000 /* bytes; the reference reader's limit */
#define MAX_TENSORS 1000000
#define MAX_FILES   1000
#define INDEX       "model.safetensors.index.json"
#define METADATA    "__metadata__"

static const struct safetensors_type types[] = {
    {"F32", 4, DTYPE_F32},   {"F16", 2, DTYPE_F16},      {"BF16", 2, DTYPE_BF16},
    {"F64", 8, DTYPE_F64},   {"I8", 1, DTYPE_I8},        {"I16", 2, DTYPE_I16},
    {"I32", 4, DTYPE_I32},   {"I64", 8, DTYPE_I64},      {"U8", 1, DTYPE_NONE},
    {"U16", 2, DTYPE_NONE},  {"U32", 4, DTYPE_NONE},     {"U64", 8, DTYPE_NONE},
    {"BOOL", 1, DTYPE_NONE}, {"F8_E4M3", 1, DTYPE_NONE}, {"F8_E5M2", 1, DTYPE_NONE},
};

const struct safetensors_type *safetensors_type_find(const char *name)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (!strcmp(types[i].name, name))
			return &types[i];
	return NULL;
}

const struct safetensors_type *safetensors_type_of(enum dtype type)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (type && types[i].type == type)
			return &types[i];
	return NULL;
}

/* --- one tensor of the header -------------------------------------------------------------- */

static int quoted_error(struct err *e, const char *name)
{
	char q[120];

	return err_in(e, "tensor %s", err_quote(q, sizeof q, name, strlen(name)));
}

static int read_type(struct safetensors_tensor *t, const json_t *v, struct err *e)
{
	const char *name = json_string_value(json_object_get(v, "dtype"));
	char q[40];

	if (!name)
		return err_set(e, ERR_TROUBLE, "dtype is missing or no string");
	t->type = safetensors_type_find(name);
	if (!t->type)
		return err_set(e, ERR_TROUBLE, "unknown dtype %s",
		               err_quote(q, sizeof q, name, strlen(name)));
	return 0;
}

static int read_shape(struct safetensors_tensor *t, const json_t *v, struct err *e)
{
	const json_t *shape = json_object_get(v, "shape");

	if (!json_is_array(shape))
		return err_set(e, ERR_TROUBLE, "shape is missing or no array");
	if (json_array_size(shape) > SAFETENSORS_MAX_DIMS)
		return err_set(e, ERR_TROUBLE, "%zu dimensions, at most %d are allowed",
		               json_array_size(shape), SAFETENSORS_MAX_DIMS);
	t->n_dims = (unsigned)json_array_size(shape);
	t->elements = 1;
	for (unsigned d = 0; d < t->n_dims; d++) {
		const json_t *n = json_array_get(shape, d);
		if (!json_is_integer(n) || json_integer_value(n) < 0)
			return err_set(e, ERR_TROUBLE, "dimension %u is not a number from 0", d);
		t->shape[d] = (uint64_t)json_integer_value(n);
		if (__builtin_mul_overflow(t->elements, t->shape[d], &t->elements))
			return err_set(e, ERR_TROUBLE, "the product of the shape is too large");
	}
	return 0;
}

/* Sets offset and bytes from data_offsets, relative to the data section. */
static int read_range(struct safetensors_tensor *t, const json_t *v, struct err *e)
{
	const json_t *range = json_object_get(v, "data_offsets");
	const json_t *first = json_array_get(range, 0), *last = json_array_get(range, 1);
	uint64_t want;

	if (json_array_size(range) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
	    json_integer_value(first) < 0 || json_integer_value(last) < 0)
		return err_set(e, ERR_TROUBLE, "data_offsets is not a pair of numbers from 0");
	uint64_t a = (uint64_t)json_integer_value(first), b = (uint64_t)json_integer_value(last);
	if (b < a)
		return err_set(e, ERR_TROUBLE, "data_offsets run backwards: %llu to %llu",
		               (unsigned long long)a, (unsigned long long)b);
	if (__builtin_mul_overflow(t->elements, t->type->bytes, &want) || want != b - a)
		return err_set(
		    e, ERR_TROUBLE, "data_offsets span %llu bytes, but %s of this shape is %llu",
		    (unsigned long long)(b - a), t->type->name, (unsigned long long)want);
	t->offset = a;
	t->bytes = b - a;
	return 0;
}

static int add_tensor(struct safetensors *s, const char *name, const json_t *v, struct err *e)
{
	if (s->n_tensors == MAX_TENSORS)
		return err_set(e, ERR_TROUBLE, "more than %d tensors", MAX_TENSORS);
	if (s->n_tensors == s->cap_tensors) {
		uint32_t cap = s->cap_tensors * 2 + 256;
		void *p = mem_realloc(MEM_IO, s->tensors, cap, sizeof *s->tensors, e);
		if (!p)
			return -1;
		s->tensors = p;
		s->cap_tensors = cap;
	}
	struct safetensors_tensor *t = &s->tensors[s->n_tensors];
	memset(t, 0, sizeof *t);
	t->name = name;
	t->file = s->n_files - 1;
	if (!json_is_object(v)) {
		err_set(e, ERR_TROUBLE, "is %s, expected an object", json_kind(v));
		return quoted_error(e, name);
	}
	if (read_type(t, v, e) || read_shape(t, v, e) || read_range(t, v, e))
		return quoted_error(e, name);
	s->n_tensors++;
	return 0;
}

/* --- one file ------------------------------------------------------------------------------ */

static int by_offset(const void *a, const void *b)
{
	const struct safetensors_tensor *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	/* An empty tensor comes before the one that starts where it ends. */
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Ranges follow each other from 0 to the end of the file. */
static int check_cover(const struct safetensors_file *f, struct safetensors_tensor *t, uint32_t n,
                       struct err *e)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (t[i].offset != at) {
			err_set(e, ERR_TROUBLE, "data starts at %llu, %s at %llu",
			        (unsigned long long)t[i].offset,
			        t[i].offset < at ? "but the tensor before it ends"
			                         : "after a gap that begins",
			        (unsigned long long)at);
			return quoted_error(e, t[i].name);
		}
		/* A sum of sizes that were checked one by one, each below 2^63. */
		if (__builtin_add_overflow(at, t[i].bytes, &at))
			return err_set(e, ERR_TROUBLE, "the data are larger than 2^64 bytes");
		t[i].offset += f->data_start;
	}
	if (at > f->size - f->data_start)
		return err_set(e, ERR_SHORT, "%llu bytes of data, but the file holds %llu",
		               (unsigned long long)at,
		               (unsigned long long)(f->size - f->data_start));
	if (at < f->size - f->data_start)
		return err_set(e, ERR_TROUBLE, "%llu bytes follow the last tensor",
		               (unsigned long long)(f->size - f->data_start - at));
	return 0;
}

static int read_header(struct safetensors_file *f, struct err *e)
{
	uint8_t head[8];
	uint64_t n;

	if (io_pread(f->fd, head, sizeof head, 0, e))
		return -1;
	/* Little-endian always. */
	n = rd_load64(head, __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__);
	if (n > MAX_HEADER)
		return err_set(e, ERR_TROUBLE, "a header of %llu bytes, at most %d are allowed",
		               (unsigned long long)n, MAX_HEADER);
	if (n > f->size - 8)
		return err_set(e, ERR_SHORT, "a header of %llu bytes, but %llu are left",
		               (unsigned long long)n, (unsigned long long)(f->size - 8));
	char *text = mem_alloc(MEM_IO, n, e);
	if (!text)
		return -1;
	f->data_start = 8 + n;
	int r = io_pread(f->fd, text, n, 8, e) || json_parse(text, n, &f->header, e) ? -1 : 0;
	mem_free(text);
	if (!r && !json_is_object(f->header))
		return err_set(e, ERR_TROUBLE, "the header is %s, expected an object",
		               json_kind(f->header));
	return r ? err_in(e, "header") : 0;
}

/* What a header may say besides tensors: strings by name. */
static int check_metadata(const json_t *v, struct err *e)
{
	const char *name;
	json_t *text;

	if (!json_is_object(v))
		return err_set(e, ERR_TROUBLE, METADATA " is %s, expected an object", json_kind(v));
	json_object_foreach((json_t *)(uintptr_t)v, name, text)
	{
		if (!json_is_string(text))
			return err_set(e, ERR_TROUBLE, METADATA " holds %s, expected strings",
			               json_kind(text));
	}
	return 0;
}

static int read_tensors(struct safetensors *s, struct safetensors_file *f, struct err *e)
{
	uint32_t first = s->n_tensors;
	const char *name;
	json_t *v;

	json_object_foreach(f->header, name, v)
	{
		if (strcmp(name, METADATA) ? add_tensor(s, name, v, e) : check_metadata(v, e))
			return -1;
	}
	if (s->n_tensors == first)
		return check_cover(f, NULL, 0, e);
	qsort(s->tensors + first, s->n_tensors - first, sizeof *s->tensors, by_offset);
	return check_cover(f, s->tensors + first, s->n_tensors - first, e);
}

static int add_file(struct safetensors *s, const char *path, struct err *e)
{
	void *p = mem_realloc(MEM_IO, s->files, s->n_files + 1, sizeof *s->files, e);

	if (!p)
		return -1;
	s->files = p;
	struct safetensors_file *f = &s->files[s->n_files++];
	*f = (struct safetensors_file){.fd = -1};
	f->path = mem_strndup(MEM_IO, path, strlen(path), e);
	if (!f->path)
		return -1;
	if (io_open_file(path, &f->fd, &f->size, e)) {
		if (errno == ENOENT && e)
			e->status = ERR_SHORT;
		return -1;
	}
	return read_header(f, e) || read_tensors(s, f, e) ? -1 : 0;
}

/* --- names --------------------------------------------------------------------------------- */

const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name)
{
	uint32_t hash = strindex_hash(name, strlen(name)), at, i;

	if (!s->index.slot)
		return NULL;
	at = strindex_start(&s->index, hash);
	while ((i = strindex_next(&s->index, hash, &at)) != STRINDEX_END)
		if (!strcmp(s->tensors[i].name, name))
			return &s->tensors[i];
	return NULL;
}

static int enter_names(struct safetensors *s, struct err *e)
{
	void *slots = mem_calloc(MEM_IO, 1, strindex_bytes(s->n_tensors), e);

	if (!slots)
		return -1;
	strindex_init(&s->index, slots, s->n_tensors);
	for (uint32_t i = 0; i < s->n_tensors; i++) {
		const char *name = s->tensors[i].name;
		const struct safetensors_tensor *other = safetensors_find(s, name);
		if (other) {
			err_set(e, ERR_TROUBLE, "is in %s and in %s", s->files[other->file].path,
			        s->files[s->tensors[i].file].path);
			return quoted_error(e, name);
		}
		strindex_add(&s->index, strindex_hash(name, strlen(name)), i);
	}
	return 0;
}

int safetensors_open(struct safetensors *s, const char *path, struct err *e)
{
	memset(s, 0, sizeof *s);
	if (add_file(s, path, e) || enter_names(s, e)) {
		safetensors_close(s);
		return -1;
	}
	return 0;
}

/* --- directories --------------------------------------------------------------------------- */

static char *joined(const char *dir, const char *name, struct err *e)
{
	size_t n = strlen(dir) + strlen(name) + 2;
	char *p = mem_alloc(MEM_IO, n, e);

	if (p)
		snprintf(p, n, "%s/%s", dir, name);
	return p;
}

/* The file called name, which was opened; -1 when it was not. */
static int file_of(const struct safetensors *s, const char *name)
{
	for (unsigned i = 0; i < s->n_files; i++) {
		const char *slash = strrchr(s->files[i].path, '/');
		if (!strcmp(slash ? slash + 1 : s->files[i].path, name))
			return (int)i;
	}
	return -1;
}

static int add_shard(struct safetensors *s, const char *dir, const char *name, struct err *e)
{
	char q[120];

	if (file_of(s, name) >= 0)
		return 0;
	if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(e, ERR_TROUBLE, "%s: %s is not the name of a file beside it", INDEX,
		               err_quote(q, sizeof q, name, strlen(name)));
	if (s->n_files == MAX_FILES)
		return err_set(e, ERR_TROUBLE, "%s: more than %d files", INDEX, MAX_FILES);
	char *path = joined(dir, name, e);
	if (!path)
		return -1;
	int r = add_file(s, path, e);
	mem_free(path);
	return r ? err_in(e, "%s", err_quote(q, sizeof q, name, strlen(name))) : 0;
}

/* Index and files must tell the same. */
static int check_index(const struct safetensors *s, const json_t *map, struct err *e)
{
	const char *name;
	json_t *v;
	char q[120];

	json_object_foreach((json_t *)(uintptr_t)map, name, v)
	{
		const struct safetensors_tensor *t = safetensors_find(s, name);
		if (!t || (int)t->file != file_of(s, json_string_value(v)))
			return err_set(e, ERR_SHORT, "tensor %s is not in %s, where %s puts it",
			               err_quote(q, sizeof q, name, strlen(name)),
			               json_string_value(v), INDEX);
	}
	if (json_object_size(map) == s->n_tensors)
		return 0;
	for (uint32_t i = 0; i < s->n_tensors; i++)
		if (!json_object_get(map, s->tensors[i].name)) {
			err_set(e, ERR_TROUBLE, "is not in %s", INDEX);
			return quoted_error(e, s->tensors[i].name);
		}
	return 0;
}

static int open_index(struct safetensors *s, const char *dir, const json_t *index, struct err *e)
{
	const json_t *map = json_object_get(index, "weight_map");
	const char *name;
	json_t *v;

	if (!json_is_object(map))
		return err_set(e, ERR_TROUBLE, "%s: weight_map is missing or no object", INDEX);
	json_object_foreach((json_t *)(uintptr_t)map, name, v)
	{
		if (!json_is_string(v))
			return err_set(e, ERR_TROUBLE, "%s: a file name is %s", INDEX,
			               json_kind(v));
		if (add_shard(s, dir, json_string_value(v), e))
			return -1;
	}
	return enter_names(s, e) || check_index(s, map, e) ? -1 : 0;
}

static int open_dir(struct safetensors *s, const char *dir, struct err *e)
{
	char *path = joined(dir, INDEX, e);
	json_t *index = NULL;
	int r;

	if (!path)
		return -1;
	if (access(path, F_OK)) {
		mem_free(path);
		return add_shard(s, dir, "model.safetensors", e) || enter_names(s, e) ? -1 : 0;
	}
	r = json_parse_file(path, MAX_HEADER, &index, e) ? err_in(e, "%s", INDEX)
	                                                 : open_index(s, dir, index, e);
	json_decref(index);
	mem_free(path);
	return r;
}

int safetensors_open_dir(struct safetensors *s, const char *dir, struct err *e)
{
	memset(s, 0, sizeof *s);
	if (open_dir(s, dir, e)) {
		safetensors_close(s);
		return -1;
	}
	return 0;
}

void safetensors_close(struct safetensors *s)
{
	for (unsigned i = 0; i < s->n_files; i++) {
		json_decref(s->files[i].header);
		if (s->files[i].fd > STDIN_FILENO)
			close(s->files[i].fd);
		mem_free(s->files[i].path);
	}
	mem_free(s->files);
	mem_free(s->tensors);
	mem_free(s->index.slot);
	memset(s, 0, sizeof *s);
}

/* --- writing ------------------------------------------------------------------------------- */

static json_t *pair_of(uint64_t a, uint64_t b)
{
	return json_pack("[I, I]", (json_int_t)a, (json_int_t)b);
}

int safetensors_write_tensor(struct safetensors_write *w, const char *name,
                             const struct safetensors_type *type, unsigned n_dims,
                             const uint64_t *shape, uint64_t *bytes, struct err *e)
{
	json_t *dims = json_array(), *t = NULL;
	uint64_t n = type->bytes;

	for (unsigned d = 0; d < n_dims; d++) {
		n *= shape[d];
		json_array_append_new(dims, json_integer((json_int_t)shape[d]));
	}
	if (!w->header)
		w->header = json_object();
	t = json_pack("{s:s, s:o, s:o}", "dtype", type->name, "shape", dims, "data_offsets",
	              pair_of(w->data, w->data + n));
	if (!t || json_object_set_new(w->header, name, t))
		return err_set(e, ERR_TROUBLE, "tensor %s: no memory, or its name is not UTF-8",
		               name);
	w->data += n;
	*bytes = n;
	return 0;
}

int safetensors_write_header(const struct safetensors_write *w, char **header, size_t *n,
                             struct err *e)
{
	size_t len = json_dumpb(w->header, NULL, 0, JSON_COMPACT);
	size_t padded = (len + 8 + 63) / 64 * 64 - 8;
	uint64_t le = padded;
	char *out = len ? mem_alloc(MEM_IO, 8 + padded, NULL) : NULL;

	if (!out)
		return err_set(e, ERR_TROUBLE, "no memory for a header of %zu bytes", padded);
	if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		le = __builtin_bswap64(le);
	memcpy(out, &le, 8);
	memset(out + 8, ' ', padded);
	json_dumpb(w->header, out + 8, len, JSON_COMPACT);
	*header = out;
	*n = 8 + padded;
	return 0;
}

void safetensors_write_free(struct safetensors_write *w)
{
	json_decref(w->header);
	memset(w, 0, sizeof *w);
}
