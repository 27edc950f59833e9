#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_layout.h"
#include "mem.h"
#include "rd.h"
#include "strindex.h"

/* Limits of a robust reader (gguf.md 9). */
#define MAX_COUNT  65536               /* tensors, pairs */
#define MAX_KEY    65535               /* bytes */
#define MAX_NAME   63                  /* bytes of a tensor's name */
#define MAX_LENGTH (UINT64_C(1) << 30) /* bytes of a string, elements of an array */
#define MAX_STREAM (UINT64_C(1) << 30) /* bytes of a header that comes from a stream */
#define MIN_PAIR   (8 + 1 + 4 + 1)     /* bytes that a metadata pair takes at least */
#define MIN_INFO   (8 + 1 + 4 + 4 + 8) /* the same for a tensor info */
#define LEAVE_STEP (UINT64_C(1) << 19) /* a mapped header is let go of in steps of this */
#define MAX_AHEAD                                                                                  \
	(UINT64_C(1) << 20) /* bytes taken at once because a stream says that they follow */
#define STREAM_STEP 65536   /* bytes that a stream's buffer grows by at least */

struct index {
	struct strindex keys, tensors;
};

/* The part that is being read; g->kv and g->tensors from these indices on are its own. */
struct reading {
	struct gguf *g;
	unsigned part;
	uint64_t first_kv, first_tensor;
	uint64_t n_kv, n_tensors; /* as the header says */
	uint64_t cap;             /* bytes that the buffer of a stream holds */
	int passing;              /* a mapped file of which only the header is wanted */
	uint64_t left;            /* bytes from its start whose pages were let go of */
};

/* Bytes of a value of fixed size; 0 for the others. */
static uint64_t fixed_size(uint32_t type)
{
	static const uint8_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

	return type < sizeof size ? size[type] : 0;
}

const char *gguf_type_name(enum gguf_type t)
{
	static const char *const name[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
	                                   "bool", "string", "array", "u64", "i64", "f64"};
	return t <= GGUF_F64 ? name[t] : "of an unknown type";
}

void gguf_warn(struct gguf *g, const char *fmt, ...)
{
	va_list ap;

	if (g->n_warnings == sizeof g->warnings / sizeof *g->warnings)
		return;
	va_start(ap, fmt);
	vsnprintf(g->warnings[g->n_warnings].text, sizeof g->warnings->text, fmt, ap);
	va_end(ap);
	g->n_warnings++;
}

/* --- what a file is ------------------------------------------------------------------------ */

struct kind {
	const char *magic;
	size_t n;
	const char *what;
};

static const struct kind kinds[] = {
    {"PK\003\004", 4,
     "this is a zip archive (a PyTorch checkpoint?); bitnet-convert needs safetensors"},
    {"\x80\002", 2, "this is a Python pickle; bitnet-convert needs safetensors"},
    {"\x80\004", 2, "this is a Python pickle; bitnet-convert needs safetensors"},
    {"\x7f"
     "ELF",
     4, "this is a program (ELF), not a model"},
    {"\x1f\x8b", 2, "this is compressed with gzip; unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "this is compressed with zstd; unpack it first"},
    {"\xfd"
     "7zXZ",
     5, "this is compressed with xz; unpack it first"},
    {"lmgg", 4, "this is an old GGML file; convert the original checkpoint again"},
    {"tjgg", 4, "this is an old GGJT file; convert the original checkpoint again"},
    {"fmgg", 4, "this is an old GGMF file; convert the original checkpoint again"},
    {"version https://git-lfs", 23, "this is a Git LFS pointer; fetch the file itself"},
    {"<!DOCTYPE", 9, "this is a web page (HTML), perhaps saved in place of the model"},
    {"<html", 5, "this is a web page (HTML), perhaps saved in place of the model"},
    {"{", 1, "this is a JSON file, not a model"},
    {"\211HDF", 4, "this is an HDF5 file; bitnet-convert needs safetensors"},
};

static int wrong_kind(const struct rd *r, struct err *e)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (r->size >= kinds[i].n && !memcmp(r->data, kinds[i].magic, kinds[i].n))
			return err_set(e, ERR_TROUBLE, "%s", kinds[i].what);
	if (r->size > 8 && r->data[8] == '{' && !r->data[6] && !r->data[7]) {
		uint64_t header;
		memcpy(&header, r->data, sizeof header);
		int cut = !r->more && le64toh(header) > r->size - 8;
		return err_set(e, cut ? ERR_SHORT : ERR_TROUBLE,
		               "this is a safetensors file%s; bitnet-convert reads those",
		               cut ? " that ends inside its header" : "");
	}
	return err_set(e, ERR_TROUBLE, "not a GGUF file: it starts with %02x %02x %02x %02x",
	               r->data[0], r->data[1], r->data[2], r->data[3]);
}

