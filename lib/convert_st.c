/* GGUF to a checkpoint: packed or float tensors in safetensors, config.json, the tokenizer. */
#include "convert_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch.h"
#include "hf_vocab.h"
#include "io.h"
#include "mem.h"

#define MAX_PARTS 99999

/* --- tensors ------------------------------------------------------------------------------- */

/* Types that transformers can load; blocks become floats of full precision. */
static const struct safetensors_type *float_type(enum dtype t)
{
	const struct safetensors_type *st = safetensors_type_of(t);

	return st ? st : safetensors_type_of(DTYPE_F32);
}

/* A matrix as packed bytes, and its scale behind it. */
static int add_packed(struct convert *c, struct convert_job *job, const char *name, struct err *e)
{
	char scale[160];
	const float none = 0;

	if (retype_form_ternary(&job->to, TERNARY_HF_U8, job->rows, job->cols, NULL, e))
		return -1;
	job->st_type = safetensors_type_find("U8");
	job->to_type = "U8";
	job->ne[1] = (job->rows + 3) / 4;
	job->bytes = job->ne[1] * job->cols;
	snprintf(scale, sizeof scale, "%s_scale", name);
	if (convert_made(c, scale, &none, 1, e))
		return -1;
	c->jobs[c->n_jobs - 1].scale_of_last = 1;
	return 0;
}

static int add_float(struct convert_job *job, enum dtype type, struct err *e)
{
	job->st_type = float_type(type);
	job->to_type = job->st_type->name;
	return retype_form(&job->to, job->st_type->type, job->rows, job->cols, NULL, e) ||
	               dtype_bytes(job->st_type->type, job->rows, job->cols, &job->bytes, e)
	           ? -1
	           : 0;
}

/* Rows of q and k go back to where transformers wants them. */
static void set_order(const struct arch *a, const char *gguf_name, struct convert_job *job)
{
	const char *last = strrchr(gguf_name, '.');
	int q = last && last - gguf_name > 6 && !strncmp(last - 6, "attn_q", 6);
	int k = last && last - gguf_name > 6 && !strncmp(last - 6, "attn_k", 6);

	if (strcmp(a->name, "llama") || (!q && !k))
		return;
	job->order = CONVERT_SEPARATE;
	job->heads = (struct retype_heads){job->rows, q ? a->n_head : a->n_head_kv};
}

static int is_folded(const struct convert *c, const char *name)
{
	size_t n = strlen(name);
	char weight[80];

	if (n < 6 || strcmp(name + n - 6, ".scale"))
		return 0;
	snprintf(weight, sizeof weight, "%.*s.weight", (int)n - 6, name);
	return gguf_tensor(&c->g, weight) != NULL;
}

static int add_tensor(struct convert *c, const struct arch *a, const struct gguf_tensor *t,
                      const struct convert_type type[CHECKPOINT_ROLES], struct err *e)
{
	char name[64], hf[120], full[140];
	struct convert_job *job;

	snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
	if (is_folded(c, name))
		return 0;
	if (checkpoint_name(name, a->name, hf, sizeof hf)) {
		if (!c->o->skip_unknown)
			return err_set(
			    e, ERR_TROUBLE,
			    "tensor %s has no place in a checkpoint (--skip-unknown leaves it out)",
			    name);
		convert_add_note(c, "tensor %s is left out", name);
		return 0;
	}
	snprintf(full, sizeof full, "%s.weight", hf);
	job = convert_add_job(c, full, e);
	if (!job)
		return -1;
	const struct convert_type *to = &type[convert_role(t)];
	const struct gguf_tensor *scale;
	if (convert_source_gguf(c, t, job, e) ||
	    retype_gguf_factor(&c->g, t, &scale, &job->factor, e))
		return err_in(e, "tensor %s", name);
	set_order(a, name, job);
	if (to->kind == TERNARY_HF_U8 ? add_packed(c, job, full, e)
	                              : add_float(job, to->given ? to->dtype : t->type, e))
		return err_in(e, "tensor %s", name);
	return 0;
}

/* --- files --------------------------------------------------------------------------------- */

static struct convert_file *new_file(struct convert *c, uint64_t first, struct err *e)
{
	struct convert_file *p;

	if (c->n_files == MAX_PARTS) {
		err_set(e, ERR_TROUBLE, "more than %d files", MAX_PARTS);
		return NULL;
	}
	p = mem_realloc(MEM_IO, c->files, c->n_files + 1, sizeof *p, e);
	if (!p)
		return NULL;
	c->files = p;
	p += c->n_files++;
	*p = (struct convert_file){.first = first, .fd = -1};
	return p;
}

/* The shape as safetensors have it, contiguous axis last; one value has the shape [1]. */
static int write_info(struct safetensors_write *w, const struct convert_job *job, struct err *e)
{
	uint64_t shape[GGUF_MAX_DIMS], bytes;

	for (unsigned d = 0; d < job->n_dims; d++)
		shape[d] = job->ne[job->n_dims - 1 - d];
	return safetensors_write_tensor(w, job->name, job->st_type, job->n_dims, shape, &bytes, e);
}

static int finish_file(struct convert *c, struct convert_file *f, struct err *e)
{
	struct safetensors_write w = {0};
	size_t n;
	int r = 0;

	for (uint64_t i = f->first; i < f->first + f->n && !r; i++)
		r = write_info(&w, &c->jobs[i], e);
	if (!r)
		r = safetensors_write_header(&w, &f->header, &n, e);
	if (!r) {
		f->header_size = n;
		f->size = n + w.data;
		uint64_t at = n;
		for (uint64_t i = f->first; i < f->first + f->n; i++) {
			c->jobs[i].out_offset = at;
			at += c->jobs[i].bytes;
		}
	}
	safetensors_write_free(&w);
	return r;
}

