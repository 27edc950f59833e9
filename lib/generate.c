#include "generate.h"

#include <string.h>

#include "clock.h"
#include "lookup.h"
#include "textout.h"

#define DRAFT_MORE 4

struct generation {
	struct generate_result *r;
	struct session *s;
	uint32_t seq;
	const struct vocab *v;
	const struct generate_options *o;
	struct sampler sampler;
	struct textout out;
	struct ids history;                /* prompt and generated tokens, for penalties */
	char *piece;                       /* bytes of one token */
	int32_t batch[1 + GENERATE_DRAFT]; /* the last token, then the draft that was computed with
	                                      it */
	size_t n_batch;
	size_t row;   /* where the batch begins in the session's rows */
	size_t draft; /* most to propose next: twice as many when all came true, else a few more
	                 than did */
	struct lookup lookup;
	double start; /* of decoding, seconds */
	int done;     /* nothing is to be computed any more */
	int failed;   /* why is in err */
	struct err err;
};

const char *generate_finish_name(enum generate_finish f)
{
	static const char *const name[] = {"eos", "stop", "length", "aborted"};
	return name[f];
}

static int ignore_text(void *arg, const char *p, size_t n, struct err *e)
{
	(void)arg, (void)p, (void)n, (void)e;
	return 0;
}

static int check_prompt(const struct session *s, size_t n, struct err *e)
{
	if (n == 0)
		return err_set(e, ERR_TROUBLE, "the prompt is empty");
	if (n > session_ctx(s))
		return err_set(e, ERR_TROUBLE,
		               "the prompt has %zu tokens, the context only %u (see --ctx-size)", n,
		               session_ctx(s));
	return 0;
}

static int give_prompt_logits(struct generation *g, size_t n, struct err *e)
{
	uint32_t most = session_logits_rows(g->s);

	for (size_t i = 0; i < n; i += most) {
		const float *rows;
		size_t k = n - i < most ? n - i : most;
		if (session_logits(g->s, i, k, &rows, e) ||
		    g->o->prompt_logits(g->o->arg, rows, k, e))
			return -1;
	}
	return 0;
}

/* 0, 1 when it was interrupted, -1. */
static int prefill(struct generation *g, const int32_t *ids, size_t n, struct err *e)
{
	size_t step = session_ubatch(g->s);

	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		int status = session_eval(g->s, g->seq, ids + i, k, e);
		if (status)
			return status;
		if (g->o->prompt_logits && give_prompt_logits(g, k, e))
			return -1;
	}
	return 0;
}

static int keep_logprobs(struct generation *g, const float *logits, int32_t id, struct err *e)
{
	struct generate_result *r = g->r;
	size_t row = (size_t)g->o->logprobs + 1, n = r->tokens.n;

	if (!g->o->logprobs)
		return 0;
	struct sample_logprob *p = mem_realloc(MEM_IO, r->logprobs, (n + 1) * row, sizeof *p, e);
	if (!p)
		return -1;
	r->logprobs = p;
	p[n * row] = (struct sample_logprob){id, sample_logprob_of(&g->sampler, logits, id)};
	sample_logprobs(&g->sampler, logits, g->o->logprobs, &p[n * row + 1]);
	return 0;
}

/* Writes the token's text; 1 when a stop string is complete. */
static int give_text(struct generation *g, int32_t id, struct err *e)
{
	size_t n = vocab_decode(g->v, id, 0, g->piece, vocab_longest(g->v));
	return textout_push(&g->out, g->piece, n, e);
}

/* Gives out the token that was drawn from logits (NULL: from the greatest only): 0 go on, 1
 * finished, -1. */
static int take(struct generation *g, const float *logits, int32_t id, struct err *e)
{
	struct generate_result *r = g->r;

	if ((logits && keep_logprobs(g, logits, id, e)) || ids_push(&r->tokens, id, e) ||
	    ids_push(&g->history, id, e))
		return -1;
	r->finish = GENERATE_EOS;
	if (vocab_is_end(g->v, id) && !g->o->ignore_eos)
		return 1;
	int stopped = give_text(g, id, e);
	r->finish = GENERATE_STOP;
	if (stopped)
		return stopped;
	r->finish = GENERATE_LENGTH;
	return (g->o->n_predict >= 0 && (int64_t)r->tokens.n >= g->o->n_predict) ||
	       r->n_prompt + r->tokens.n > session_ctx(g->s);
}

