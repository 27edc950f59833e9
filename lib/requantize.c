#include "requantize.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "blocks.h"
#include "mem.h"

/* What users say. */

int requantize_type_parse(struct requantize_type *t, const char *name, struct err *e)
{
	t->kind = ternary_find(name);
	t->type = t->kind != TERNARY_NONE ? ternary_dtype(t->kind) : dtype_find(name);
	if (t->type == DTYPE_NONE && t->kind == TERNARY_NONE)
		return err_set(e, ERR_TROUBLE, "'%s' is not a type", name);
	if (t->kind == TERNARY_NONE && !blocks_writable(t->type))
		return err_set(e, ERR_TROUBLE, "type %s cannot be written",
		               dtype_get(t->type)->name);
	return 0;
}

int requantize_rule_add(struct requantize_options *o, const char *text, struct err *e)
{
	struct requantize_rule *r = &o->rules[o->n_rules];
	const char *eq = strrchr(text, '=');

	if (o->n_rules == REQUANTIZE_RULES)
		return err_set(e, ERR_TROUBLE, "more than %d rules", REQUANTIZE_RULES);
	if (!eq || eq == text || (size_t)(eq - text) >= sizeof r->pattern)
		return err_set(e, ERR_TROUBLE, "'%s' is not PATTERN=TYPE", text);
	memcpy(r->pattern, text, (size_t)(eq - text));
	r->pattern[eq - text] = 0;
	if (requantize_type_parse(&r->to, eq + 1, e))
		return -1;
	o->n_rules++;
	return 0;
}

static struct requantize_type wanted(const struct requantize_options *o,
                                     const struct gguf_tensor *t, const char *name)
{
	for (unsigned i = 0; i < o->n_rules; i++)
		if (fnmatch(o->rules[i].pattern, name, 0) == 0)
			return o->rules[i].to;
	if (!strcmp(name, "token_embd.weight"))
		return o->embed;
	if (!strcmp(name, "output.weight"))
		return o->output;
	if (retype_gguf_is_ternary_role(t))
		return o->matrices;
	return (struct requantize_type){0};
}

/* The layout that all I2_S tensors of the result have: the one asked for, if any is asked for. */
static enum ternary_kind i2s_of(const struct requantize_options *o)
{
	const struct requantize_type *all[] = {&o->matrices, &o->embed, &o->output};

	for (size_t i = 0; i < 3; i++)
		if (all[i]->type == DTYPE_I2_S)
			return all[i]->kind;
	for (unsigned i = 0; i < o->n_rules; i++)
		if (o->rules[i].to.type == DTYPE_I2_S)
			return o->rules[i].to.kind;
	return TERNARY_NONE;
}

/* Targets. */

static int target_form(struct retype_form *f, struct requantize_type to,
                       const struct gguf_tensor *t, const struct retype_hints *h, struct err *e)
{
	const struct ternary_tile *hint = retype_hints_find(h, t->rows, t->cols);
	struct ternary_tile tile;

	if (to.kind == TERNARY_HF_U8)
		return err_set(e, ERR_TROUBLE, "GGUF files have no type hf_u8");
	if (to.kind == TERNARY_NONE)
		return retype_form(f, to.type, t->rows, t->cols, NULL, e);
	if (to.kind == TERNARY_TL1 || to.kind == TERNARY_TL2) {
		if (hint)
			tile = *hint;
		else if (ternary_choose(to.kind, t->rows, t->cols, &tile, e))
			return -1;
	}
	return retype_form_ternary(f, to.kind, t->rows, t->cols, &tile, e);
}

/* Scales of 16 bits would lose what a .scale tensor keeps beside them. */
static int folds(const struct requantize_tensor *q)
{
	const struct ternary *t = &q->dst.form.ternary;

	return t->kind == TERNARY_NONE || ternary_stored(t, 0x1.fffffep0f) == 0x1.fffffep0f;
}

static int fold(struct requantize_tensor *q, const struct gguf *g, const struct gguf_tensor **scale,
                struct err *e)
{
	float factor;

