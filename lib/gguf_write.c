#include "gguf_write.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "strindex.h"

#define MAX_KEY   65535
#define MAX_NAME  63
#define MAX_PARTS 65535

static uint64_t padded(uint64_t n, uint64_t alignment)
{
	return (n + alignment - 1) & ~(alignment - 1);
}

/* --- metadata ------------------------------------------------------------------------------ */

static struct gguf_write_kv *find_n(const struct gguf_write *w, const char *key, uint64_t n)
{
	for (uint64_t i = 0; i < w->n_kv; i++)
		if (w->kv[i].key_n == n && !memcmp(w->kv[i].key, key, n))
			return &w->kv[i];
	return NULL;
}

const struct gguf_write_kv *gguf_write_find(const struct gguf_write *w, const char *key)
{
	return find_n(w, key, strlen(key));
}

/* A pair of a key that is not there yet. */
static struct gguf_write_kv *new_pair(struct gguf_write *w, const char *key, uint64_t n,
                                      struct err *e)
{
	struct gguf_write_kv *kv;

	if (!n || n > MAX_KEY) {
		err_set(e, ERR_TROUBLE, "a key of %llu bytes, expected 1 to %d",
		        (unsigned long long)n, MAX_KEY);
		return NULL;
	}
	if (w->n_kv == w->cap_kv) {
		uint64_t cap = w->cap_kv * 2 + 32;
		kv = mem_realloc(MEM_IO, w->kv, cap, sizeof *kv, e);
		if (!kv)
			return NULL;
		w->kv = kv;
		w->cap_kv = cap;
	}
	kv = &w->kv[w->n_kv];
	memset(kv, 0, sizeof *kv);
	kv->key = mem_strndup(MEM_IO, key, n, e);
	kv->key_n = n;
	if (!kv->key)
		return NULL;
	w->n_kv++;
	return kv;
}

/* The pair of key, new when it was not there, with its old value ended. */
static struct gguf_write_kv *pair_for(struct gguf_write *w, const char *key, uint64_t n,
                                      struct err *e)
{
	struct gguf_write_kv *kv = find_n(w, key, n);

	if (!kv)
		return new_pair(w, key, n, e);
	mem_free(kv->owned);
	kv->owned = NULL;
	return kv;
}

/* Sets key to bytes of an own copy; data may be NULL: the caller fills kv->owned in. */
static struct gguf_write_kv *set_owned(struct gguf_write *w, const char *key, uint64_t key_n,
                                       const void *data, uint64_t bytes, struct err *e)
{
	uint8_t *copy = mem_alloc(MEM_IO, bytes, e);
	struct gguf_write_kv *kv = copy ? pair_for(w, key, key_n, e) : NULL;

	if (!kv) {
		mem_free(copy);
		return NULL;
	}
	if (data && bytes)
		memcpy(copy, data, bytes);
	kv->owned = copy;
	kv->data = copy;
	kv->bytes = bytes;
	return kv;
}

static uint64_t element_size(enum gguf_type t)
{
	static const uint8_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

	return size[t];
}

int gguf_write_numbers(struct gguf_write *w, const char *key, enum gguf_type element, int array,
                       const void *data, uint64_t count, struct err *e)
{
	struct gguf_write_kv *kv =
	    set_owned(w, key, strlen(key), data, count * element_size(element), e);

	if (!kv)
		return -1;
	kv->type = array ? GGUF_ARRAY : element;
	kv->element = element;
	kv->count = count;
	return 0;
}

int gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v, struct err *e)
{
	return gguf_write_numbers(w, key, GGUF_U32, 0, &v, 1, e);
}

int gguf_write_f32(struct gguf_write *w, const char *key, float v, struct err *e)
{
	return gguf_write_numbers(w, key, GGUF_F32, 0, &v, 1, e);
}

int gguf_write_bool(struct gguf_write *w, const char *key, int v, struct err *e)
{
	uint8_t b = v != 0;

	return gguf_write_numbers(w, key, GGUF_BOOL, 0, &b, 1, e);
}