/* --- names -------------------------------------------------------------------------------- */

static int reset(struct strindex *x, uint64_t n, struct err *e)
{
	void *slots = mem_calloc(MEM_IO, 1, strindex_bytes((uint32_t)n), e);

	if (!slots)
		return -1;
	mem_free(x->slot);
	strindex_init(x, slots, (uint32_t)n);
	return 0;
}

static const struct gguf_kv *find_key(const struct gguf *g, const char *p, uint64_t n,
                                      uint32_t hash)
{
	const struct strindex *x = &((const struct index *)g->index)->keys;
	uint32_t at = strindex_start(x, hash), i;

	while ((i = strindex_next(x, hash, &at)) != STRINDEX_END)
		if (g->kv[i].key.n == n && !memcmp(g->kv[i].key.p, p, n))
			return &g->kv[i];
	return NULL;
}

static const struct gguf_tensor *find_tensor(const struct gguf *g, const char *p, uint64_t n,
                                             uint32_t hash)
{
	const struct strindex *x = &((const struct index *)g->index)->tensors;
	uint32_t at = strindex_start(x, hash), i;

	while ((i = strindex_next(x, hash, &at)) != STRINDEX_END)
		if (g->tensors[i].name.n == n && !memcmp(g->tensors[i].name.p, p, n))
			return &g->tensors[i];
	return NULL;
}

static int duplicate(const char *what, const struct gguf_str *s, struct err *e)
{
	char name[120];

	return err_set(e, ERR_TROUBLE, "%s %s is there twice", what,
	               err_quote(name, sizeof name, s->p, s->n));
}

/* Enters the keys of the part that was read; keys that an earlier part has are dropped. */
static int enter_keys(struct gguf *g, struct err *e)
{
	struct strindex *x = &((struct index *)g->index)->keys;
	uint64_t kept = 0;

	if (reset(x, g->n_kv, e))
		return -1;
	for (uint64_t i = 0; i < g->n_kv; i++) {
		const struct gguf_str *key = &g->kv[i].key;
		uint32_t hash = strindex_hash(key->p, key->n);
		const struct gguf_kv *other = find_key(g, key->p, key->n, hash);
		if (other && other->part == g->kv[i].part)
			return duplicate("key", key, e);
		if (other)
			continue;
		g->kv[kept] = g->kv[i];
		strindex_add(x, hash, (uint32_t)kept++);
	}
	g->n_kv = kept;
	return 0;
}

static int enter_tensors(struct gguf *g, struct err *e)
{
	struct strindex *x = &((struct index *)g->index)->tensors;

	if (reset(x, g->n_tensors, e))
		return -1;
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_str *name = &g->tensors[i].name;
		uint32_t hash = strindex_hash(name->p, name->n);
		if (find_tensor(g, name->p, name->n, hash))
			return duplicate("tensor", name, e);
		strindex_add(x, hash, (uint32_t)i);
	}
	return 0;
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
	size_t n = strlen(key);

	return g->n_kv ? find_key(g, key, n, strindex_hash(key, n)) : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
	size_t n = strlen(name);

	return g->n_tensors ? find_tensor(g, name, n, strindex_hash(name, n)) : NULL;
}

/* --- bytes from a stream ------------------------------------------------------------------- */

static const void *moved(const void *p, uintptr_t from, const uint8_t *to)
{
	return p ? to + ((uintptr_t)p - from) : NULL;
}

/* The header's buffer moved: so does everything that points into it. */
static void rebase(struct reading *in, uintptr_t from, const uint8_t *to)
{
	struct gguf *g = in->g;

	for (uint64_t i = in->first_kv; i < g->n_kv; i++) {
		g->kv[i].key.p = moved(g->kv[i].key.p, from, to);
		g->kv[i].data = moved(g->kv[i].data, from, to);
	}
	for (uint64_t i = in->first_tensor; i < g->n_tensors; i++)
		g->tensors[i].name.p = moved(g->tensors[i].name.p, from, to);
}