	*scale = NULL;
	if (!q->changes || !folds(q))
		return 0;
	if (retype_gguf_factor(g, q->t, scale, &factor, e))
		return -1;
	q->folded = *scale != NULL;
	q->src.factor = factor;
	return 0;
}

static int same(const struct retype_form *a, const struct retype_form *b)
{
	return a->type == b->type && a->ternary.kind == b->ternary.kind &&
	       !memcmp(&a->ternary.tile, &b->ternary.tile, sizeof a->ternary.tile);
}

static int plan_tensor(struct requantize_tensor *q, const struct gguf *g,
                       const struct requantize_options *o, const char *name, int *assumed,
                       const struct gguf_tensor **scale, struct err *e)
{
	struct requantize_type to = wanted(o, q->t, name);
	enum ternary_kind i2s = i2s_of(o);

	if (retype_gguf_source(&q->src, g, q->t, &o->hints, assumed, e))
		return -1;
	q->dst.rule = o->rule;
	q->dst.lossless = o->lossless;
	q->dst.brief = o->brief;
	q->dst.form = q->src.form;
	if (to.type == DTYPE_NONE && to.kind == TERNARY_NONE && q->t->type == DTYPE_I2_S &&
	    i2s != TERNARY_NONE)
		to = (struct requantize_type){DTYPE_I2_S, i2s};
	if ((to.type != DTYPE_NONE || to.kind != TERNARY_NONE) &&
	    target_form(&q->dst.form, to, q->t, &o->hints, e))
		return -1;
	/* A tiling that is there is as good as another, unless it was asked for. */
	if (to.kind != TERNARY_NONE && to.kind == q->src.form.ternary.kind &&
	    !retype_hints_find(&o->hints, q->t->rows, q->t->cols))
		q->dst.form = q->src.form;
	q->changes = !same(&q->src.form, &q->dst.form) || q->src.swapped;
	return fold(q, g, scale, e);
}

/* Names of tensors come from files: for messages they are made printable. */
static const char *name_of(const struct gguf_tensor *t, char out[96])
{
	return err_quote(out, 96, t->name.p, (size_t)t->name.n);
}

static int plan_tensors(struct requantize *q, const struct requantize_options *o, uint8_t *dropped,
                        struct err *e)
{
	const struct gguf *g = q->g;
	char name[96];

	for (uint64_t i = 0; i < g->n_tensors; i++) {
		struct requantize_tensor *r = &q->tensors[i];
		const struct gguf_tensor *scale;

		r->t = &g->tensors[i];
		if (plan_tensor(r, g, o, name_of(r->t, name), &q->assumed, &scale, e))
			return err_in(e, "tensor %s", name);
		if (scale)
			dropped[scale - g->tensors] = 1;
	}
	for (uint64_t i = 0; i < g->n_tensors; i++)
		if (!dropped[i])
			q->tensors[q->n++] = q->tensors[i];
	return 0;
}

/* Metadata. */

static int write_marks(struct requantize *q, struct err *e)
{
	enum ternary_kind i2s = TERNARY_NONE;

	gguf_write_delete(&q->w, TERNARY_KEY_TL1);
	gguf_write_delete(&q->w, TERNARY_KEY_TL2);
	for (uint64_t i = 0; i < q->n; i++) {
		const struct ternary *t = &q->tensors[i].dst.form.ternary;

		if (ternary_dtype(t->kind) == DTYPE_I2_S)
			i2s = t->kind;
		if (retype_gguf_mark_tile(&q->w, t, e))
			return -1;
	}
	return retype_gguf_mark_i2s(&q->w, i2s, e);
}

static int write_file_type(struct requantize *q, enum dtype type, struct err *e)
{
	int file_type = type == DTYPE_NONE ? -1 : retype_gguf_file_type(type);

	if (file_type < 0)
		return 0;
	return gguf_write_u32(&q->w, "general.file_type", (uint32_t)file_type, e);
}

