/*
 * From logits to a token: penalties, then top-k, top-p, min-p on the distribution without
 * temperature, then temperature and one draw.  The same seed, options and logits give the same
 * token on every machine that gives the same logits.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stdint.h>

#include "arena.h"

struct sample_options {
	double temperature;    /* 0: the token with the greatest logit */
	int64_t top_k;         /* keep the k most likely; 0: all */
	double top_p;          /* keep the fewest whose probabilities sum to at least p; 1: all */
	double min_p;          /* keep those of at least min_p times the best one's; 0: all */
	double repeat_penalty; /* divides positive and multiplies negative logits of recent tokens;
	                          1: none */
	double frequency_penalty; /* taken off per occurrence */
	double presence_penalty;  /* taken off once */
	int64_t penalty_last;     /* how many tokens back count as recent */
	uint64_t seed;
};

#define SAMPLE_DEFAULTS                                                                            \
	{                                                                                          \
		.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05,                     \
		.repeat_penalty = 1, .penalty_last = 64                                            \
	}

struct sampler {
	struct sample_options o;
	uint64_t state[2]; /* of the random numbers */
	uint32_t n_vocab;
	struct sample_candidate {
		float logit;
		int32_t id;
	} * candidates;  /* (n_vocab) */
	float *adjusted; /* (n_vocab) logits after penalties */
};

/* Takes its two arrays from region (see plan.h, PLAN_SAMPLER), which must be empty of others.
 * Samplers of one region share them: nothing is kept there from one call to the next. */
void sample_init(struct sampler *s, const struct sample_options *o, uint32_t n_vocab,
                 struct arena *region);

/* Whether the options change logits of recent tokens. */
int sample_penalties(const struct sample_options *o);

/* Chooses from logits (n_vocab); recent (n_recent) are the tokens so far, prompt included, the last
 * one newest.  logits are not changed.  Equal logits: the lowest id counts as the greater. */
int32_t sample_token(struct sampler *s, const float *logits, const int32_t *recent,
                     size_t n_recent);

/* The same from the k greatest logits alone, greatest first, equal ones by id, which are in
 * s->candidates: without penalties, and where k is top_k (1 without temperature) it is the same
 * token. */
int32_t sample_top(struct sampler *s, size_t k);

/* The n most likely tokens and the natural logarithms of their probabilities (softmax of the plain
 * logits), best first; n <= SAMPLE_LOGPROBS.  Uses the sampler's arrays. */
#define SAMPLE_LOGPROBS 64
struct sample_logprob {
	int32_t id;
	double logprob;
};
void sample_logprobs(struct sampler *s, const float *logits, int n, struct sample_logprob *out);

/* Of one token. */
double sample_logprob_of(const struct sampler *s, const float *logits, int32_t id);

#endif