static int grow(struct rd *r, uint64_t want, struct err *e)
{
	struct reading *in = r->arg;
	struct gguf_part *part = &in->g->parts[in->part];
	uintptr_t old = (uintptr_t)part->header;

	/* In steps of what was really read, so that a wrong length takes no memory.  Room behind
	 * want is not touched. */
	uint64_t cap = in->cap + in->cap / 4 + STREAM_STEP;
	if (cap < want && want <= in->cap + MAX_AHEAD)
		cap = want;
	uint8_t *p = io_grow(part->header, in->cap, cap, e);
	if (!p)
		return -1;
	part->header_room = cap;
	part->header = p;
	in->cap = cap;
	r->data = p;
	if (old)
		rebase(in, old, p);
	return 0;
}

/* Reads what is needed now and what is known to follow, and not one byte more. */
static int more_of_stream(struct rd *r, uint64_t end, struct err *e)
{
	struct reading *in = r->arg;
	int fd = in->g->parts[in->part].fd;

	if (__builtin_add_overflow(end, r->rest, &end) || end > MAX_STREAM)
		return err_set(e, ERR_TROUBLE, "the header is longer than %llu bytes",
		               (unsigned long long)MAX_STREAM);
	while (r->size < end) {
		size_t got;
		if (r->size == in->cap && grow(r, end, e))
			return -1;
		uint64_t n = in->cap - r->size;
		if (n > end - r->size)
			n = end - r->size;
		if (io_read(fd, in->g->parts[in->part].header + r->size, n, &got, e))
			return -1;
		r->size += got;
		if (got < n)
			break;
	}
	return 0;
}

/* --- header -------------------------------------------------------------------------------- */

static int too_many(const char *what, uint64_t n, uint64_t most, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "%llu %s, at most %llu are allowed", (unsigned long long)n,
	               what, (unsigned long long)most);
}

static int read_string(struct rd *r, uint64_t most, struct gguf_str *s, const char *what,
                       struct err *e)
{
	uint64_t n;

	if (rd_u64(r, &n, what, e))
		return -1;
	if (n > most)
		return err_set(e, ERR_TROUBLE, "%s of %llu bytes, at most %llu are allowed", what,
		               (unsigned long long)n, (unsigned long long)most);
	if (rd_need(r, n, what, e))
		return -1;
	s->p = (const char *)r->data + r->pos;
	s->n = n;
	r->pos += n;
	return 0;
}

/* A vocabulary is read once, to find its end: its pages need not stay. */
static void leave_behind(const struct rd *r, struct reading *in)
{
	uint64_t end = r->pos & ~(LEAVE_STEP - 1);

	if (!in->passing || end < in->left + LEAVE_STEP)
		return;
	madvise((void *)(uintptr_t)(r->data + in->left), end - in->left, MADV_DONTNEED);
	in->left = end;
}

static int skip_strings(struct rd *r, uint64_t count, struct err *e)
{
	uint64_t rest = r->rest;
	struct gguf_str s;

	if (rd_need(r, count * 8, "an array of strings", e))
		return -1;
	for (uint64_t i = 0; i < count; i++) {
		r->rest = rest + (count - 1 - i) * 8;
		if (read_string(r, MAX_LENGTH, &s, "a string of an array", e))
			return -1;
		leave_behind(r, r->arg);
	}
	r->rest = rest;
	return 0;
}

/* Anything but 0 and 1 is tolerated with a remark: what writers meant by it is plain. */
static void check_bools(struct gguf *g, const struct gguf_kv *kv)
{
	char name[100];

	for (uint64_t i = 0; i < kv->count; i++) {
		if (kv->data[i] <= 1)
			continue;
		gguf_warn(g, "%s holds %u where 0 or 1 is expected: taken for 1",
		          err_quote(name, sizeof name, kv->key.p, kv->key.n), kv->data[i]);
		return;
	}
}

static int read_array(struct rd *r, struct gguf_kv *kv, struct err *e)
{
	uint32_t type;

	if (rd_u32(r, &type, "an array's type", e) || rd_u64(r, &kv->count, "an array's length", e))
		return -1;
	if (type == GGUF_ARRAY)
		return err_set(e, ERR_TROUBLE, "an array of arrays is not supported");
	if (type != GGUF_STRING && !fixed_size(type))
		return err_set(e, ERR_TROUBLE, "array elements of the unknown type %u", type);
	if (kv->count > MAX_LENGTH)
		return too_many("array elements", kv->count, MAX_LENGTH, e);
	kv->element = (enum gguf_type)type;
	return 0;
}

