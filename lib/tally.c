#include "tally.h"

#include <string.h>

#include "mem.h"

const char *tally_group_name(enum tally_group g)
{
	static const char *const name[TALLY_GROUPS] = {"embedding", "attention", "feed-forward",
	                                               "norms",     "output",    "other"};
	return name[g];
}

static int has(const struct gguf_str *s, const char *part)
{
	return memmem(s->p, s->n, part, strlen(part)) != NULL;
}

enum tally_group tally_group_of(const struct gguf_tensor *t)
{
	const struct gguf_str *s = &t->name;

	if (has(s, "_embd") || has(s, "embed"))
		return TALLY_EMBEDDING;
	if (has(s, "norm") && t->rows == 1)
		return TALLY_NORMS;
	if (has(s, ".attn_") || has(s, ".ssm_") || has(s, ".time_mix") || has(s, ".shortconv"))
		return TALLY_ATTENTION;
	if (has(s, ".ffn_") || has(s, ".channel_mix"))
		return TALLY_FEED_FORWARD;
	if (s->n >= 6 && !memcmp(s->p, "output", 6))
		return TALLY_OUTPUT;
	return TALLY_OTHER;
}

int tally_layer_of(const struct gguf_tensor *t)
{
	const struct gguf_str *s = &t->name;
	int v = 0;

	if (s->n < 6 || memcmp(s->p, "blk.", 4) != 0 || s->p[4] < '0' || s->p[4] > '9')
		return -1;
	for (uint64_t i = 4; i < s->n && s->p[i] >= '0' && s->p[i] <= '9' && v < 1000000; i++)
		v = v * 10 + (s->p[i] - '0');
	return v;
}

int tally_is_matrix(const struct gguf_tensor *t)
{
	enum tally_group g = tally_group_of(t);
	const struct gguf_str *s = &t->name;

	return (g == TALLY_ATTENTION || g == TALLY_FEED_FORWARD) && t->rows > 1 && s->n > 7 &&
	       !memcmp(s->p + s->n - 7, ".weight", 7) && !has(s, "_inp") && !has(s, "conv");
}

/* Bits of codes per element: what a type needs at least for a ternary weight in its packing. */
static double code_bits(enum dtype t)
{
	switch (t) {
	case DTYPE_TQ1_0:
	case DTYPE_PTQ1_0:
	case DTYPE_IQ1_BN:
		return 1.6; /* 5 in a byte */
	case DTYPE_TL2:
		return 5.0 / 3; /* 3 in 5 bits */
	default:
		return 2;
	}
}

static uint64_t code_bytes(const struct gguf_tensor *t)
{
	uint64_t n = (uint64_t)((double)(t->rows * t->cols) * code_bits(t->type) / 8);

	return n < t->bytes ? n : t->bytes;
}

/* The table of one token's products: TL1 has 16 sums of 2 bytes for each 2 inputs, TL2 for each 3.
 */
static uint64_t lookup_bytes(const struct gguf_tensor *t)
{
	if (t->type == DTYPE_TL1)
		return t->cols / 2 * 16 * 2;
	return t->type == DTYPE_TL2 ? (t->cols + 2) / 3 * 16 * 2 : 0;
}

static void add(struct tally_sum *s, const struct gguf_tensor *t)
{
	s->tensors++;
	s->elements += t->rows * t->cols;
	s->bytes += t->bytes;
}

static uint64_t aligned(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* What the files are by their headers: each data section ends behind its last tensor. */
static void add_files(struct tally *t, const struct gguf *g)
{
	for (unsigned p = 0; p < g->n_parts; p++) {
		const struct gguf_part *part = &g->parts[p];
		uint64_t end = part->header_size;
		for (uint64_t i = 0; i < g->n_tensors; i++) {
			const struct gguf_tensor *x = &g->tensors[i];
			if (x->part == p && x->offset + x->bytes > end)
				end = x->offset + x->bytes;
		}
		end = aligned(end - part->header_size, part->alignment) + part->header_size;
		t->header_bytes += part->header_size;
		t->data_bytes += end - part->header_size;
		if (part->size > end)
			t->longer += part->size - end;
	}
	t->file_bytes = t->header_bytes + t->data_bytes;
}

void tally_make(struct tally *t, const struct gguf *g)
{
	memset(t, 0, sizeof *t);
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *x = &g->tensors[i];
		uint64_t table = lookup_bytes(x);
		add(&t->all, x);
		add(&t->type[x->type], x);
		add(&t->group[tally_group_of(x)], x);
		if (dtype_get(x->type)->ternary) {
			add(&t->ternary, x);
			t->overhead[x->type] += x->bytes - code_bytes(x);
		}
		if (table > t->lookup[x->type])
			t->lookup[x->type] = table;
	}
	add_files(t, g);
	t->padding = t->data_bytes - (t->all.bytes < t->data_bytes ? t->all.bytes : t->data_bytes);
}

/* Offsets as a writer would give them, so that the data sections have their new sizes. */
static void lay_out(struct gguf *g)
{
	for (unsigned p = 0; p < g->n_parts; p++) {
		uint64_t at = g->parts[p].header_size;
		for (uint64_t i = 0; i < g->n_tensors; i++) {
			struct gguf_tensor *t = &g->tensors[i];
			if (t->part != p)
				continue;
			t->offset = at;
			at += aligned(t->bytes, g->parts[p].alignment);
		}
		g->parts[p].size = 0;
	}
}

/* Returns 1 when the tensor cannot have the type. */
static int retype(struct gguf_tensor *t, enum dtype type, enum dtype embed)
{
	enum tally_group group = tally_group_of(t);
	int table = (group == TALLY_EMBEDDING || group == TALLY_OUTPUT) && t->rows > 1;
	enum dtype to = table ? embed : tally_is_matrix(t) ? type : DTYPE_NONE;
	uint64_t bytes;

	t->data = NULL;
	if (!to || to == t->type)
		return 0;
	if (dtype_bytes(to, t->rows, t->cols, &bytes, NULL) || (to == DTYPE_I2_S && t->cols % 128))
		return 1;
	t->type = to;
	t->bytes = bytes;
	return 0;
}

int tally_view(struct gguf *view, const struct gguf *g, enum dtype type, enum dtype embed,
               unsigned *refused, struct err *e)
{
	*view = *g;
	*refused = 0;
	view->tensors = mem_calloc(MEM_IO, g->n_tensors + 1, sizeof *g->tensors, e);
	view->parts = mem_calloc(MEM_IO, g->n_parts, sizeof *g->parts, e);
	if (!view->tensors || !view->parts) {
		tally_view_end(view);
		return -1;
	}
	memcpy(view->tensors, g->tensors, g->n_tensors * sizeof *g->tensors);
	memcpy(view->parts, g->parts, g->n_parts * sizeof *g->parts);
	for (uint64_t i = 0; i < view->n_tensors; i++)
		*refused += (unsigned)retype(&view->tensors[i], type, embed);
	lay_out(view);
	return 0;
}

void tally_view_end(struct gguf *view)
{
	mem_free(view->tensors);
	mem_free(view->parts);
	memset(view, 0, sizeof *view);
}
