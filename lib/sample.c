#include "sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 to spread the seed, then xoroshiro128+ (Blackman and Vigna). */
static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = *x += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

/* Uniform in [0, 1). */
static double draw(struct sampler *s)
{
	uint64_t a = s->state[0], b = s->state[1], r = a + b;

	b ^= a;
	s->state[0] = rotate(a, 24) ^ b ^ b << 16;
	s->state[1] = rotate(b, 37);
	return (double)(r >> 11) * 0x1p-53;
}

void sample_init(struct sampler *s, const struct sample_options *o, uint32_t n_vocab,
                 struct arena *region)
{
	uint64_t x = o->seed;

	memset(s, 0, sizeof *s);
	s->o = *o;
	s->state[0] = splitmix(&x);
	s->state[1] = splitmix(&x);
	s->n_vocab = n_vocab;
	arena_end(region, 0);
	s->candidates = arena_take(region, (size_t)n_vocab * 8);
	s->adjusted = arena_take(region, (size_t)n_vocab * 8);
}

/* Each recent token once, with its count: the window is short, so the square is small. */
static void penalize(const struct sampler *s, float *logits, const int32_t *recent, size_t n)
{
	size_t last = (size_t)s->o.penalty_last;

	if (n > last) {
		recent += n - last;
		n = last;
	}
	for (size_t i = 0; i < n; i++) {
		size_t count = 1, j;
		for (j = 0; j < i && recent[j] != recent[i]; j++)
			;
		if (j < i)
			continue;
		for (j = i + 1; j < n; j++)
			count += recent[j] == recent[i];
		float *l = &logits[recent[i]];
		double v = (double)*l;
		v = v > 0 ? v / s->o.repeat_penalty : v * s->o.repeat_penalty;
		*l = (float)(v - (double)count * s->o.frequency_penalty - s->o.presence_penalty);
	}
}

int sample_penalties(const struct sample_options *o)
{
	return o->penalty_last > 0 &&
	       (o->repeat_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0);
}

/* Logits that are looked at together: hardly ever is one of them greater than all before. */
#define STEP 16

static int any_above(const float v[STEP], float limit)
{
	int above = 0;

	for (int i = 0; i < STEP; i++)
		above |= v[i] > limit;
	return above;
}

static int32_t greatest(const float *logits, uint32_t n)
{
	uint32_t best = 0;
	float most = logits[0];

	for (uint32_t i = 0; i < n; i++) {
		if (i % STEP == 0 && n - i >= STEP && !any_above(logits + i, most)) {
			i += STEP - 1;
			continue;
		}
		if (logits[i] > most) {
			most = logits[i];
			best = i;
		}
	}
	return (int32_t)best;
}

static int before(const struct sample_candidate *a, const struct sample_candidate *b)
{
	return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
	return before(a, b) ? -1 : 1;
}

static void sift_down(struct sample_candidate *h, size_t n, size_t i)
{
	for (;;) {
		size_t worst = i, l = 2 * i + 1, r = l + 1;
		if (l < n && before(&h[worst], &h[l]))
			worst = l;
		if (r < n && before(&h[worst], &h[r]))
			worst = r;
		if (worst == i)
			return;
		struct sample_candidate t = h[i];
		h[i] = h[worst];
		h[worst] = t;
		i = worst;
	}
}

/* The k greatest, sorted, in candidates[0..k): a heap of k whose root is the least of them. */
static size_t select_top(struct sampler *s, const float *logits, size_t k)
{
	struct sample_candidate *c = s->candidates;
	size_t n = s->n_vocab;

	if (k == 0 || k > n)
		k = n;
	for (size_t i = 0; i < k; i++)
		c[i] = (struct sample_candidate){logits[i], (int32_t)i};
	if (k < n) {
		for (size_t i = k / 2; i-- > 0;)
			sift_down(c, k, i);
		for (size_t i = k; i < n; i++) {
			if (i % STEP == 0 && n - i >= STEP && !any_above(logits + i, c[0].logit)) {
				i += STEP - 1;
				continue;
			}
			if (logits[i] > c[0].logit) {
				c[0] = (struct sample_candidate){logits[i], (int32_t)i};
				sift_down(c, k, 0);
			}
		}
	}
	qsort(c, k, sizeof *c, compare);
	return k;
}

/* How many of the k sorted candidates top-p and min-p keep: at least one. */
static size_t cut(const struct sampler *s, size_t k)
{
	const struct sample_candidate *c = s->candidates;
	double top = (double)c[0].logit, sum = 0, part = 0;
	size_t keep = k;

	if (s->o.top_p < 1) {
		for (size_t i = 0; i < k; i++)
			sum += exp((double)c[i].logit - top);
		for (keep = 0; keep < k && part < s->o.top_p * sum; keep++)
			part += exp((double)c[keep].logit - top);
	}
	if (s->o.min_p > 0)
		while (keep > 1 && exp((double)c[keep - 1].logit - top) < s->o.min_p)
			keep--;
	return keep ? keep : 1;
}

/* One of the k sorted candidates. */
static int32_t draw_from(struct sampler *s, size_t k)
{
	size_t keep = cut(s, k);
	const struct sample_candidate *c = s->candidates;
	double top = (double)c[0].logit, sum = 0;
	for (size_t i = 0; i < keep; i++)
		sum += exp(((double)c[i].logit - top) / s->o.temperature);
	double at = draw(s) * sum;
	for (size_t i = 0; i < keep; i++) {
		at -= exp(((double)c[i].logit - top) / s->o.temperature);
		if (at < 0)
			return c[i].id;
	}
	return c[keep - 1].id;
}

int32_t sample_token(struct sampler *s, const float *logits, const int32_t *recent, size_t n_recent)
{
	if (sample_penalties(&s->o)) {
		memcpy(s->adjusted, logits, s->n_vocab * sizeof *logits);
		penalize(s, s->adjusted, recent, n_recent);
		logits = s->adjusted;
	}
	if (s->o.temperature <= 0)
		return greatest(logits, s->n_vocab);

	return draw_from(s, select_top(s, logits, (size_t)s->o.top_k));
}

int32_t sample_top(struct sampler *s, size_t k)
{
	return s->o.temperature <= 0 ? s->candidates[0].id : draw_from(s, k);
}

static double log_sum(const float *logits, uint32_t n)
{
	double top = (double)logits[greatest(logits, n)], sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - top);
	return top + log(sum);
}

void sample_logprobs(struct sampler *s, const float *logits, int n, struct sample_logprob *out)
{
	double total = log_sum(logits, s->n_vocab);
	size_t k = select_top(s, logits, (size_t)n);

	for (size_t i = 0; i < (size_t)n; i++)
		out[i] = i < k ? (struct sample_logprob){s->candidates[i].id,
		                                         (double)s->candidates[i].logit - total}
		               : (struct sample_logprob){-1, -INFINITY};
}

double sample_logprob_of(const struct sampler *s, const float *logits, int32_t id)
{
	return (double)logits[id] - log_sum(logits, s->n_vocab);
}
