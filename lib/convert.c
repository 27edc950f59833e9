#include "convert.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocks.h"
#include "convert_private.h"
#include "fmt.h"
#include "mem.h"

/* What running takes besides metadata and retyping; measured, rounded up. */
#define MEMORY_BASE (6 << 20)

void convert_add_note(struct convert *c, const char *fmt, ...)
{
	va_list ap;

	if (c->n_notes == CONVERT_NOTES)
		return;
	va_start(ap, fmt);
	vsnprintf(c->notes[c->n_notes++], sizeof *c->notes, fmt, ap);
	va_end(ap);
}

const char *convert_note(const struct convert *c, size_t i)
{
	return i < c->n_notes ? c->notes[i] : NULL;
}

uint64_t convert_bytes(const struct convert *c)
{
	return c->bytes;
}

/* --- types and roles ----------------------------------------------------------------------- */

int convert_type(const char *name, struct convert_type *t, struct err *e)
{
	t->given = 1;
	t->kind = ternary_find(name);
	t->dtype = t->kind != TERNARY_NONE ? ternary_dtype(t->kind) : dtype_find(name);
	if (t->kind == TERNARY_HF_U8 || t->dtype != DTYPE_NONE)
		return 0;
	return err_set(e, ERR_TROUBLE, "type %s is not known", name);
}

int convert_types(const struct convert *c, const char *linear, const char *embed,
                  struct convert_type type[CHECKPOINT_ROLES], struct err *e)
{
	linear = c->o->type ? c->o->type : linear;
	embed = c->o->embed_type ? c->o->embed_type : embed;
	memset(type, 0, CHECKPOINT_ROLES * sizeof *type);
	if ((linear && convert_type(linear, &type[CHECKPOINT_LINEAR], e)) ||
	    (embed && convert_type(embed, &type[CHECKPOINT_EMBED], e)))
		return -1;
	type[CHECKPOINT_HEAD] = type[CHECKPOINT_EMBED];
	return 0;
}

enum checkpoint_role convert_role(const struct gguf_tensor *t)
{
	if (t->name.n == 17 && !memcmp(t->name.p, "token_embd.weight", 17))
		return CHECKPOINT_EMBED;
	if (t->name.n == 13 && !memcmp(t->name.p, "output.weight", 13))
		return CHECKPOINT_HEAD;
	return retype_gguf_is_ternary_role(t) ? CHECKPOINT_LINEAR : CHECKPOINT_NORM;
}

/* general.file_type; types that have no number in any program leave the key out. */
int convert_file_type(struct convert *c, const struct convert_type *t, struct err *e)
{
	int v = retype_gguf_file_type(t->dtype);

	if (v >= 0)
		return gguf_write_u32(&c->w, "general.file_type", (uint32_t)v, e);
	gguf_write_delete(&c->w, "general.file_type");
	return 0;
}

/* --- jobs ---------------------------------------------------------------------------------- */

struct convert_job *convert_add_job(struct convert *c, const char *name, struct err *e)
{
	if (c->n_jobs == c->cap_jobs) {
		uint64_t cap = c->cap_jobs * 2 + 256;
		void *p = mem_realloc(MEM_IO, c->jobs, cap, sizeof *c->jobs, e);
		if (!p)
			return NULL;
		c->jobs = p;
		c->cap_jobs = cap;
	}
	struct convert_job *job = &c->jobs[c->n_jobs];
	*job = (struct convert_job){.fd = -1, .factor = 1, .ne = {1, 1, 1, 1}};
	job->name = mem_strndup(MEM_IO, name, strlen(name), e);
	if (!job->name)
		return NULL;
	c->n_jobs++;
	return job;
}

int convert_made(struct convert *c, const char *name, const float *v, uint64_t n, struct err *e)
{
	struct convert_job *job = convert_add_job(c, name, e);

	if (!job)
		return -1;
	job->made = mem_alloc(MEM_IO, n * sizeof *v, e);
	if (!job->made)
		return -1;
	memcpy(job->made, v, n * sizeof *v);
	job->n_dims = 1;
	job->ne[0] = job->cols = n;
	job->rows = 1;
	job->bytes = n * sizeof *v;
	job->to.type = DTYPE_F32;
	job->from_type = job->to_type = "F32";
	job->st_type = safetensors_type_of(DTYPE_F32);
	return 0;
}

