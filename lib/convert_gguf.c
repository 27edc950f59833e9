/* GGUF as a source, and GGUF to GGUF: tensors as they are or in other types, metadata with edits.
 */
#include "convert_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

static int set_form(struct convert *c, const struct gguf_tensor *t, struct retype_form *f,
                    struct err *e)
{
	int assumed = 0;

	if (retype_gguf_form(f, &c->g, t, &c->hints, &assumed, e))
		return -1;
	if (assumed & ~c->assumed & RETYPE_ASSUMED_I2S && c->o->verbose)
		convert_add_note(c,
		                 "I2_S is taken for the published layout: the file does not say");
	if (assumed & ~c->assumed & RETYPE_ASSUMED_TILE)
		convert_add_note(c,
		                 "the tiling of %s is taken from its shape: the file does not say",
		                 dtype_get(t->type)->name);
	c->assumed |= assumed;
	return 0;
}

int convert_source_gguf(struct convert *c, const struct gguf_tensor *t, struct convert_job *job,
                        struct err *e)
{
	const struct gguf_part *part = &c->g.parts[t->part];

	job->n_dims = t->n_dims;
	memcpy(job->ne, t->ne, sizeof job->ne);
	job->rows = t->rows;
	job->cols = t->cols;
	job->fd = part->map.open ? part->map.fd : part->fd;
	job->offset = t->offset;
	job->in_bytes = t->bytes;
	job->from_file = strcmp(part->path, "-") ? part->path : "standard input";
	job->from_name = job->name;
	job->from_type = dtype_get(t->type)->name;
	job->swapped = part->swapped;
	if (job->copy)
		return 0;
	return set_form(c, t, &job->from, e);
}

/* Whether the tensor has the type that is asked for, in the same order of elements. */
static int same_type(struct convert *c, const struct gguf_tensor *t,
                     const struct convert_type *type, int *same, struct err *e)
{
	struct retype_form form;

	*same = t->type == type->dtype;
	if (t->type != DTYPE_I2_S || !*same)
		return 0;
	if (set_form(c, t, &form, e))
		return -1;
	*same = form.ternary.kind == type->kind;
	return 0;
}

/* How the elements lie is told on in the metadata, unless it would be a guess. */
static void keep_as_is(const struct convert *c, struct convert_job *job,
                       const struct gguf_tensor *t)
{
	int assumed = 0;

	job->copy = 1;
	job->bytes = t->bytes;
	job->to_type = dtype_get(t->type)->name;
	if (ternary_of_dtype(t->type) == TERNARY_NONE ||
	    retype_gguf_form(&job->to, &c->g, t, &c->hints, &assumed, NULL) ||
	    assumed & RETYPE_ASSUMED_TILE)
		job->to = (struct retype_form){.type = t->type};
}

static int add_tensor(struct convert *c, const struct gguf_tensor *t,
                      const struct convert_type *type, struct err *e)
{
	char name[64];
	struct convert_type own = {.given = 1, .dtype = t->type, .kind = ternary_of_dtype(t->type)};
	struct convert_job *job;
	int same = 1;

	snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
	job = convert_add_job(c, name, e);
	if (!job)
		return -1;
	if (type->given && same_type(c, t, type, &same, e))
		return -1;
	if (same && !c->g.parts[t->part].swapped)
		keep_as_is(c, job, t);
	if (convert_source_gguf(c, t, job, e) ||
	    (!job->copy && convert_target(c, job, type->given ? type : &own, e)))
		return err_in(e, "tensor %s", name);
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
	const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* In the order of the infos; of a stream in the order in which the payloads arrive. */
static int add_tensors(struct convert *c, const struct convert_type type[CHECKPOINT_ROLES],
                       struct err *e)
{
	const struct gguf_tensor **order =
	    mem_calloc(MEM_IO, c->g.n_tensors + 1, sizeof(struct gguf_tensor *), e);
	int r = 0;

	if (!order)
		return -1;
	for (uint64_t i = 0; i < c->g.n_tensors; i++)
		order[i] = &c->g.tensors[i];
	if (c->stream && c->g.n_tensors)
		qsort(order, c->g.n_tensors, sizeof *order, by_place);
	for (uint64_t i = 0; i < c->g.n_tensors && !r; i++)
		r = add_tensor(c, order[i], &type[convert_role(order[i])], e);
	mem_free(order);
	return r;
}

int convert_plan_gguf(struct convert *c, struct err *e)
{
	struct convert_type type[CHECKPOINT_ROLES], *linear = &type[CHECKPOINT_LINEAR];
	struct gguf_str arch = {0};

	if (gguf_get_str(&c->g, "general.architecture", &arch, e) < 0)
		return -1;
	c->masters = arch.n >= 6 && !memcmp(arch.p, "bitnet", 6);
	return convert_types(c, NULL, NULL, type, e) || gguf_write_metadata(&c->w, &c->g, e) ||
	               (linear->given && convert_file_type(c, linear, e)) || add_tensors(c, type, e)
	           ? -1
	           : 0;
}