static int read_value(struct rd *r, struct gguf *g, struct gguf_kv *kv, struct err *e)
{
	uint32_t type;

	if (rd_u32(r, &type, "a value's type", e))
		return -1;
	if (type != GGUF_ARRAY && type != GGUF_STRING && !fixed_size(type))
		return err_set(e, ERR_TROUBLE, "unknown value type %u", type);
	kv->type = kv->element = (enum gguf_type)type;
	kv->count = 1;
	if (type == GGUF_ARRAY && read_array(r, kv, e))
		return -1;
	uint64_t start = r->pos;
	if (kv->element == GGUF_STRING
	        ? skip_strings(r, kv->count, e)
	        : rd_skip(r, kv->count * fixed_size(kv->element), "a value", e))
		return -1;
	kv->data = r->data + start;
	kv->bytes = r->pos - start;
	if (kv->element == GGUF_BOOL)
		check_bools(g, kv);
	return 0;
}

static int read_pair(struct rd *r, struct gguf *g, struct gguf_kv *kv, struct err *e)
{
	char name[100];

	if (read_string(r, MAX_KEY, &kv->key, "a key", e))
		return -1;
	if (!kv->key.n)
		return err_set(e, ERR_TROUBLE, "an empty key");
	if (memchr(kv->key.p, 0, kv->key.n))
		return err_set(e, ERR_TROUBLE, "key %s contains a NUL byte",
		               err_quote(name, sizeof name, kv->key.p, kv->key.n));
	if (read_value(r, g, kv, e))
		return err_in(e, "key %s", err_quote(name, sizeof name, kv->key.p, kv->key.n));
	return 0;
}

static int read_pairs(struct rd *r, struct reading *in, struct err *e)
{
	struct gguf *g = in->g;
	struct gguf_kv *kv = mem_realloc(MEM_IO, g->kv, g->n_kv + in->n_kv + 1, sizeof *kv, e);

	if (!kv)
		return -1;
	g->kv = kv;
	for (uint64_t i = 0; i < in->n_kv; i++) {
		/* Counted before it is filled, so that rebase() sees it. */
		kv = &g->kv[g->n_kv++];
		memset(kv, 0, sizeof *kv);
		kv->part = in->part;
		r->rest = (in->n_kv - 1 - i) * MIN_PAIR + in->n_tensors * MIN_INFO;
		if (read_pair(r, g, kv, e))
			return err_in(e, "metadata pair %llu", (unsigned long long)i);
	}
	return 0;
}

static int read_dims(struct rd *r, struct gguf_tensor *t, struct err *e)
{
	uint64_t n = 1;

	if (rd_u32(r, &t->n_dims, "a tensor's dimensions", e))
		return -1;
	if (t->n_dims > GGUF_MAX_DIMS)
		return too_many("dimensions", t->n_dims, GGUF_MAX_DIMS, e);
	for (unsigned d = 0; d < GGUF_MAX_DIMS; d++) {
		t->ne[d] = 1;
		if (d < t->n_dims && rd_u64(r, &t->ne[d], "a tensor's dimensions", e))
			return -1;
		if (!t->ne[d])
			return err_set(e, ERR_TROUBLE, "dimension %u is 0", d);
		if (__builtin_mul_overflow(n, t->ne[d], &n) || n > INT64_MAX)
			return err_set(e, ERR_TROUBLE,
			               "the product of the dimensions is too large");
	}
	t->cols = t->ne[0];
	t->rows = n / t->cols;
	return 0;
}

static int read_info(struct rd *r, struct gguf_tensor *t, struct err *e)
{
	char name[100];

	if (read_string(r, MAX_NAME, &t->name, "a tensor name", e))
		return -1;
	if (!t->name.n || memchr(t->name.p, 0, t->name.n))
		return err_set(e, ERR_TROUBLE, "a tensor name is empty or contains a NUL byte");
	if (read_dims(r, t, e) || rd_u32(r, &t->id, "a tensor's type", e) ||
	    rd_u64(r, &t->offset, "a tensor's offset", e))
		return err_in(e, "%s", err_quote(name, sizeof name, t->name.p, t->name.n));
	return 0;
}