/* A pass for the token just drawn and what may follow it. */
static int compute(struct generation *g, struct err *e)
{
	size_t room = session_ctx(g->s) - session_length(g->s, g->seq) - 1, max = g->draft;

	if (max > room)
		max = room;
	if (max >= session_ubatch(g->s))
		max = session_ubatch(g->s) - 1;
	g->row = 0;
	g->n_batch = 1;
	if (max)
		g->n_batch +=
		    lookup_draft(&g->lookup, g->history.v, g->history.n, g->batch + 1, max);
	g->r->drafted += g->n_batch - 1;
	return session_eval(g->s, g->seq, g->batch, g->n_batch, e);
}

static void adapt(struct generation *g, size_t came_true)
{
	size_t proposed = g->n_batch - 1;

	g->r->accepted += came_true;
	if (!proposed)
		return;
	lookup_learn(&g->lookup, came_true);
	size_t next = came_true == proposed ? 2 * g->draft : came_true + DRAFT_MORE;
	g->draft = next < (size_t)g->o->draft ? next : (size_t)g->o->draft;
}

/* How many of the greatest logits the sampler looks at; 0: at all of them. */
static size_t wanted(const struct generation *g)
{
	const struct generate_options *o = g->o;

	if (o->logprobs || sample_penalties(&o->sample))
		return 0;
	return o->sample.temperature <= 0 ? 1 : (size_t)o->sample.top_k;
}

static int get_logits(struct session *s, size_t row, size_t n, size_t want, const float **logits,
                      struct err *e)
{
	return want ? session_greatest(s, row, n, want, logits, e)
	            : session_logits(s, row, n, logits, e);
}

/* Draws from the greatest logits of a single row alone, where a device found them: 1; 0: not so. */
static int draw_top(struct generation *g, int32_t *id, struct err *e)
{
	size_t want = wanted(g);
	int n =
	    want && g->n_batch == 1 ? session_top(g->s, g->row, want, g->sampler.candidates, e) : 0;

	if (n > 0)
		*id = sample_top(&g->sampler, (size_t)n);
	return n < 0 ? -1 : n > 0;
}

/* Draws from the rows of logits of the batch as long as its draft comes true; 0 go on, 1 finished,
 * -1.  The token that was drawn last is the first of the next batch. */
static int draw(struct generation *g, const float *logits, struct err *e)
{
	uint32_t before = session_length(g->s, g->seq) - (uint32_t)g->n_batch;
	int32_t id;
	size_t j = 0;

	for (;; j++) {
		const float *row = logits + j * session_arch(g->s)->n_vocab;
		id = sample_token(&g->sampler, row, g->history.v, g->history.n);
		int status = take(g, row, id, e);
		if (status)
			return status;
		if (j + 1 == g->n_batch || g->batch[j + 1] != id)
			break;
	}
	session_rewind(g->s, g->seq, before + (uint32_t)j + 1);
	adapt(g, j);
	g->batch[0] = id;
	return 0;
}

/* From a pass that computed this one alone. */
static int draw_alone(struct generation *g, struct err *e)
{
	const float *logits;
	int status = draw_top(g, &g->batch[0], e);

	if (status > 0)
		return take(g, NULL, g->batch[0], e);
	if (status < 0 || get_logits(g->s, g->row, g->n_batch, wanted(g), &logits, e))
		return -1;
	return draw(g, logits, e);
}

/* What a step came to: 0 go on, 1 finished, -1. */
static void settle(struct generation *g, int status)
{
	g->done = status != 0;
	g->failed = status < 0;
	if (g->done)
		g->r->decode = clock_now() - g->start;
}

/* From a pass of n.  The rows of logits are computed together, when the first of them is needed. */
static void draw_each(struct generation *const *g, size_t n, size_t want)
{
	const float *logits = NULL;

	for (size_t i = 0; i < n; i++) {
		int status = draw_top(g[i], &g[i]->batch[0], &g[i]->err);
		if (status > 0)
			status = take(g[i], NULL, g[i]->batch[0], &g[i]->err);
		else if (status == 0)
			status = !logits && get_logits(g[i]->s, 0, n, want, &logits, &g[i]->err)
			             ? -1
			             : draw(g[i], logits + i * session_arch(g[i]->s)->n_vocab,
			                    &g[i]->err);
		settle(g[i], status);
	}
}

static void more_alone(struct generation *g)
{
	session_expect(g->s, wanted(g));
	int status = compute(g, &g->err);
	if (status > 0)
		g->r->finish = GENERATE_ABORTED;
	settle(g, status ? status : draw_alone(g, &g->err));
}

