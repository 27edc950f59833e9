#include "gguf_layout.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* Ids that several programs gave different meanings, and what was found out in this file. */
static const uint32_t shared_ids[] = {36, 38, 39, 42};
#define N_SHARED (sizeof shared_ids / sizeof *shared_ids)

static const char *quoted(char *out, size_t cap, const struct gguf_tensor *t)
{
	return err_quote(out, cap, t->name.p, t->name.n);
}

/* --- order and room ------------------------------------------------------------------------ */

static int by_offset(const void *a, const void *b, void *tensors)
{
	const struct gguf_tensor *t = tensors;
	const struct gguf_tensor *x = &t[*(const uint32_t *)a], *y = &t[*(const uint32_t *)b];

	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Tensors by part and offset. */
static uint32_t *sorted(const struct gguf *g, struct err *e)
{
	uint32_t *order = mem_alloc(MEM_IO, (g->n_tensors + 1) * sizeof *order, e);

	if (!order)
		return NULL;
	for (uint64_t i = 0; i < g->n_tensors; i++)
		order[i] = (uint32_t)i;
	qsort_r(order, g->n_tensors, sizeof *order, by_offset, g->tensors);
	return order;
}

/* Sets room: up to the next payload, or for the last one what the file still holds, 0 when that is
 * not known (stream) or less than any reading of the type needs (data left out). */
static void set_room(struct gguf *g, const uint32_t *order)
{
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		struct gguf_tensor *t = &g->tensors[order[i]];
		const struct gguf_part *part = &g->parts[t->part];
		const struct gguf_tensor *next =
		    i + 1 < g->n_tensors ? &g->tensors[order[i + 1]] : NULL;
		if (next && next->part == t->part) {
			t->room = next->offset - t->offset;
			continue;
		}
		uint64_t data = part->size > part->header_size ? part->size - part->header_size : 0;
		t->room = data > t->offset ? data - t->offset : 0;
	}
}

/* --- types --------------------------------------------------------------------------------- */

/* Whether a payload of these bytes and its padding are what the tensor's room is for. */
static int fits(const struct gguf *g, const struct gguf_tensor *t, uint64_t bytes)
{
	uint64_t alignment = g->parts[t->part].alignment;

	return t->room >= bytes && t->room < bytes + alignment && bytes < UINT64_MAX - alignment;
}

static int unknown_type(const struct gguf_tensor *t, struct err *e)
{
	char name[100];
	uint32_t id = t->id;
	int removed = id == 4 || id == 5 || (id >= 31 && id <= 33);

	return err_set(e, ERR_TROUBLE, "tensor %s: %s tensor type %u", quoted(name, sizeof name, t),
	               removed ? "removed" : "unknown", id);
}

/* The reading that was chosen, or the only one. */
static int set_type(struct gguf_tensor *t, enum dtype type, struct err *e)
{
	char name[100];

	t->type = type;
	if (dtype_bytes(type, t->rows, t->cols, &t->bytes, e))
		return err_in(e, "tensor %s", quoted(name, sizeof name, t));
	return 0;
}

/* The readings whose size is what the tensor has room for; DTYPE_NONE unless exactly one. */
static enum dtype reading_by_room(const struct gguf *g, const struct gguf_tensor *t)
{
	enum dtype all[4], found = DTYPE_NONE;
	int n = dtype_of_id(t->id, all);
	uint64_t bytes;

	for (int i = 0; i < n; i++) {
		struct err ignored = {0};
		if (dtype_bytes(all[i], t->rows, t->cols, &bytes, &ignored) || !fits(g, t, bytes))
			continue;
		if (found)
			return DTYPE_NONE;
		found = all[i];
	}
	return found;
}

/* What is known where no size decides: ids 36 and 38 had their other meaning for some weeks only;
 * file_type and the architecture, neither of which is proof (gguf.md 4.4). */
static enum dtype reading_by_metadata(const struct gguf *g, uint32_t id)
{
	struct err ignored = {0};
	struct gguf_str arch;
	uint64_t file_type;

	if (id == 36 || id == 38)
		return id == 36 ? DTYPE_I2_S : DTYPE_TL1;
	if (id != 39)
		return DTYPE_NONE;
	if (!gguf_get_u64(g, "general.file_type", &file_type, &ignored)) {
		if ((file_type & 1023) == 39)
			return DTYPE_TL2;
		if ((file_type & 1023) == 38)
			return DTYPE_MXFP4;
	}
	if (!gguf_get_str(g, "general.architecture", &arch, &ignored) && arch.n >= 6 &&
	    !memcmp(arch.p, "bitnet", 6))
		return DTYPE_TL2;
	return DTYPE_NONE;
}

static int undecided(const struct gguf_tensor *t, struct err *e)
{
	enum dtype all[4];
	char name[100];

	dtype_of_id(t->id, all);
	return err_set(
	    e, ERR_TROUBLE,
	    "tensor %s: type %u means %s to some programs and %s to others, and its size "
	    "does not tell which",
	    quoted(name, sizeof name, t), t->id, dtype_get(all[0])->name, dtype_get(all[1])->name);
}