int convert_target(struct convert *c, struct convert_job *job, const struct convert_type *t,
                   struct err *e)
{
	const struct ternary_tile *hint = retype_hints_find(&c->hints, job->rows, job->cols);
	struct ternary_tile tile = hint ? *hint : (struct ternary_tile){0};

	if (t->kind == TERNARY_HF_U8)
		return err_set(e, ERR_TROUBLE, "type hf_u8 exists in safetensors alone");
	if ((t->kind == TERNARY_TL1 || t->kind == TERNARY_TL2) && !hint &&
	    ternary_choose(t->kind, job->rows, job->cols, &tile, e))
		return -1;
	if (t->kind != TERNARY_NONE
	        ? retype_form_ternary(&job->to, t->kind, job->rows, job->cols, &tile, e)
	        : retype_form(&job->to, t->dtype, job->rows, job->cols, NULL, e))
		return -1;
	job->to_type = dtype_get(t->dtype)->name;
	return dtype_bytes(t->dtype, job->rows, job->cols, &job->bytes, e);
}

/* --- opening ------------------------------------------------------------------------------- */

static int is_checkpoint(const char *path)
{
	struct stat st;
	size_t n = strlen(path);

	return (n > 12 && !strcmp(path + n - 12, ".safetensors")) ||
	       (!stat(path, &st) && S_ISDIR(st.st_mode));
}

static int check_options(const struct convert_options *o, int from_hf, struct err *e)
{
	if (o->to_safetensors && from_hf)
		return err_set(e, ERR_TROUBLE, "--to=safetensors needs a GGUF file");
	if (o->to_safetensors && (o->n_set || o->n_unset))
		return err_set(e, ERR_TROUBLE, "-s and -d are for GGUF output");
	if (o->to_safetensors && o->output && !strcmp(o->output, "-"))
		return err_set(e, ERR_TROUBLE,
		               "safetensors are written into a directory, not to a pipe");
	if (o->split && o->output && !strcmp(o->output, "-"))
		return err_set(e, ERR_TROUBLE, "a split file cannot go to a pipe");
	if (o->split && o->merge)
		return err_set(e, ERR_TROUBLE, "--split-size and --merge exclude each other");
	if ((o->keep || o->resume) && (!o->output || !strcmp(o->output, "-")))
		return err_set(e, ERR_TROUBLE, "-k and -r need an output file");
	if (o->resume && !strcmp(o->input, "-"))
		return err_set(e, ERR_TROUBLE, "-r cannot read a stream again");
	if (o->in_place && (from_hf || o->to_safetensors || o->type || o->embed_type || o->split ||
	                    o->merge || !strcmp(o->input, "-")))
		return err_set(e, ERR_TROUBLE,
		               "--in-place edits the metadata of a GGUF file, nothing else");
	if (o->merge && from_hf)
		return err_set(e, ERR_TROUBLE, "--merge needs a split GGUF file");
	return 0;
}

static int open_gguf(struct convert *c, struct err *e)
{
	if (gguf_open(&c->g, c->o->input, 0, e))
		return -1;
	c->stream = !c->g.parts[0].map.open;
	c->stream_at = c->g.parts[0].header_size;
	for (unsigned i = 0; i < c->g.n_warnings; i++)
		convert_add_note(c, "%s", c->g.warnings[i].text);
	if (c->o->merge && c->g.n_parts < 2)
		return err_set(e, ERR_TROUBLE, "--merge: this file is not split");
	if (c->stream && c->o->to_safetensors)
		return err_set(e, ERR_TROUBLE, "safetensors cannot be made of a stream");
	return 0;
}

/* What the user says about layouts. */
static int read_hints(struct convert *c, struct err *e)
{
	for (size_t i = 0; i < c->o->n_tiles; i++)
		if (retype_hints_tile(&c->hints, c->o->tiles[i], e))
			return -1;
	c->hints.i2s = c->o->i2s_layout ? ternary_find_i2s(c->o->i2s_layout) : TERNARY_NONE;
	if (c->o->i2s_layout && c->hints.i2s == TERNARY_NONE)
		return err_set(e, ERR_TROUBLE,
		               "I2_S layout %s is not known, expected x86, arm or rows4",
		               c->o->i2s_layout);
	return 0;
}