static void more_together(struct generation *const *g, size_t n)
{
	uint32_t seq[GENERATE_TOGETHER];
	int32_t ids[GENERATE_TOGETHER];
	size_t want = wanted(g[0]);
	struct err e = {0};

	for (size_t i = 0; i < n; i++) {
		size_t w = wanted(g[i]);
		want = want && w ? want > w ? want : w : 0;
		seq[i] = g[i]->seq;
		ids[i] = g[i]->batch[0];
		g[i]->row = i;
		g[i]->n_batch = 1;
	}
	session_expect(g[0]->s, want);
	int status = session_eval_batch(g[0]->s, seq, ids, n, &e);
	for (size_t i = 0; i < n && status; i++) {
		g[i]->err = e;
		g[i]->r->finish = GENERATE_ABORTED;
		settle(g[i], status);
	}
	if (!status)
		draw_each(g, n, want);
}

void generate_more(struct generation *const *g, size_t n)
{
	if (n == 1)
		more_alone(g[0]);
	else
		more_together(g, n);
}

int generate_done(const struct generation *g)
{
	return g->done;
}

/* The prompt and its first token; 0 go on, 1 finished, -1. */
static int begin(struct generation *g, const int32_t *prompt, size_t n, struct err *e)
{
	double start = clock_now();
	size_t most = g->o->n_predict >= 0 && (uint64_t)g->o->n_predict < session_ctx(g->s)
	                  ? (size_t)g->o->n_predict
	                  : session_ctx(g->s);

	/* All that the lists can hold, so that no token allocates. */
	if (ids_reserve(&g->history, n + most + 1, e) || ids_reserve(&g->r->tokens, most + 1, e))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (ids_push(&g->history, prompt[i], e))
			return -1;
	session_rewind(g->s, g->seq, 0);
	session_expect(g->s, wanted(g));
	int status = prefill(g, prompt, n, e);
	g->start = clock_now();
	g->r->prefill = g->start - start;
	g->r->finish = status ? GENERATE_ABORTED : GENERATE_LENGTH;
	g->row = (n - 1) % session_ubatch(g->s);
	g->n_batch = 1;
	g->draft = (size_t)(g->o->draft + 1) / 2;
	if (status || g->o->n_predict == 0)
		return status ? status : 1;
	return draw_alone(g, e);
}

static void free_generation(struct generation *g)
{
	ids_free(&g->history);
	textout_free(&g->out);
	mem_free(g->piece);
	mem_free(g);
}

int generate_begin(struct generation **out, struct generate_result *r, struct session *s,
                   uint32_t seq, const struct vocab *v, const int32_t *prompt, size_t n_prompt,
                   const struct generate_options *o, struct err *e)
{
	memset(r, 0, sizeof *r);
	r->n_prompt = n_prompt;
	if (check_prompt(s, n_prompt, e))
		return -1;
	struct generation *g = mem_calloc(MEM_IO, 1, sizeof *g, e);
	if (!g)
		return -1;
	g->r = r;
	g->s = s;
	g->seq = seq;
	g->v = v;
	g->o = o;
	sample_init(&g->sampler, &o->sample, session_arch(s)->n_vocab, session_sampler(s));
	textout_init(&g->out, o->stop, o->n_stop, o->text ? o->text : ignore_text, o->arg);
	g->piece = mem_alloc(MEM_IO, vocab_longest(v) + 1, e);
	int status = g->piece ? begin(g, prompt, n_prompt, e) : -1;
	if (status < 0) {
		free_generation(g);
		return -1;
	}
	settle(g, status);
	*out = g;
	return 0;
}

int generate_end(struct generation *g, struct err *e)
{
	int failed = g->failed;

	if (failed && e)
		*e = g->err;
	else if (!failed)
		failed = textout_end(&g->out, e);
	free_generation(g);
	return failed ? -1 : 0;
}

int generate_run(struct generate_result *r, struct session *s, const struct vocab *v,
                 const int32_t *prompt, size_t n_prompt, const struct generate_options *o,
                 struct err *e)
{
	struct generation *g;

	if (generate_begin(&g, r, s, 0, v, prompt, n_prompt, o, e))
		return -1;
	while (!g->done)
		more_alone(g);
	return generate_end(g, e);
}

void generate_free(struct generate_result *r)
{
	ids_free(&r->tokens);
	mem_free(r->logprobs);
	memset(r, 0, sizeof *r);
}