/* Strings as they lie in a file: a length and bytes, each. */
static int set_strings(struct gguf_write *w, const char *key, int array, const struct gguf_str *s,
                       uint64_t count, struct err *e)
{
	uint64_t bytes = 8 * count;

	for (uint64_t i = 0; i < count; i++)
		bytes += s[i].n;
	struct gguf_write_kv *kv = set_owned(w, key, strlen(key), NULL, bytes, e);
	if (!kv)
		return -1;
	uint8_t *p = kv->owned;
	for (uint64_t i = 0; i < count; i++) {
		memcpy(p, &s[i].n, 8);
		if (s[i].n)
			memcpy(p + 8, s[i].p, s[i].n);
		p += 8 + s[i].n;
	}
	kv->type = array ? GGUF_ARRAY : GGUF_STRING;
	kv->element = GGUF_STRING;
	kv->count = count;
	return 0;
}

int gguf_write_str(struct gguf_write *w, const char *key, const char *s, uint64_t n, struct err *e)
{
	struct gguf_str one = {s, n};

	return set_strings(w, key, 0, &one, 1, e);
}

int gguf_write_strs(struct gguf_write *w, const char *key, const struct gguf_str *s, uint64_t count,
                    struct err *e)
{
	return set_strings(w, key, 1, s, count, e);
}

static void reverse(uint8_t *p, uint64_t n)
{
	for (uint64_t i = 0; i < n / 2; i++) {
		uint8_t t = p[i];
		p[i] = p[n - 1 - i];
		p[n - 1 - i] = t;
	}
}

/* A value of the other byte order in place: numbers, or the lengths in front of strings. */
static void swap_value(const struct gguf_kv *from, uint8_t *p)
{
	uint64_t size = element_size(from->element), n;

	for (uint64_t i = 0; i < from->count; i++) {
		reverse(p, size ? size : 8);
		n = size;
		if (!size) {
			memcpy(&n, p, 8);
			n += 8;
		}
		p += n;
	}
}

static int copy_pair(struct gguf_write *w, const struct gguf *g, const struct gguf_kv *from,
                     struct err *e)
{
	struct gguf_write_kv *kv = new_pair(w, from->key.p, from->key.n, e);

	if (!kv)
		return -1;
	kv->type = from->type;
	kv->element = from->element;
	kv->count = from->count;
	kv->data = from->data;
	kv->bytes = from->bytes;
	if (!g->parts[from->part].swapped)
		return 0;
	kv->data = kv->owned = mem_alloc(MEM_IO, from->bytes, e);
	if (!kv->owned)
		return -1;
	memcpy(kv->owned, from->data, from->bytes);
	swap_value(from, kv->owned);
	return 0;
}