static int read_infos(struct rd *r, struct reading *in, struct err *e)
{
	struct gguf *g = in->g;
	struct gguf_tensor *t =
	    mem_realloc(MEM_IO, g->tensors, g->n_tensors + in->n_tensors + 1, sizeof *t, e);

	if (!t)
		return -1;
	g->tensors = t;
	for (uint64_t i = 0; i < in->n_tensors; i++) {
		t = &g->tensors[g->n_tensors++];
		memset(t, 0, sizeof *t);
		t->part = in->part;
		r->rest = (in->n_tensors - 1 - i) * MIN_INFO;
		if (read_info(r, t, e))
			return err_in(e, "tensor %llu", (unsigned long long)i);
	}
	return 0;
}

static int read_magic(struct rd *r, struct gguf_part *part, struct err *e)
{
	if (rd_need(r, 4, "the magic", e)) {
		if (!memcmp(r->data ? (const char *)r->data : "", "GGUF", r->size))
			return -1;
		return err_set(e, ERR_TROUBLE, "not a GGUF file: %llu bytes long",
		               (unsigned long long)r->size);
	}
	if (memcmp(r->data, "GGUF", 4)) {
		/* Enough to tell other kinds of files apart; that it may be short is no news. */
		struct err ignored = {0};
		rd_need(r, 24, "a header", &ignored);
		return wrong_kind(r, e);
	}
	r->pos = 4;
	if (rd_u32(r, &part->version, "the version", e))
		return -1;
	/* 3 read in the other byte order is 0x03000000 (gguf.md 8). */
	if (!(part->version & 0xffff)) {
		part->swapped = r->swapped = 1;
		part->version = __builtin_bswap32(part->version);
	}
	if (part->version == 1)
		return err_set(e, ERR_TROUBLE,
		               "GGUF version 1 is not supported; convert the original "
		               "checkpoint again");
	if (part->version != 2 && part->version != 3)
		return err_set(e, ERR_TROUBLE, "GGUF version %u, expected 2 or 3", part->version);
	return 0;
}

static int read_counts(struct rd *r, struct reading *in, struct err *e)
{
	if (rd_u64(r, &in->n_tensors, "the header", e) || rd_u64(r, &in->n_kv, "the header", e))
		return -1;
	/* For all parts together. */
	if (in->n_tensors > MAX_COUNT - in->first_tensor)
		return too_many("tensors", in->n_tensors, MAX_COUNT - in->first_tensor, e);
	if (in->n_kv > MAX_COUNT - in->first_kv)
		return too_many("metadata pairs", in->n_kv, MAX_COUNT - in->first_kv, e);
	return rd_need(r, in->n_kv * MIN_PAIR + in->n_tensors * MIN_INFO, "the metadata", e);
}

/* A key of the part that is being read. */
static const struct gguf_kv *own_key(const struct reading *in, const char *key)
{
	size_t n = strlen(key);

	for (uint64_t i = in->first_kv; i < in->g->n_kv; i++) {
		const struct gguf_kv *kv = &in->g->kv[i];
		if (kv->key.n == n && !memcmp(kv->key.p, key, n))
			return kv;
	}
	return NULL;
}

static int read_alignment(const struct reading *in, uint64_t *alignment, struct err *e)
{
	const struct gguf_kv *kv = own_key(in, "general.alignment");
	uint64_t v = 32;

	if (kv && kv->type != GGUF_U32)
		return err_set(e, ERR_TROUBLE, "general.alignment is %s, expected u32",
		               gguf_type_name(kv->type));
	if (kv && gguf_array_u64(in->g, kv, 0, &v, e))
		return -1;
	if (v < 8 || v > 65536 || (v & (v - 1)))
		return err_set(e, ERR_TROUBLE,
		               "general.alignment is %llu, expected a power of two from 8 to 65536",
		               (unsigned long long)v);
	*alignment = v;
	return 0;
}

/* The zeros in front of the data section belong to the header; without tensors there are none. */
static int read_padding(struct rd *r, struct reading *in, struct err *e)
{
	struct gguf_part *part = &in->g->parts[in->part];
	uint64_t end = (r->pos + part->alignment - 1) & ~(part->alignment - 1);

	part->header_size = in->n_tensors ? end : r->pos;
	r->rest = 0;
	return in->n_tensors ? rd_need(r, end - r->pos, "the padding behind the header", e) : 0;
}

