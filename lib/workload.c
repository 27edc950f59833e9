#include "workload.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "model_path.h"
#include "workload_kind.h"

struct workload {
	const struct workload_kind *kind;
	void *state;
};

static const struct workload_kind *const kinds[] = {
    &workload_quantize, &workload_load,      &workload_infer, &workload_errors,
    &workload_stress,   &workload_tokenizer, &workload_gpu,
};

#define KINDS (sizeof(kinds) / sizeof(*kinds))

static const char prompt[] = "What light through yonder window breaks?\nIt is the east";

const struct workload_info *workload_get(size_t i)
{
	return i < KINDS ? &kinds[i]->info : NULL;
}

static const struct workload_kind *find(const char *name)
{
	for (size_t i = 0; i < KINDS; i++)
		if (strcmp(kinds[i]->info.name, name) == 0)
			return kinds[i];
	return NULL;
}

const struct workload_info *workload_find(const char *name)
{
	const struct workload_kind *k = find(name);
	return k ? &k->info : NULL;
}

int workload_init(struct workload **w, const char *name, const struct workload_options *o,
                  struct err *e)
{
	const struct workload_kind *k = find(name);
	int r;

	*w = NULL;
	if (!k)
		return err_set(e, ERR_TROUBLE, "no workload is called %s", name);
	*w = mem_calloc(MEM_OTHER, 1, sizeof(**w), e);
	if (!*w)
		return -1;
	(*w)->kind = k;
	(*w)->state = mem_calloc(MEM_OTHER, 1, k->bytes, e);
	r = (*w)->state ? k->init((*w)->state, o, e) : -1;
	if (r != 0) {
		workload_fini(*w);
		*w = NULL;
	}
	return r;
}

int workload_step(struct workload *w, unsigned *failures, struct err *e)
{
	*failures = 0;
	return w->kind->step(w->state, failures, e);
}

void workload_fini(struct workload *w)
{
	if (!w)
		return;
	if (w->state)
		w->kind->fini(w->state);
	mem_free(w->state);
	mem_free(w);
}

int workload_model_path(char *out, size_t cap, const struct workload_options *o, struct err *e)
{
	if (!o->model)
		return model_path(out, cap, e);
	if ((size_t)snprintf(out, cap, "%s", o->model) >= cap)
		return err_set(e, ERR_TROUBLE, "the model's path is too long");
	return 0;
}

int workload_model_open(struct workload_model *m, const struct workload_options *o, struct err *e)
{
	char path[4096];

	memset(m, 0, sizeof(*m));
	if (workload_model_path(path, sizeof(path), o, e) != 0)
		return -1;
	if (gguf_open(&m->file, path, 0, e) != 0)
		return err_in(e, "%s", path);
	if (vocab_open(&m->vocab, &m->file, NULL, e) != 0) {
		gguf_close(&m->file);
		return err_in(e, "%s", path);
	}
	return 0;
}

void workload_model_close(struct workload_model *m)
{
	vocab_close(m->vocab);
	gguf_close(&m->file);
	memset(m, 0, sizeof(*m));
}

struct session_options workload_session(const struct workload_options *o, uint32_t sequences)
{
	return (struct session_options){
	    .plan = {.ctx = 128,
	             .sequences = sequences,
	             .ubatch = 32,
	             .logits_rows = 1,
	             .threads = o->threads ? o->threads : 1},
	};
}

int workload_prompt(struct ids *out, const struct vocab *v, struct err *e)
{
	const struct vocab_text text = {prompt, sizeof(prompt) - 1, 0};

	return vocab_encode(v, &text, 1, 1, out, e);
}

/* splitmix64: neighbouring seeds differ at once. */
uint64_t workload_random(uint64_t *seed, uint64_t n)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % n;
}