static int plan(struct convert *c, struct err *e)
{
	if (c->from_hf)
		return checkpoint_open(&c->hf, c->o->input, c->o->scale, c->o->skip_unknown, e) ||
		               convert_plan_hf(c, e)
		           ? -1
		           : 0;
	if (open_gguf(c, e))
		return -1;
	return c->o->to_safetensors ? convert_plan_st(c, e) : convert_plan_gguf(c, e);
}

/* --- layout -------------------------------------------------------------------------------- */

/* What the bytes of ternary tensors do not tell. */
static int mark_layouts(struct convert *c, struct err *e)
{
	enum ternary_kind i2s = TERNARY_NONE;
	int tl1 = 0, tl2 = 0;

	for (uint64_t i = 0; i < c->n_jobs; i++) {
		const struct retype_form *to = &c->jobs[i].to;
		tl1 |= to->type == DTYPE_TL1;
		tl2 |= to->type == DTYPE_TL2;
		if (retype_gguf_mark_tile(&c->w, &to->ternary, e))
			return -1;
		if (to->type != DTYPE_I2_S || to->ternary.kind == TERNARY_NONE)
			continue;
		if (i2s != TERNARY_NONE && i2s != to->ternary.kind)
			return err_set(
			    e, ERR_TROUBLE,
			    "I2_S tensors would lie in two layouts: a file can name one");
		i2s = to->ternary.kind;
	}
	if (!tl1)
		gguf_write_delete(&c->w, TERNARY_KEY_TL1);
	if (!tl2)
		gguf_write_delete(&c->w, TERNARY_KEY_TL2);
	return retype_gguf_mark_i2s(&c->w, i2s, e);
}

static int layout_gguf(struct convert *c, struct err *e)
{
	if (mark_layouts(c, e) ||
	    convert_edit(&c->w, c->o->set, c->o->n_set, c->o->unset, c->o->n_unset, e))
		return -1;
	for (uint64_t i = 0; i < c->n_jobs; i++) {
		const struct convert_job *job = &c->jobs[i];
		if (gguf_write_tensor(&c->w, job->name, job->n_dims, job->ne, job->to.type, e))
			return -1;
	}
	if (gguf_write_layout(&c->w, c->o->split, e))
		return -1;
	c->files = mem_calloc(MEM_IO, c->w.n_parts, sizeof *c->files, e);
	if (!c->files)
		return -1;
	c->n_files = c->w.n_parts;
	for (unsigned f = 0; f < c->n_files; f++) {
		const struct gguf_write_part *p = &c->w.parts[f];
		c->files[f] = (struct convert_file){.first = p->first,
		                                    .n = p->n,
		                                    .size = p->size,
		                                    .header_size = p->header_size,
		                                    .fd = -1};
	}
	for (uint64_t i = 0; i < c->n_jobs; i++) {
		c->jobs[i].out_offset = c->w.tensors[i].offset;
		c->jobs[i].padding = gguf_write_padding(&c->w, i);
	}
	return 0;
}

static int hash_put(void *arg, const void *p, size_t n, struct err *e)
{
	(void)e;
	hash_add(arg, p, n);
	return 0;
}

/* What a partial output must agree on to be gone on with: the headers that will be written and the
 * input files as they are now. */
static int set_fingerprint(struct convert *c, struct err *e)
{
	struct hash h;

	hash_begin(&h);
	for (unsigned f = 0; f < c->n_files; f++)
		if (convert_put_header(c, f, hash_put, &h, e))
			return -1;
	for (uint64_t i = 0; i < c->n_jobs; i++) {
		const struct convert_job *job = &c->jobs[i];
		struct stat st = {0};
		if (job->fd >= 0 && !c->stream)
			fstat(job->fd, &st);
		const uint64_t facts[] = {(uint64_t)st.st_dev,          (uint64_t)st.st_ino,
		                          (uint64_t)st.st_size,         (uint64_t)st.st_mtim.tv_sec,
		                          (uint64_t)st.st_mtim.tv_nsec, job->offset,
		                          job->to.ternary.kind,         job->from.ternary.kind};
		hash_add(&h, facts, sizeof facts);
	}
	c->fingerprint = hash_value(&h);
	return 0;
}