static int read_header(struct rd *r, struct reading *in, struct err *e)
{
	struct gguf_part *part = &in->g->parts[in->part];

	if (read_magic(r, part, e) || read_counts(r, in, e) || read_pairs(r, in, e) ||
	    read_infos(r, in, e) || read_alignment(in, &part->alignment, e))
		return -1;
	return read_padding(r, in, e);
}

/* --- parts --------------------------------------------------------------------------------- */

struct split {
	uint64_t no, count, tensors; /* count 0: not a split file; tensors UINT64_MAX: not told */
};

static int split_value(const struct reading *in, const char *key, uint64_t *v, struct err *e)
{
	const struct gguf_kv *kv = own_key(in, key);

	return kv ? gguf_array_u64(in->g, kv, 0, v, e) : 0;
}

static int read_split(const struct reading *in, struct split *s, struct err *e)
{
	*s = (struct split){.tensors = UINT64_MAX};
	if (split_value(in, "split.count", &s->count, e) ||
	    split_value(in, "split.no", &s->no, e) ||
	    split_value(in, "split.tensors.count", &s->tensors, e))
		return -1;
	if (s->count > 65535)
		return too_many("parts (split.count)", s->count, 65535, e);
	if (s->count && s->no >= s->count)
		return err_set(e, ERR_TROUBLE, "split.no is %llu, but split.count is %llu",
		               (unsigned long long)s->no, (unsigned long long)s->count);
	return 0;
}

/* Reads part i from r and enters its names. */
static int add_part(struct gguf *g, unsigned i, struct rd *r, unsigned flags, struct split *s,
                    struct err *e)
{
	struct reading in = {.g = g, .part = i, .first_kv = g->n_kv, .first_tensor = g->n_tensors};

	r->arg = &in;
	in.passing = (flags & GGUF_HEADER_ONLY) && g->parts[i].map.open;
	int failed = read_header(r, &in, e) || read_split(&in, s, e);
	r->arg = NULL;
	if (failed)
		return -1;
	return enter_keys(g, e) || enter_tensors(g, e) ? -1 : 0;
}

static int room_for_parts(struct gguf *g, unsigned n, struct err *e)
{
	struct gguf_part *p = mem_realloc(MEM_IO, g->parts, n, sizeof *p, e);

	if (!p)
		return -1;
	memset(p + g->n_parts, 0, (n - g->n_parts) * sizeof *p);
	for (unsigned i = g->n_parts; i < n; i++)
		p[i].fd = -1;
	g->parts = p;
	g->n_parts = n;
	return 0;
}

static int open_part(struct gguf *g, unsigned i, const char *path, unsigned flags, struct split *s,
                     struct err *e)
{
	struct gguf_part *part = &g->parts[i];

	part->path = mem_strndup(MEM_IO, path, strlen(path), e);
	if (!part->path || io_map(&part->map, path, e))
		return -1;
	part->size = part->map.size;
	struct rd r = {.data = part->map.data, .size = part->map.size};
	return add_part(g, i, &r, flags, s, e);
}

static int begin(struct gguf *g, struct err *e)
{
	memset(g, 0, sizeof *g);
	g->index = mem_calloc(MEM_IO, 1, sizeof(struct index), e);
	return g->index && !room_for_parts(g, 1, e) ? 0 : -1;
}

/* PREFIX-00002-of-00003.gguf: the length of PREFIX, or an error. */
static int prefix_of(const char *path, const struct split *s, size_t *prefix, struct err *e)
{
	char tail[40];
	size_t n = strlen(path);
	int len = snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", (unsigned)s->no + 1,
	                   (unsigned)s->count);

	if (n < (size_t)len || strcmp(path + n - (size_t)len, tail))
		return err_set(
		    e, ERR_TROUBLE,
		    "this is part %llu of %llu of a split file, but its name does not end in %s",
		    (unsigned long long)s->no + 1, (unsigned long long)s->count, tail);
	*prefix = n - (size_t)len;
	return 0;
}