/* One meaning of the id for the whole file: the sizes decide, and they must agree. */
static int decide(struct gguf *g, uint32_t id, enum dtype *meaning, struct err *e)
{
	const struct gguf_tensor *some = NULL;
	char name[100];

	*meaning = DTYPE_NONE;
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];
		if (t->id != id)
			continue;
		some = t;
		enum dtype r = reading_by_room(g, t);
		if (r && *meaning && r != *meaning)
			return err_set(
			    e, ERR_TROUBLE,
			    "tensor %s: type %u has the size of %s here and of %s elsewhere",
			    quoted(name, sizeof name, t), id, dtype_get(r)->name,
			    dtype_get(*meaning)->name);
		if (r)
			*meaning = r;
	}
	if (!some)
		return 0;
	const char *by = *meaning ? "the tensors' sizes" : "the metadata";
	if (!*meaning)
		*meaning = reading_by_metadata(g, id);
	if (!*meaning)
		return undecided(some, e);
	/* The usual meaning of these needs no remark wherever a file is opened. */
	if (*meaning == DTYPE_I2_S || *meaning == DTYPE_TL1)
		return 0;
	gguf_warn(g, "type %u has several meanings: taken for %s by %s", id,
	          dtype_get(*meaning)->name, by);
	return 0;
}

static int set_types(struct gguf *g, struct err *e)
{
	enum dtype meaning[N_SHARED], all[4];

	for (size_t s = 0; s < N_SHARED; s++)
		if (decide(g, shared_ids[s], &meaning[s], e))
			return -1;
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		struct gguf_tensor *t = &g->tensors[i];
		if (!dtype_of_id(t->id, all))
			return unknown_type(t, e);
		for (size_t s = 0; s < N_SHARED; s++)
			if (t->id == shared_ids[s])
				all[0] = meaning[s];
		if (set_type(t, all[0], e))
			return -1;
	}
	return 0;
}

/* --- places -------------------------------------------------------------------------------- */

/* No file with another byte order and one of these exists, so how their scales would be stored is
 * not known. */
static int check_order(const struct gguf *g, const struct gguf_tensor *t, struct err *e)
{
	char name[100];

	if (!g->parts[t->part].swapped ||
	    (t->type != DTYPE_I2_S && t->type != DTYPE_TL1 && t->type != DTYPE_TL2))
		return 0;
	return err_set(e, ERR_TROUBLE, "tensor %s: %s in a file of the other byte order",
	               quoted(name, sizeof name, t), dtype_get(t->type)->name);
}

/* From an offset in the data section to one in the file; notes what is missing. */
static int place(struct gguf *g, struct gguf_tensor *t, unsigned flags, struct err *e)
{
	const struct gguf_part *part = &g->parts[t->part];
	uint64_t end;
	char name[100];

	if (t->offset % part->alignment)
		return err_set(e, ERR_TROUBLE,
		               "tensor %s: offset %llu is not a multiple of the alignment %llu",
		               quoted(name, sizeof name, t), (unsigned long long)t->offset,
		               (unsigned long long)part->alignment);
	if (__builtin_add_overflow(t->offset, part->header_size, &t->offset) ||
	    __builtin_add_overflow(t->offset, t->bytes, &end) || end > INT64_MAX)
		return err_set(e, ERR_TROUBLE, "tensor %s: its place in the file is beyond 2^63",
		               quoted(name, sizeof name, t));
	if (!part->size)
		return 0;
	if (end <= part->size) {
		t->data = part->map.data + t->offset;
		return 0;
	}
	if (!(flags & GGUF_HEADER_ONLY))
		return err_set(e, ERR_SHORT,
		               "tensor %s: ends at byte %llu, but the file has %llu bytes",
		               quoted(name, sizeof name, t), (unsigned long long)end,
		               (unsigned long long)part->size);
	g->data_missing += part->size > t->offset ? end - part->size : t->bytes;
	return 0;
}

static int check_overlap(const struct gguf_tensor *t, const struct gguf_tensor *next, struct err *e)
{
	char a[100], b[100];

	if (t->part != next->part || t->offset + t->bytes <= next->offset)
		return 0;
	return err_set(e, ERR_TROUBLE, "tensors %s and %s overlap", quoted(a, sizeof a, t),
	               quoted(b, sizeof b, next));
}

static int set_places(struct gguf *g, const uint32_t *order, unsigned flags, struct err *e)
{
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		struct gguf_tensor *t = &g->tensors[order[i]];
		if (check_order(g, t, e) || place(g, t, flags, e) ||
		    (i && check_overlap(&g->tensors[order[i - 1]], t, e)))
			return -1;
		/* What the file holds is no room when the payload is not there. */
		if (t->room < t->bytes)
			t->room = 0;
	}
	return 0;
}

int gguf_layout(struct gguf *g, unsigned flags, struct err *e)
{
	uint32_t *order = sorted(g, e);
	int r = -1;

	if (!order)
		return -1;
	set_room(g, order);
	if (!set_types(g, e) && !set_places(g, order, flags, e))
		r = 0;
	if (!r && g->data_missing)
		gguf_warn(g, "%llu bytes of tensor data are missing",
		          (unsigned long long)g->data_missing);
	mem_free(order);
	return r;
}
