/* What one built-in workload is made of, and what several share. Private to workload*.c. */
#ifndef WORKLOAD_KIND_H
#define WORKLOAD_KIND_H

#include "session.h"
#include "vocab.h"
#include "workload.h"

struct workload_kind {
	struct workload_info info;
	size_t bytes; /* of the state, which begins zeroed */
	int (*init)(void *state, const struct workload_options *o,
	            struct err *e); /* 0, 1 skip, -1 */
	int (*step)(void *state, unsigned *failures, struct err *e);
	void (*fini)(void *state); /* also after an init that failed */
};

extern const struct workload_kind workload_quantize, workload_load, workload_infer, workload_errors,
    workload_stress, workload_tokenizer, workload_gpu;

/* A model file with its tokenizer. */
struct workload_model {
	struct gguf file;
	struct vocab *vocab;
};

/* Opens the model of the options, or the toolkit's own.  On errors nothing stays open. */
int workload_model_open(struct workload_model *m, const struct workload_options *o, struct err *e);
void workload_model_close(struct workload_model *m); /* a zeroed one is allowed */

/* The path of that model. */
int workload_model_path(char *out, size_t cap, const struct workload_options *o, struct err *e);

/* A session of few positions for this number of sequences. */
struct session_options workload_session(const struct workload_options *o, uint32_t sequences);

/* Ids of a short text, the same in each step. */
int workload_prompt(struct ids *out, const struct vocab *v, struct err *e);

/* Uniform in [0, n), reproducible. */
uint64_t workload_random(uint64_t *seed, uint64_t n);

#endif
