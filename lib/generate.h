/*
 * From the ids of a prompt to a completion: prefill in chunks, then token by token until the model
 * ends, a stop string is met, the wanted length is reached or the context is full.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include "sample.h"
#include "session.h"
#include "vocab.h"

struct generate_options {
	struct sample_options sample;
	int64_t n_predict; /* tokens to generate at most; negative: no limit but the context */
	const char *const *stop; /* stop strings, borrowed */
	size_t n_stop;
	int ignore_eos; /* go on behind end-of-generation tokens */
	int logprobs;   /* alternatives kept per token, 0..SAMPLE_LOGPROBS */
	int draft; /* tokens proposed at most per step by lookup.h, 0..GENERATE_DRAFT; the session
	              keeps that many logits rows and one.  The tokens are the same, bit for bit */

	/* Text as it comes, whole characters; may be NULL. */
	int (*text)(void *arg, const char *p, size_t n, struct err *e);
	/* Logits of prompt tokens first .. first + n - 1, (n, n_vocab); may be NULL. */
	int (*prompt_logits)(void *arg, const float *rows, size_t n, struct err *e);
	void *arg;
};

#define GENERATE_DRAFT 31

enum generate_finish { GENERATE_EOS, GENERATE_STOP, GENERATE_LENGTH, GENERATE_ABORTED };

/* "eos", "stop", "length", "aborted". */
const char *generate_finish_name(enum generate_finish f);

struct generate_result {
	enum generate_finish finish;
	size_t n_prompt;          /* tokens of the prompt */
	struct ids tokens;        /* generated, an end token included */
	double prefill, decode;   /* seconds */
	size_t drafted, accepted; /* tokens that were proposed, and those that came true */
	struct sample_logprob
	    *logprobs; /* (tokens, 1 + options.logprobs): the chosen one, then the best */
};

/* Runs one completion in sequence 0, from an empty cache.  Errors: a prompt that is empty or does
 * not fit the context (both numbers in the text), those of the session and of the callbacks.
 * r is to be ended by generate_free in every case. */
int generate_run(struct generate_result *r, struct session *s, const struct vocab *v,
                 const int32_t *prompt, size_t n_prompt, const struct generate_options *o,
                 struct err *e);
void generate_free(struct generate_result *r);

/* A completion under way in one sequence of a session, for callers that compute several together:
 * begun, moved on until it is done, ended.  What it gives is what generate_run gives. */
struct generation; /* private */

/* Computes the prompt in sequence seq, from an empty cache, and draws the first token.  r, o and
 * prompt stay with the caller until generate_end; r is to be ended by generate_free in every case.
 * Errors as generate_run; then there is no generation. */
int generate_begin(struct generation **g, struct generate_result *r, struct session *s,
                   uint32_t seq, const struct vocab *v, const int32_t *prompt, size_t n_prompt,
                   const struct generate_options *o, struct err *e);

/* One pass for n generations of one session that are not done, in n different sequences: each goes
 * on by a token, a single one by those of its draft that come true.  n is 1 up to
 * GENERATE_TOGETHER, the session's ubatch and its rows of logits.  What goes wrong is told by
 * generate_end. */
#define GENERATE_TOGETHER 256
void generate_more(struct generation *const *g, size_t n);

int generate_done(const struct generation *g);

/* Gives out the text that was held back.  -1 with the error that ended it. */
int generate_end(struct generation *g, struct err *e);

#endif
