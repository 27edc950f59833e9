/* A checkpoint to GGUF: metadata from config.json and the tokenizer, tensors by their roles. */
#include "convert_private.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hf_vocab.h"
#include "mem.h"

static int put_u32(struct convert *c, const char *key, uint64_t v, struct err *e)
{
	char name[120];

	snprintf(name, sizeof name, "%s.%s", c->hf.arch, key);
	return gguf_write_u32(&c->w, name, (uint32_t)v, e);
}

static int put_f32(struct convert *c, const char *key, double v, struct err *e)
{
	char name[120];

	snprintf(name, sizeof name, "%s.%s", c->hf.arch, key);
	return gguf_write_f32(&c->w, name, (float)v, e);
}

static int put_heads(struct convert *c, struct err *e)
{
	const struct checkpoint *hf = &c->hf;

	if (put_u32(c, "rope.dimension_count", hf->head_dim, e) ||
	    put_u32(c, "attention.head_count", hf->n_head, e) ||
	    put_u32(c, "attention.head_count_kv", hf->n_head_kv, e))
		return -1;
	/* The default of readers is embedding_length / head_count. */
	if (hf->head_dim * hf->n_head == hf->n_embd)
		return 0;
	return put_u32(c, "attention.key_length", hf->head_dim, e) ||
	               put_u32(c, "attention.value_length", hf->head_dim, e)
	           ? -1
	           : 0;
}

static int put_activation(struct convert *c, struct err *e)
{
	char name[120];

	if (!strcmp(c->hf.arch, "llama"))
		return 0;
	snprintf(name, sizeof name, "%s.hidden_activation", c->hf.arch);
	return gguf_write_str(&c->w, name, c->hf.act, strlen(c->hf.act), e);
}

static int put_metadata(struct convert *c, const struct convert_type *type, struct err *e)
{
	const struct checkpoint *hf = &c->hf;

	if (gguf_write_str(&c->w, "general.architecture", hf->arch, strlen(hf->arch), e) ||
	    convert_file_type(c, type, e) ||
	    gguf_write_u32(&c->w, "general.quantization_version", 2, e) ||
	    put_u32(c, "vocab_size", hf->n_vocab, e) ||
	    put_u32(c, "context_length", hf->n_ctx, e) ||
	    put_u32(c, "embedding_length", hf->n_embd, e) ||
	    put_u32(c, "block_count", hf->n_layer, e) ||
	    put_u32(c, "feed_forward_length", hf->n_ff, e) || put_heads(c, e) ||
	    put_f32(c, "attention.layer_norm_rms_epsilon", hf->eps, e) ||
	    put_f32(c, "rope.freq_base", hf->rope_base, e))
		return -1;
	return put_activation(c, e);
}

static uint64_t tokenizer_bytes(const char *dir)
{
	char path[4200];
	struct stat st;

	snprintf(path, sizeof path, "%s/tokenizer.json", dir);
	return stat(path, &st) ? 0 : (uint64_t)st.st_size;
}

/* What a token and a merge take while a tokenizer is read: their bytes, lists and hashes; measured,
 * rounded up. */
#define MEMORY_TOKEN 64
#define MEMORY_MERGE 56

static int put_vocab(struct convert *c, struct err *e)
{
	struct hf_vocab v = {0};
	int r;

	if (hf_vocab_open(&v, c->hf.dir, (uint32_t)c->hf.n_vocab, c->o->threads, e))
		return -1;
	c->vocab = tokenizer_bytes(c->hf.dir) + v.n * (uint64_t)MEMORY_TOKEN +
	           v.n_merges * (uint64_t)MEMORY_MERGE;
	r = hf_vocab_write(&v, &c->w, e);
	hf_vocab_close(&v);
	return r;
}

static int set_source(struct convert *c, const struct checkpoint_tensor *t, struct convert_job *job,
                      struct err *e)
{
	const struct safetensors_tensor *st = t->tensor;

	job->fd = c->hf.st.files[st->file].fd;
	job->from_file = c->hf.st.files[st->file].path;
	job->from_name = st->name;
	job->offset = st->offset;
	job->in_bytes = st->bytes;
	job->from_type = st->type->name;
	job->heads = (struct retype_heads){t->rows, t->heads};
	job->order = t->heads ? CONVERT_INTERLEAVE : CONVERT_AS_IS;
	return t->scale ? retype_form_ternary(&job->from, TERNARY_HF_U8, t->rows, t->cols, NULL, e)
	                : retype_form(&job->from, st->type->type, t->rows, t->cols, NULL, e);
}

static int add_tensor(struct convert *c, const struct checkpoint_tensor *t,
                      const struct convert_type *type, struct err *e)
{
	struct convert_job *job = convert_add_job(c, t->name, e);

	if (!job)
		return -1;
	job->n_dims = t->role == CHECKPOINT_NORM ? 1 : 2;
	job->ne[0] = job->cols = t->cols;
	job->ne[1] = job->rows = t->rows;
	if (set_source(c, t, job, e) || convert_target(c, job, type, e))
		return err_in(e, "tensor %s", t->tensor->name);
	return t->scale ? checkpoint_factor(&c->hf, t, &job->factor, e) : 0;
}

static int add_rope_freqs(struct convert *c, struct err *e)
{
	float *freqs;
	int r;

	if (checkpoint_rope_freqs(&c->hf, &freqs, e))
		return -1;
	r = freqs ? convert_made(c, "rope_freqs.weight", freqs, c->hf.head_dim / 2, e) : 0;
	mem_free(freqs);
	return r;
}

/* A matrix that was never ternary stays what it is, unless another float type is asked for. */
static struct convert_type type_of_float(const struct checkpoint_tensor *t,
                                         const struct convert_type *linear)
{
	return linear->kind == TERNARY_NONE
	           ? *linear
	           : (struct convert_type){.given = 1, .dtype = t->tensor->type->type};
}

int convert_plan_hf(struct convert *c, struct err *e)
{
	struct convert_type type[CHECKPOINT_ROLES], *linear = &type[CHECKPOINT_LINEAR];
	uint64_t kept = 0;

	if (convert_types(c, "i2_s", "f16", type, e) ||
	    convert_type("f32", &type[CHECKPOINT_NORM], e))
		return -1;
	c->masters = strcmp(c->hf.arch, "llama") || json_at(c->hf.config, "quantization_config");
	if (put_metadata(c, linear, e) || put_vocab(c, e))
		return -1;
	for (uint64_t i = 0; i < c->hf.n_tensors; i++) {
		const struct checkpoint_tensor *t = &c->hf.tensors[i];
		if (t->role == CHECKPOINT_FLOAT) {
			type[CHECKPOINT_FLOAT] = type_of_float(t, linear);
			kept += linear->kind != TERNARY_NONE;
		}
		if (add_tensor(c, t, &type[t->role], e))
			return -1;
	}
	if (kept)
		convert_add_note(c, "%llu matrices stay floats, as modules_to_not_convert says",
		                 (unsigned long long)kept);
	if (c->hf.n_skipped)
		convert_add_note(c, "%llu unknown tensors are left out",
		                 (unsigned long long)c->hf.n_skipped);
	return add_rope_freqs(c, e);
}