static int open_sibling(struct gguf *g, unsigned i, const char *path, const struct split *whole,
                        unsigned flags, struct err *e)
{
	struct split s;

	if (open_part(g, i, path, flags, &s, e)) {
		if (!g->parts[i].map.open && errno == ENOENT && e)
			e->status = ERR_SHORT;
		return err_in(e, "%s", path);
	}
	if (s.count != whole->count || s.no != i)
		return err_set(e, ERR_TROUBLE, "%s: split.no is %llu of %llu, expected %u of %llu",
		               path, (unsigned long long)s.no, (unsigned long long)s.count, i,
		               (unsigned long long)whole->count);
	return 0;
}

/* One part of several was opened: starts again with the first one and opens all. */
static int open_all(struct gguf *g, const char *path, const struct split *s, unsigned flags,
                    struct err *e)
{
	size_t prefix = 0, cap = strlen(path) + 1;
	char *name = NULL;
	int r = -1;

	if (prefix_of(path, s, &prefix, e))
		return -1;
	gguf_close(g);
	name = mem_strndup(MEM_IO, path, cap - 1, e);
	if (!name || begin(g, e) || room_for_parts(g, (unsigned)s->count, e))
		goto done;
	for (unsigned i = 0; i < s->count; i++) {
		snprintf(name + prefix, cap - prefix, "-%05u-of-%05u.gguf", i + 1,
		         (unsigned)s->count);
		if (open_sibling(g, i, name, s, flags, e))
			goto done;
	}
	if (s->tensors != UINT64_MAX && s->tensors != g->n_tensors) {
		err_set(e, ERR_TROUBLE, "split.tensors.count is %llu, but the parts hold %llu",
		        (unsigned long long)s->tensors, (unsigned long long)g->n_tensors);
		goto done;
	}
	r = 0;
done:
	mem_free(name);
	return r;
}

static int open_stream(struct gguf *g, const char *path, unsigned flags, struct err *e)
{
	struct gguf_part *part = &g->parts[0];
	struct rd r = {.more = more_of_stream};
	struct split s;

	part->path = mem_strndup(MEM_IO, path, strlen(path), e);
	if (!part->path || io_open(path, &part->fd, e) || add_part(g, 0, &r, flags, &s, e))
		return -1;
	if (s.count > 1 && !(flags & GGUF_NO_SIBLINGS))
		return err_set(
		    e, ERR_TROUBLE,
		    "this is part %llu of %llu of a split file: name a file instead of a stream",
		    (unsigned long long)s.no + 1, (unsigned long long)s.count);
	return 0;
}

static int is_stream(const char *path)
{
	struct stat st;

	return !strcmp(path, "-") ||
	       (!stat(path, &st) && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)));
}

static int open_files(struct gguf *g, const char *path, unsigned flags, struct err *e)
{
	struct split s;

	if (open_part(g, 0, path, flags, &s, e))
		return -1;
	if (s.count > 1 && !(flags & GGUF_NO_SIBLINGS))
		return open_all(g, path, &s, flags, e);
	return 0;
}

int gguf_open(struct gguf *g, const char *path, unsigned flags, struct err *e)
{
	if (begin(g, e) ||
	    (!(flags & GGUF_FILES_ONLY) && is_stream(path) ? open_stream(g, path, flags, e)
	                                                   : open_files(g, path, flags, e)) ||
	    gguf_layout(g, flags, e)) {
		gguf_close(g);
		return -1;
	}
	return 0;
}

int gguf_parse(struct gguf *g, const uint8_t *data, uint64_t n, unsigned flags, struct err *e)
{
	struct rd r = {.data = data, .size = n};
	struct split s;

	if (begin(g, e))
		goto fail;
	g->parts[0].map.data = data;
	g->parts[0].size = g->parts[0].map.size = n;
	if (add_part(g, 0, &r, flags, &s, e) || gguf_layout(g, flags, e))
		goto fail;
	return 0;
fail:
	gguf_close(g);
	return -1;
}

void gguf_close(struct gguf *g)
{
	struct index *x = g->index;

	for (unsigned i = 0; i < g->n_parts; i++) {
		if (g->parts[i].map.open)
			io_unmap(&g->parts[i].map);
		if (g->parts[i].fd > STDIN_FILENO)
			close(g->parts[i].fd);
		io_drop(g->parts[i].header, g->parts[i].header_room);
		mem_free(g->parts[i].path);
	}
	if (x) {
		mem_free(x->keys.slot);
		mem_free(x->tensors.slot);
	}
	mem_free(x);
	mem_free(g->parts);
	mem_free(g->kv);
	mem_free(g->tensors);
	memset(g, 0, sizeof *g);
}