/* A matrix and its scale stay together. */
static int layout(struct convert *c, struct err *e)
{
	struct convert_file *f = new_file(c, 0, e);
	uint64_t used = 0;

	for (uint64_t i = 0; f && i < c->n_jobs; i++) {
		uint64_t cost = c->jobs[i].bytes + strlen(c->jobs[i].name) + 100;
		if (c->o->split && f->n && used + cost > c->o->split && !c->jobs[i].scale_of_last) {
			f = new_file(c, i, e);
			used = 0;
		}
		if (f)
			f->n++;
		used += cost;
	}
	for (unsigned i = 0; f && i < c->n_files; i++)
		if (finish_file(c, &c->files[i], e))
			return -1;
	return f ? 0 : -1;
}

int convert_plan_st(struct convert *c, struct err *e)
{
	struct convert_type type[CHECKPOINT_ROLES];
	struct arch a;

	if (arch_read(&a, &c->g, NULL, e) || convert_types(c, "hf_u8", NULL, type, e))
		return -1;
	for (unsigned i = 0; i < CHECKPOINT_ROLES; i++)
		if (type[i].given && type[i].kind != TERNARY_HF_U8 &&
		    !safetensors_type_of(type[i].dtype))
			return err_set(e, ERR_TROUBLE,
			               "safetensors hold F32, F16, BF16 and packed hf_u8, not %s",
			               dtype_get(type[i].dtype)->name);
	if (type[CHECKPOINT_EMBED].kind == TERNARY_HF_U8)
		return err_set(e, ERR_TROUBLE, "an embedding cannot be packed");
	for (uint64_t i = 0; i < c->g.n_tensors; i++)
		if (add_tensor(c, &a, &c->g.tensors[i], type, e))
			return -1;
	return layout(c, e);
}

/* --- the other files ----------------------------------------------------------------------- */

static int write_text(const char *dir, const char *name, json_t *root, struct err *e)
{
	char path[4200], *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	int fd = -1, r = -1;

	json_decref(root);
	if (!text)
		return err_set(e, ERR_TROUBLE, "%s: no memory", name);
	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path) {
		err_set(e, ERR_TROUBLE, "%s: the name is too long", dir);
		goto done;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		err_sys(e, "cannot create %s", path);
	else
		r = io_write(fd, text, strlen(text), e) || io_write(fd, "\n", 1, e) || fsync(fd)
		        ? err_in(e, "%s", path)
		        : 0;
	if (fd >= 0 && close(fd))
		r = err_sys(e, "%s", path);
done:
	free(text);
	return r;
}

static int write_index(const struct convert *c, const char *dir, struct err *e)
{
	json_t *map = json_object();
	uint64_t total = 0;

	for (unsigned f = 0; f < c->n_files; f++) {
		const struct convert_file *file = &c->files[f];
		for (uint64_t i = file->first; i < file->first + file->n; i++) {
			json_object_set_new(map, c->jobs[i].name,
			                    json_string(strrchr(file->path, '/') + 1));
			total += c->jobs[i].bytes;
		}
	}
	return write_text(dir, "model.safetensors.index.json",
	                  json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total,
	                            "weight_map", map),
	                  e);
}

/* Floats are exported as values: an "online" checkpoint would take their mean for the scale. */
static json_t *config_of(const struct convert *c, const struct arch *a)
{
	int llama = !strcmp(a->name, "llama"), packed = 0;
	const char *class = llama                        ? "LlamaForCausalLM"
	                    : !strcmp(a->name, "bitnet") ? "BitnetForCausalLM"
	                                                 : "BitNetForCausalLM";
	/* float32 0.00001 is printed as the decimal number that it stands for. */
	char eps[32];
	snprintf(eps, sizeof eps, "%.6g", (double)a->eps);
	json_t *root = json_pack(
	    "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:i, s:i, s:b}",
	    "architectures", class, "model_type", llama ? "llama" : "bitnet", "hidden_size",
	    a->n_embd, "intermediate_size", a->n_ff, "num_hidden_layers", a->n_layer,
	    "num_attention_heads", a->n_head, "num_key_value_heads", a->n_head_kv, "head_dim",
	    a->dim_k, "hidden_act", a->act == ARCH_RELU2 ? "relu2" : "silu", "rms_norm_eps",
	    strtod(eps, NULL), "rope_theta", a->rope_base, "max_position_embeddings", a->n_ctx,
	    "vocab_size", a->n_vocab, "tie_word_embeddings", !gguf_tensor(&c->g, "output.weight"));

	for (uint64_t i = 0; i < c->n_jobs; i++)
		packed |= c->jobs[i].scale_of_last;
	if (packed)
		json_object_set_new(root, "quantization_config",
		                    json_pack("{s:s, s:s, s:s}", "quant_method", "bitnet",
		                              "linear_class", "autobitlinear", "quantization_mode",
		                              "offline"));
	return root;
}

int convert_write_config(const struct convert *c, const char *dir, struct err *e)
{
	struct arch a;

	if (arch_read(&a, &c->g, NULL, e) || write_text(dir, "config.json", config_of(c, &a), e))
		return -1;
	if (c->n_files > 1 && write_index(c, dir, e))
		return -1;
	return hf_vocab_export(&c->g, dir, e);
}