/* Which part of how many a file is. */
static int is_of_part(const struct gguf_kv *kv)
{
	static const char *const keys[] = {"split.no", "split.count", "split.tensors.count"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (kv->key.n == strlen(keys[i]) && !memcmp(kv->key.p, keys[i], kv->key.n))
			return 1;
	return 0;
}

int gguf_write_metadata(struct gguf_write *w, const struct gguf *g, struct err *e)
{
	for (uint64_t i = 0; i < g->n_kv; i++)
		if (!is_of_part(&g->kv[i]) && copy_pair(w, g, &g->kv[i], e))
			return -1;
	return 0;
}

int gguf_write_delete(struct gguf_write *w, const char *key)
{
	struct gguf_write_kv *kv = find_n(w, key, strlen(key));

	if (!kv)
		return 1;
	mem_free(kv->key);
	mem_free(kv->owned);
	memmove(kv, kv + 1, (size_t)(w->kv + w->n_kv - kv - 1) * sizeof *kv);
	w->n_kv--;
	return 0;
}

/* --- tensors ------------------------------------------------------------------------------- */

static struct gguf_write_tensor *next_tensor(struct gguf_write *w, struct err *e)
{
	if (w->n_tensors == w->cap_tensors) {
		uint64_t cap = w->cap_tensors * 2 + 256;
		struct gguf_write_tensor *t = mem_realloc(MEM_IO, w->tensors, cap, sizeof *t, e);
		if (!t)
			return NULL;
		w->tensors = t;
		w->cap_tensors = cap;
	}
	struct gguf_write_tensor *t = &w->tensors[w->n_tensors];
	memset(t, 0, sizeof *t);
	return t;
}

int gguf_write_tensor(struct gguf_write *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                      enum dtype type, struct err *e)
{
	size_t n = strlen(name);
	uint64_t rows = 1;
	struct gguf_write_tensor *t;

	if (!n || n > MAX_NAME)
		return err_set(e, ERR_TROUBLE, "tensor %s: a name of %zu bytes, expected 1 to %d",
		               name, n, MAX_NAME);
	if (n_dims > GGUF_MAX_DIMS)
		return err_set(e, ERR_TROUBLE, "tensor %s: %u dimensions, at most %d are allowed",
		               name, n_dims, GGUF_MAX_DIMS);
	t = next_tensor(w, e);
	if (!t)
		return -1;
	t->n_dims = n_dims;
	t->type = type;
	for (unsigned d = 0; d < GGUF_MAX_DIMS; d++) {
		t->ne[d] = d < n_dims ? ne[d] : 1;
		if (!t->ne[d] || (d && __builtin_mul_overflow(rows, t->ne[d], &rows)))
			return err_set(e, ERR_TROUBLE, "tensor %s: a shape that is 0 or too large",
			               name);
	}
	if (dtype_bytes(type, rows, t->ne[0], &t->bytes, e))
		return err_in(e, "tensor %s", name);
	t->name = mem_strndup(MEM_IO, name, n, e);
	if (!t->name)
		return -1;
	w->n_tensors++;
	return 0;
}

uint64_t gguf_write_padding(const struct gguf_write *w, uint64_t i)
{
	return padded(w->tensors[i].bytes, w->alignment) - w->tensors[i].bytes;
}

/* --- header -------------------------------------------------------------------------------- */

/* Collects small writes; with no put it only counts. */
struct sink {
	gguf_write_put *put;
	void *arg;
	struct err *e;
	uint64_t total;
	size_t n;
	uint8_t buffer[4096];
};

static int flush(struct sink *s)
{
	size_t n = s->n;

	s->n = 0;
	return s->put && n ? s->put(s->arg, s->buffer, n, s->e) : 0;
}

static int put_bytes(struct sink *s, const void *p, uint64_t n)
{
	s->total += n;
	if (!s->put)
		return 0;
	if (n > sizeof s->buffer - s->n && flush(s))
		return -1;
	if (n > sizeof s->buffer)
		return s->put(s->arg, p, n, s->e);
	if (n)
		memcpy(s->buffer + s->n, p, n);
	s->n += n;
	return 0;
}

static int put_u32(struct sink *s, uint32_t v)
{
	return put_bytes(s, &v, sizeof v);
}

static int put_u64(struct sink *s, uint64_t v)
{
	return put_bytes(s, &v, sizeof v);
}

static int put_string(struct sink *s, const char *p, uint64_t n)
{
	return put_u64(s, n) || put_bytes(s, p, n) ? -1 : 0;
}

static int put_pair(struct sink *s, const struct gguf_write_kv *kv)
{
	if (put_string(s, kv->key, kv->key_n) || put_u32(s, kv->type))
		return -1;
	if (kv->type == GGUF_ARRAY && (put_u32(s, kv->element) || put_u64(s, kv->count)))
		return -1;
	return put_bytes(s, kv->data, kv->bytes);
}

static int put_info(struct sink *s, const struct gguf_write_tensor *t, uint64_t data_start)
{
	if (put_string(s, t->name, strlen(t->name)) || put_u32(s, t->n_dims))
		return -1;
	for (unsigned d = 0; d < t->n_dims; d++)
		if (put_u64(s, t->ne[d]))
			return -1;
	return put_u32(s, dtype_get(t->type)->id) || put_u64(s, t->offset - data_start) ? -1 : 0;
}

static int put_split_key(struct sink *s, const char *key, enum gguf_type type, uint32_t v)
{
	uint16_t v16 = (uint16_t)v;

	if (put_string(s, key, strlen(key)) || put_u32(s, type))
		return -1;
	return type == GGUF_U16 ? put_bytes(s, &v16, sizeof v16) : put_u32(s, v);
}

static int is_split_key(const struct gguf_write_kv *kv)
{
	return kv->key_n > 6 && !memcmp(kv->key, "split.", 6);
}

/* The split.* keys are those of this layout, never what an input had. */
static uint64_t count_pairs(const struct gguf_write *w, unsigned part)
{
	uint64_t n = w->n_parts > 1 ? 3 : 0;

	for (uint64_t i = 0; i < w->n_kv && part == 0; i++)
		n += !is_split_key(&w->kv[i]);
	if (part && gguf_write_find(w, "general.alignment"))
		n++;
	return n;
}

static int put_pairs(struct sink *s, const struct gguf_write *w, unsigned part)
{
	const struct gguf_write_kv *alignment = gguf_write_find(w, "general.alignment");

	for (uint64_t i = 0; i < w->n_kv && part == 0; i++)
		if (!is_split_key(&w->kv[i]) && put_pair(s, &w->kv[i]))
			return -1;
	if (part && alignment && put_pair(s, alignment))
		return -1;
	if (w->n_parts < 2)
		return 0;
	return put_split_key(s, "split.no", GGUF_U16, part) ||
	               put_split_key(s, "split.count", GGUF_U16, w->n_parts) ||
	               put_split_key(s, "split.tensors.count", GGUF_I32, (uint32_t)w->n_tensors)
	           ? -1
	           : 0;
}

static int put_header(struct sink *s, const struct gguf_write *w, unsigned part)
{
	static const uint8_t zeros[4096];
	const struct gguf_write_part *p = &w->parts[part];

	if (put_bytes(s, "GGUF", 4) || put_u32(s, 3) || put_u64(s, p->n) ||
	    put_u64(s, count_pairs(w, part)) || put_pairs(s, w, part))
		return -1;
	for (uint64_t i = p->first; i < p->first + p->n; i++)
		if (put_info(s, &w->tensors[i], p->header_size))
			return -1;
	while (s->put && s->total < p->header_size) {
		uint64_t n = p->header_size - s->total;
		if (put_bytes(s, zeros, n < sizeof zeros ? n : sizeof zeros))
			return -1;
	}
	return flush(s);
}

int gguf_write_header(const struct gguf_write *w, unsigned part, gguf_write_put *put, void *arg,
                      struct err *e)
{
	struct sink s = {.put = put, .arg = arg, .e = e};

	return put_header(&s, w, part);
}

/* --- layout -------------------------------------------------------------------------------- */

static int set_alignment(struct gguf_write *w, struct err *e)
{
	const struct gguf_write_kv *kv = gguf_write_find(w, "general.alignment");
	uint32_t v = 32;

	if (kv && kv->type != GGUF_U32)
		return err_set(e, ERR_TROUBLE, "general.alignment is %s, expected u32",
		               gguf_type_name(kv->type));
	if (kv)
		memcpy(&v, kv->data, sizeof v);
	if (v < 8 || v > 65536 || (v & (v - 1)))
		return err_set(e, ERR_TROUBLE,
		               "general.alignment is %u, expected a power of two from 8 to 65536",
		               v);
	w->alignment = v;
	return 0;
}

static int check_names(const struct gguf_write *w, struct err *e)
{
	struct strindex x;
	void *slots = mem_calloc(MEM_IO, 1, strindex_bytes((uint32_t)w->n_tensors), e);
	int r = -1;

	if (!slots)
		return -1;
	strindex_init(&x, slots, (uint32_t)w->n_tensors);
	for (uint32_t i = 0; i < w->n_tensors; i++) {
		const char *name = w->tensors[i].name;
		uint32_t h = strindex_hash(name, strlen(name)), at = strindex_start(&x, h), other;
		while ((other = strindex_next(&x, h, &at)) != STRINDEX_END)
			if (!strcmp(w->tensors[other].name, name)) {
				err_set(e, ERR_TROUBLE, "tensor %s is there twice", name);
				goto done;
			}
		strindex_add(&x, h, i);
	}
	r = 0;
done:
	mem_free(slots);
	return r;
}

/* Header size of a part whose tensors are known. */
static uint64_t header_bytes(const struct gguf_write *w, unsigned part)
{
	struct sink s = {0};

	put_header(&s, w, part);
	return w->parts[part].n ? padded(s.total, w->alignment) : s.total;
}

/* Bytes that tensor i adds to a part. */
static uint64_t cost(const struct gguf_write *w, uint64_t i)
{
	const struct gguf_write_tensor *t = &w->tensors[i];

	return padded(t->bytes, w->alignment) + 8 + strlen(t->name) + 4 + 8 * t->n_dims + 4 + 8;
}

static struct gguf_write_part *new_part(struct gguf_write *w, uint64_t first, struct err *e)
{
	struct gguf_write_part *p;

	if (w->n_parts == MAX_PARTS) {
		err_set(e, ERR_TROUBLE, "more than %d parts", MAX_PARTS);
		return NULL;
	}
	p = mem_realloc(MEM_IO, w->parts, w->n_parts + 1, sizeof *p, e);
	if (!p)
		return NULL;
	w->parts = p;
	p += w->n_parts++;
	*p = (struct gguf_write_part){.first = first};
	return p;
}

/* Distributes the tensors; a part takes at least one, except the first. */
static int set_parts(struct gguf_write *w, uint64_t split, struct err *e)
{
	struct gguf_write_part *p;
	uint64_t used;

	w->n_parts = 0;
	p = new_part(w, 0, e);
	if (!p)
		return -1;
	if (!split) {
		p->n = w->n_tensors;
		return 0;
	}
	/* What the header of a further part takes without infos: keys and padding. */
	const uint64_t rest = 256 + w->alignment;
	used = header_bytes(w, 0) + rest;
	for (uint64_t i = 0; i < w->n_tensors; i++) {
		if (used + cost(w, i) > split && (p->n || w->n_parts == 1)) {
			p = new_part(w, i, e);
			if (!p)
				return -1;
			used = rest;
		}
		p->n++;
		used += cost(w, i);
	}
	return 0;
}

int gguf_write_layout(struct gguf_write *w, uint64_t split, struct err *e)
{
	if (set_alignment(w, e) || check_names(w, e) || set_parts(w, split, e))
		return -1;
	for (unsigned part = 0; part < w->n_parts; part++) {
		struct gguf_write_part *p = &w->parts[part];
		p->header_size = header_bytes(w, part);
		p->size = p->header_size;
		for (uint64_t i = p->first; i < p->first + p->n; i++) {
			struct gguf_write_tensor *t = &w->tensors[i];
			t->part = part;
			t->offset = p->size;
			if (__builtin_add_overflow(p->size, t->bytes + gguf_write_padding(w, i),
			                           &p->size) ||
			    p->size > INT64_MAX)
				return err_set(e, ERR_TROUBLE,
				               "the file would be larger than 2^63 bytes");
		}
	}
	return 0;
}

char *gguf_write_part_name(const char *path, unsigned part, unsigned n, struct err *e)
{
	size_t len = strlen(path), cap = len + 40;
	size_t stem = len > 5 && !strcmp(path + len - 5, ".gguf") ? len - 5 : len;
	char *name = mem_alloc(MEM_IO, cap, e);

	if (!name)
		return NULL;
	if (n < 2)
		snprintf(name, cap, "%s", path);
	else
		snprintf(name, cap, "%.*s-%05u-of-%05u.gguf", (int)stem, path, part + 1, n);
	return name;
}

void gguf_write_free(struct gguf_write *w)
{
	for (uint64_t i = 0; i < w->n_kv; i++) {
		mem_free(w->kv[i].key);
		mem_free(w->kv[i].owned);
	}
	for (uint64_t i = 0; i < w->n_tensors; i++)
		mem_free(w->tensors[i].name);
	mem_free(w->kv);
	mem_free(w->tensors);
	mem_free(w->parts);
	memset(w, 0, sizeof *w);
}