static int write_metadata(struct requantize *q, const struct requantize_options *o, struct err *e)
{
	if (gguf_write_metadata(&q->w, q->g, e))
		return -1;
	return write_file_type(q, o->matrices.type, e) || write_marks(q, e) ? -1 : 0;
}

static int write_infos(struct requantize *q, struct err *e)
{
	char name[96];

	for (uint64_t i = 0; i < q->n; i++) {
		const struct gguf_tensor *t = q->tensors[i].t;

		snprintf(name, sizeof name, "%.*s", (int)(t->name.n < 95 ? t->name.n : 95),
		         t->name.p);
		if (gguf_write_tensor(&q->w, name, t->n_dims, t->ne, q->tensors[i].dst.form.type,
		                      e))
			return err_in(e, "tensor %s", name_of(t, name));
	}
	return gguf_write_layout(&q->w, 0, e);
}

int requantize_plan(struct requantize *q, const struct gguf *g, const struct requantize_options *o,
                    struct err *e)
{
	uint8_t *dropped;
	int bad;

	memset(q, 0, sizeof *q);
	q->g = g;
	q->tensors = mem_calloc(MEM_IO, (size_t)g->n_tensors + 1, sizeof *q->tensors, e);
	dropped = mem_calloc(MEM_IO, (size_t)g->n_tensors + 1, 1, e);
	bad = !q->tensors || !dropped || plan_tensors(q, o, dropped, e) ||
	      write_metadata(q, o, e) || write_infos(q, e);
	mem_free(dropped);
	if (bad)
		requantize_close(q);
	return bad ? -1 : 0;
}

uint64_t requantize_bytes(const struct requantize *q)
{
	return q->w.n_parts ? q->w.parts[0].size : 0;
}

/* The program itself, its libraries and stacks; measured, rounded up. */
#define MEMORY_BASE (6u << 20)

uint64_t requantize_memory(const struct requantize *q)
{
	uint64_t changed = 0, metadata = 0;

	for (uint64_t i = 0; i < q->n; i++)
		changed += (uint64_t)q->tensors[i].changes;
	for (uint64_t i = 0; i < q->w.n_kv; i++)
		metadata += q->w.kv[i].bytes;
	return MEMORY_BASE + metadata + q->g->n_tensors * 2 * sizeof *q->tensors +
	       (changed ? RETYPE_RESIDENT : 0);
}

/* Writing. */

static int write_zeros(uint64_t n, gguf_write_put *put, void *arg, struct err *e)
{
	static const uint8_t zeros[4096];

	for (uint64_t some; n > 0; n -= some) {
		some = n < sizeof zeros ? n : sizeof zeros;
		if (put(arg, zeros, (size_t)some, e))
			return -1;
	}
	return 0;
}

static int write_tensor(struct requantize_tensor *t, struct threads *threads, gguf_write_put *put,
                        void *arg, struct err *e)
{
	struct retype *r;
	int bad;

	if (retype_open(&r, &t->src, &t->dst, threads, e))
		return -1;
	bad = retype_write(r, put, arg, e);
	t->report = *retype_report(r);
	retype_close(r);
	return bad;
}

int requantize_write(struct requantize *q, struct threads *threads, gguf_write_put *put,
                     void *put_arg, requantize_done *done, void *done_arg, struct err *e)
{
	char name[96];

	if (gguf_write_header(&q->w, 0, put, put_arg, e))
		return -1;
	for (uint64_t i = 0; i < q->n; i++) {
		struct requantize_tensor *t = &q->tensors[i];

		if (write_tensor(t, threads, put, put_arg, e))
			return err_in(e, "tensor %s", name_of(t->t, name));
		if (write_zeros(gguf_write_padding(&q->w, i), put, put_arg, e))
			return -1;
		if (done)
			done(done_arg, t);
	}
	return 0;
}

void requantize_close(struct requantize *q)
{
	gguf_write_free(&q->w);
	mem_free(q->tensors);
	memset(q, 0, sizeof *q);
}
