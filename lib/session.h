/*
 * A model ready to compute: its weights, the KV cache of its sequences and the buffers of a
 * forward pass, all taken from one plan.  Nothing is allocated after session_open.
 *
 *	session_open(&s, g, &opt, &e);
 *	session_eval(s, 0, ids, n, &e);          append n tokens to sequence 0
 *	session_logits(s, n - 1, 1, &rows, &e);  logits of the last one
 */
#ifndef SESSION_H
#define SESSION_H

#include <signal.h>

#include "arch.h"
#include "plan.h"
#include "sample.h"

struct session; /* private */

struct session_options {
	struct plan_options plan; /* ctx 0: the model's, at most PLAN_CTX; ubatch 0: PLAN_UBATCH;
	                             sequences, logits_rows, threads 0: 1; types NONE: F16 */
	const char *act;          /* "silu", "relu2": overrides the model's activation; or NULL */
	const char *kernel;       /* kernel set by name; NULL: the best */
	const char *device;       /* "cuda:0": plan.device_layers are computed there; or NULL */
	int i2s_group;            /* 16 or 32; 0: 32 */
	int check;                /* look for corrupt ternary codes while loading */
	int pin;                  /* bind the threads to cores, the caller's until session_close */
	uint64_t vocab_bytes;     /* what vocab_plan said, for the report */
	const volatile sig_atomic_t
	    *stop; /* not 0: session_eval gives up between layers; may be NULL */
};

/* Opens a session over g, which must outlive it.  Errors as arch_read, weights_find, plan_make and
 * weights_load; no memory (the region is named, also when a device has less than the plan needs
 * there); no such kernel set or device. Owner: the caller. */
int session_open(struct session **s, const struct gguf *g, const struct session_options *o,
                 struct err *e);
void session_close(struct session *s); /* NULL is allowed */

/* Gives the device back, if there is one; afterwards only session_close and what asks about the
 * session may be called.  -1 when the driver refuses or tells now of an earlier failure. */
int session_leave_device(struct session *s, struct err *e);

/* Appends n tokens (1..ubatch) to sequence seq.  Afterwards the final states of these n tokens are
 * held for session_logits.  Returns 0, 1 when *stop was set (nothing was appended), -1 on errors:
 * an id outside the vocabulary, the context is full. */
int session_eval(struct session *s, uint32_t seq, const int32_t *ids, size_t n, struct err *e);

/* Appends one token to each of n different sequences (n <= ubatch): row i of what follows is that
 * of seq[i], with the values that session_eval would give for it alone.  Results and errors as
 * session_eval; a sequence that is named twice. */
int session_eval_batch(struct session *s, const uint32_t *seq, const int32_t *ids, size_t n,
                       struct err *e);

/* Logits after tokens i .. i + n - 1 of the last session_eval: *rows is (n, n_vocab), valid until
 * the next call; n <= logits_rows. */
int session_logits(struct session *s, size_t i, size_t n, const float **rows, struct err *e);

/* The same, but of each row only the want greatest are exact, others may be -INFINITY: all that
 * greedy choice (want 1) and top-k look at.  By the screened head where the session has one
 * (options.plan.screen), else as session_logits. */
int session_greatest(struct session *s, size_t i, size_t n, size_t want, const float **rows,
                     struct err *e);

/* What will be asked of the passes of single tokens to come: session_top with so many; 0: anything
 * else.  A device then finds them within the pass. */
void session_expect(struct session *s, size_t want);

/* The want greatest logits after token i of the last session_eval, greatest first, equal ones by
 * id, into c; how many (at most n_vocab), -1, or 0 where the head is not on a device, or want is
 * more than it finds: then session_greatest is to be asked. */
int session_top(struct session *s, size_t i, size_t want, struct sample_candidate *c,
                struct err *e);

/* Tokens in sequence seq; and shortening it to n tokens (0: empty). */
uint32_t session_length(const struct session *s, uint32_t seq);
void session_rewind(struct session *s, uint32_t seq, uint32_t n);

/* Sequence seq has n tokens from now on, whose keys and values are some small numbers: to measure
 * at a depth without computing up to it.  Errors: more than the context holds. */
int session_pretend(struct session *s, uint32_t seq, uint32_t n, struct err *e);

/* Empties all sequences and gives the pages of their caches back to the system. */
void session_forget(struct session *s);

const struct arch *session_arch(const struct session *s);
const char *session_kernel(const struct session *s);
const char *session_device(const struct session *s); /* NULL: none */
uint32_t session_ctx(const struct session *s);       /* positions per sequence */
uint32_t session_sequences(const struct session *s);
uint32_t session_ubatch(const struct session *s);      /* tokens per session_eval */
uint32_t session_logits_rows(const struct session *s); /* rows per session_logits */
int session_threads(const struct session *s);

/* What was really taken, region by region, as counted at each taking (not a copy of the plan). */
const struct plan *session_memory(const struct session *s);

/* The sampler's region: (n_vocab) x 8 bytes twice. */
struct arena *session_sampler(struct session *s);

#endif