static void add_up(struct convert *c)
{
	uint64_t metadata = 0, retypes = 0, passing;

	for (unsigned f = 0; f < c->n_files; f++)
		c->bytes += c->files[f].size;
	for (uint64_t i = 0; i < c->w.n_kv; i++)
		metadata += c->w.kv[i].bytes;
	for (uint64_t i = 0; i < c->n_jobs; i++)
		retypes += !c->jobs[i].copy && !c->jobs[i].made;
	/* The tokenizer is read before, and its memory serves again. */
	passing = retypes ? RETYPE_RESIDENT : 0;
	passing = c->vocab > passing ? c->vocab : passing;
	c->memory = MEMORY_BASE + metadata + (c->n_jobs + c->g.n_tensors) * 512 + passing;
}

static int check_memory(const struct convert *c, struct err *e)
{
	char need[FMT_SIZE], may[FMT_SIZE];

	if (!c->o->max_memory || c->memory <= c->o->max_memory)
		return 0;
	return err_set(e, ERR_TROUBLE, "the conversion takes %s of memory, %s are allowed",
	               fmt_size(need, c->memory), fmt_size(may, c->o->max_memory));
}

/* Types that can be read and written, so that nobody finds out half way. */
static int check_types(const struct convert *c, struct err *e)
{
	for (uint64_t i = 0; i < c->n_jobs; i++) {
		const struct convert_job *job = &c->jobs[i];
		if (job->copy || job->made)
			continue;
		if (job->from.ternary.kind == TERNARY_NONE && !blocks_readable(job->from.type))
			return err_set(e, ERR_TROUBLE, "tensor %s: type %s cannot be converted",
			               job->name, job->from_type);
		if (job->to.ternary.kind == TERNARY_NONE && !blocks_writable(job->to.type))
			return err_set(e, ERR_TROUBLE, "tensor %s: type %s cannot be written",
			               job->name, job->to_type);
		if (job->swapped && (job->from.ternary.kind != TERNARY_NONE ||
		                     dtype_get(job->from.type)->block != 1))
			return err_set(e, ERR_TROUBLE,
			               "tensor %s: %s in the other byte order cannot be converted",
			               job->name, job->from_type);
	}
	return 0;
}

static int open_all(struct convert *c, struct err *e)
{
	if (check_options(c->o, c->from_hf, e) || read_hints(c, e))
		return -1;
	if (plan(c, e) || check_types(c, e))
		return err_in(e, "%s", strcmp(c->o->input, "-") ? c->o->input : "standard input");
	if (!c->o->to_safetensors && layout_gguf(c, e))
		return -1;
	if (set_fingerprint(c, e) || (c->o->in_place && convert_plan_patch(c, e)))
		return -1;
	add_up(c);
	if (check_memory(c, e))
		return -1;
	return c->o->output ? convert_name_files(c, e) || convert_check_output(c, e) : 0;
}

int convert_open(struct convert **out, const struct convert_options *o, struct err *e)
{
	struct convert *c = mem_calloc(MEM_IO, 1, sizeof *c, e);

	if (!c)
		return -1;
	c->o = o;
	c->spool = c->dir_fd = -1;
	c->space = UINT64_MAX;
	c->from_hf = is_checkpoint(o->input);
	if (open_all(c, e)) {
		convert_close(c);
		return -1;
	}
	*out = c;
	return 0;
}

void convert_close(struct convert *c)
{
	if (!c)
		return;
	for (uint64_t i = 0; i < c->n_jobs; i++) {
		mem_free(c->jobs[i].name);
		mem_free(c->jobs[i].made);
	}
	for (unsigned f = 0; f < c->n_files; f++) {
		if (c->files[f].fd > STDERR_FILENO)
			close(c->files[f].fd);
		mem_free(c->files[f].path);
		mem_free(c->files[f].part);
		mem_free(c->files[f].header);
	}
	if (c->journal_out)
		fclose(c->journal_out);
	if (c->spool >= 0)
		close(c->spool);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	threads_stop(c->threads);
	gguf_write_free(&c->w);
	checkpoint_close(&c->hf);
	gguf_close(&c->g);
	mem_free(c->dir_part);
	mem_free(c->journal);
	mem_free(c->jobs);
	mem_free(c->files);
	mem_free(c);
}
