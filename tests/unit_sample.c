#include "sample.h"

#include <math.h>

#include "unit.h"

#define N 1000

static struct arena region;
static float logits[N];

static struct sampler start(struct sample_options o)
{
	struct sampler s;

	sample_init(&s, &o, N, &region);
	return s;
}

/* A few likely tokens over a flat floor: 7, 3, 900, 1 with logits 5, 4, 3, 2. */
static void set_logits(void)
{
	for (int i = 0; i < N; i++)
		logits[i] = -20;
	logits[7] = 5;
	logits[3] = 4;
	logits[900] = 3;
	logits[1] = 2;
}

static void temperature_zero_takes_the_greatest(void)
{
	struct sampler s = start((struct sample_options){.temperature = 0});

	set_logits();
	CHECK_INT(sample_token(&s, logits, NULL, 0), 7);
	logits[500] = 5; /* equal: the lowest id */
	CHECK_INT(sample_token(&s, logits, NULL, 0), 7);
	logits[2] = 5;
	CHECK_INT(sample_token(&s, logits, NULL, 0), 2);
}

/* Any number of logits, among which many are equal or -INFINITY, beside a plain scan. */
static void the_greatest_of_any_number_are_found(void)
{
	uint32_t x = 1;

	for (uint32_t n = 1; n <= 200; n++) {
		struct sample_logprob top[5];
		struct sampler s;
		uint32_t best = 0;

		for (uint32_t i = 0; i < n; i++) {
			x = x * 1664525 + 1013904223;
			logits[i] = x >> 30 ? (float)(x >> 28 & 7) - 3 : -INFINITY;
			best = logits[i] > logits[best] ? i : best;
		}
		sample_init(&s, &(struct sample_options){.temperature = 0}, n, &region);
		CHECK_INT(sample_token(&s, logits, NULL, 0), (int)best);
		sample_logprobs(&s, logits, 5, top);
		for (int k = 0; k < 5 && k < (int)n; k++) {
			uint32_t before = 0, id = (uint32_t)top[k].id;

			for (uint32_t i = 0; i < n; i++)
				before +=
				    logits[i] > logits[id] || (i < id && logits[i] == logits[id]);
			CHECK_INT(before, (uint32_t)k);
		}
	}
}

/* How often each token is drawn in n draws. */
static void draw(struct sample_options o, int n, int *count)
{
	struct sampler s = start(o);

	memset(count, 0, N * sizeof *count);
	for (int i = 0; i < n; i++)
		count[sample_token(&s, logits, NULL, 0)]++;
}

static void draws_follow_the_distribution(void)
{
	int count[N];
	double sum = exp(5) + exp(4) + exp(3) + exp(2);

	set_logits();
	draw((struct sample_options){.temperature = 1, .top_p = 1, .seed = 1}, 20000, count);
	/* Five standard deviations of a binomial are under 0.02. */
	CHECK(fabs(count[7] / 20000.0 - exp(5) / sum) < 0.02);
	CHECK(fabs(count[3] / 20000.0 - exp(4) / sum) < 0.02);
	CHECK(fabs(count[900] / 20000.0 - exp(3) / sum) < 0.02);
}

static void each_cut_keeps_what_it_should(void)
{
	int count[N];

	set_logits();
	draw((struct sample_options){.temperature = 2, .top_k = 2, .top_p = 1, .seed = 1}, 2000,
	     count);
	CHECK_INT(count[7] + count[3], 2000);
	CHECK(count[3] > 0);
	/* 7 alone has 0.64, 7 and 3 have 0.88, with 900 0.97 of the probability */
	draw((struct sample_options){.temperature = 2, .top_p = 0.7, .seed = 1}, 2000, count);
	CHECK_INT(count[7] + count[3], 2000);
	draw((struct sample_options){.temperature = 2, .top_p = 0.9, .seed = 1}, 2000, count);
	CHECK_INT(count[7] + count[3] + count[900], 2000);
	CHECK(count[900] > 0);
	/* exp(-1) = 0.37, exp(-2) = 0.14 of the best */
	draw((struct sample_options){.temperature = 2, .top_p = 1, .min_p = 0.2, .seed = 1}, 2000,
	     count);
	CHECK_INT(count[7] + count[3], 2000);
}

/* The k greatest, by insertion. */
static void keep_greatest(struct sample_candidate *c, size_t k)
{
	size_t n = 0;

	for (int32_t i = 0; i < N; i++) {
		size_t at = n < k ? n++ : k;

		for (; at && logits[i] > c[at - 1].logit; at--)
			if (at < k)
				c[at] = c[at - 1];
		if (at < k)
			c[at] = (struct sample_candidate){logits[i], i};
	}
}

static void the_greatest_alone_give_the_same_token(void)
{
	struct sample_options o = {.temperature = 1.5, .top_k = 40, .top_p = 0.9, .min_p = 0.01};
	uint8_t memory[2 * N * 8 + 128] __attribute__((aligned(64)));
	struct arena other = {.base = memory, .size = sizeof memory};

	for (int i = 0; i < N; i++)
		logits[i] = (float)(i * 7919 % 97) / 10;
	for (int t = 0; t < 2; t++) {
		struct sampler a = start(o), b;

		sample_init(&b, &o, N, &other);
		for (int i = 0; i < 200; i++) {
			keep_greatest(b.candidates, t ? 1 : 40);
			CHECK_INT(sample_top(&b, t ? 1 : 40), sample_token(&a, logits, NULL, 0));
		}
		o.temperature = 0;
	}
}

static void the_seed_decides(void)
{
	int same = 0;
	struct arena other = {0};

	set_logits();
	CHECK_INT(arena_init(&other, MEM_ACTIVATION, "other", region.size, NULL), 0);
	struct sample_options o = {.temperature = 1.5, .top_p = 1, .seed = 42};
	struct sampler a = start(o), b, c;
	sample_init(&b, &o, N, &other);
	for (int i = 0; i < 100; i++)
		CHECK_INT(sample_token(&a, logits, NULL, 0), sample_token(&b, logits, NULL, 0));
	o.seed = 43;
	sample_init(&c, &o, N, &other);
	for (int i = 0; i < 100; i++)
		same += sample_token(&a, logits, NULL, 0) == sample_token(&c, logits, NULL, 0);
	CHECK(same < 90);
	arena_fini(&other);
}

static void penalties_count_recent_tokens(void)
{
	static const int32_t recent[] = {3, 7, 7};
	struct sampler s = start((struct sample_options){
	    .repeat_penalty = 1, .frequency_penalty = 0.75, .penalty_last = 3});

	set_logits();
	/* 7 loses 1.5, 3 loses 0.75 */
	CHECK_INT(sample_token(&s, logits, recent, 3), 7);
	s = start((struct sample_options){
	    .repeat_penalty = 1, .frequency_penalty = 2, .penalty_last = 3});
	CHECK_INT(sample_token(&s, logits, recent, 3), 900);
	s = start(
	    (struct sample_options){.repeat_penalty = 1, .presence_penalty = 2, .penalty_last = 1});
	CHECK_INT(sample_token(&s, logits, recent, 3), 3);
	s = start((struct sample_options){.repeat_penalty = 2, .penalty_last = 3});
	CHECK_INT(sample_token(&s, logits, recent, 3), 900);
	CHECK(logits[7] == 5); /* the caller's are left alone */
}

static void logprobs_are_sorted_and_normalized(void)
{
	struct sample_logprob p[8];
	struct sampler s = start((struct sample_options){.temperature = 0});
	double sum = 0;

	set_logits();
	sample_logprobs(&s, logits, 8, p);
	CHECK_INT(p[0].id, 7);
	CHECK_INT(p[3].id, 1);
	for (int i = 0; i < 8; i++) {
		sum += exp(p[i].logprob);
		CHECK(fabs(p[i].logprob - sample_logprob_of(&s, logits, p[i].id)) < 1e-12);
	}
	CHECK(sum > 0.999999 && sum <= 1);
}

int main(void)
{
	if (arena_init(&region, MEM_ACTIVATION, "sampler", 2 * arena_round(N * 8), NULL))
		return 1;
	RUN(temperature_zero_takes_the_greatest);
	RUN(the_greatest_of_any_number_are_found);
	RUN(draws_follow_the_distribution);
	RUN(each_cut_keeps_what_it_should);
	RUN(the_greatest_alone_give_the_same_token);
	RUN(the_seed_decides);
	RUN(penalties_count_recent_tokens);
	RUN(logprobs_are_sorted_and_normalized);
	arena_fini(&region);
	return unit_end();
}
