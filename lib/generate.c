#include "generate.h"

#include <string.h>

#include "clock.h"
#include "lookup.h"
#include "textout.h"

#define DRAFT_MORE 4

struct run {
	struct generate_result *r;
	struct session *s;
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

static int give_prompt_logits(struct run *r, size_t n, struct err *e)
{
	uint32_t most = session_logits_rows(r->s);

	for (size_t i = 0; i < n; i += most) {
		const float *rows;
		size_t k = n - i < most ? n - i : most;
		if (session_logits(r->s, i, k, &rows, e) ||
		    r->o->prompt_logits(r->o->arg, rows, k, e))
			return -1;
	}
	return 0;
}

/* 0, 1 when it was interrupted, -1. */
static int prefill(struct run *r, const int32_t *ids, size_t n, struct err *e)
{
	size_t step = session_ubatch(r->s);

	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		int status = session_eval(r->s, 0, ids + i, k, e);
		if (status)
			return status;
		if (r->o->prompt_logits && give_prompt_logits(r, k, e))
			return -1;
	}
	return 0;
}

static int keep_logprobs(struct run *r, const float *logits, int32_t id, struct err *e)
{
	size_t row = (size_t)r->o->logprobs + 1, n = r->r->tokens.n;

	if (!r->o->logprobs)
		return 0;
	struct sample_logprob *p = mem_realloc(MEM_IO, r->r->logprobs, (n + 1) * row, sizeof *p, e);
	if (!p)
		return -1;
	r->r->logprobs = p;
	p[n * row] = (struct sample_logprob){id, sample_logprob_of(&r->sampler, logits, id)};
	sample_logprobs(&r->sampler, logits, r->o->logprobs, &p[n * row + 1]);
	return 0;
}

/* Writes the token's text; 1 when a stop string is complete. */
static int give_text(struct run *r, int32_t id, struct err *e)
{
	size_t n = vocab_decode(r->v, id, 0, r->piece, vocab_longest(r->v));
	return textout_push(&r->out, r->piece, n, e);
}

/* Gives out the token that was drawn from logits (NULL: from the greatest only): 0 go on, 1
 * finished, -1. */
static int take(struct run *r, const float *logits, int32_t id, struct err *e)
{
	struct generate_result *g = r->r;

	if ((logits && keep_logprobs(r, logits, id, e)) || ids_push(&g->tokens, id, e) ||
	    ids_push(&r->history, id, e))
		return -1;
	g->finish = GENERATE_EOS;
	if (vocab_is_end(r->v, id) && !r->o->ignore_eos)
		return 1;
	int stopped = give_text(r, id, e);
	g->finish = GENERATE_STOP;
	if (stopped)
		return stopped;
	g->finish = GENERATE_LENGTH;
	return (r->o->n_predict >= 0 && (int64_t)g->tokens.n >= r->o->n_predict) ||
	       g->n_prompt + g->tokens.n > session_ctx(r->s);
}

/* The next batch: the token just drawn and what may follow it. */
static int compute(struct run *r, int32_t id, struct err *e)
{
	size_t room = session_ctx(r->s) - session_length(r->s, 0) - 1, max = r->draft;

	if (max > room)
		max = room;
	if (max >= session_ubatch(r->s))
		max = session_ubatch(r->s) - 1;
	r->batch[0] = id;
	r->row = 0;
	r->n_batch = 1;
	if (max)
		r->n_batch +=
		    lookup_draft(&r->lookup, r->history.v, r->history.n, r->batch + 1, max);
	r->r->drafted += r->n_batch - 1;
	r->r->finish = GENERATE_ABORTED;
	return session_eval(r->s, 0, r->batch, r->n_batch, e);
}

static void adapt(struct run *r, size_t came_true)
{
	size_t proposed = r->n_batch - 1;

	r->r->accepted += came_true;
	if (!proposed)
		return;
	lookup_learn(&r->lookup, came_true);
	size_t next = came_true == proposed ? 2 * r->draft : came_true + DRAFT_MORE;
	r->draft = next < (size_t)r->o->draft ? next : (size_t)r->o->draft;
}

/* How many of the greatest logits the sampler looks at; 0: at all of them. */
static size_t wanted(const struct generate_options *o)
{
	if (o->logprobs || sample_penalties(&o->sample))
		return 0;
	return o->sample.temperature <= 0 ? 1 : (size_t)o->sample.top_k;
}

static int batch_logits(struct run *r, const float **logits, struct err *e)
{
	size_t want = wanted(r->o);

	return want ? session_greatest(r->s, r->row, r->n_batch, want, logits, e)
	            : session_logits(r->s, r->row, r->n_batch, logits, e);
}

/* Draws from the greatest logits of a single row alone, where a device found them: 1; 0: not so. */
static int draw_top(struct run *r, int32_t *id, struct err *e)
{
	size_t want = wanted(r->o);
	int n =
	    want && r->n_batch == 1 ? session_top(r->s, r->row, want, r->sampler.candidates, e) : 0;

	if (n > 0)
		*id = sample_top(&r->sampler, (size_t)n);
	return n < 0 ? -1 : n > 0;
}

/* Draws from the rows of the batch as long as its draft comes true; 0 go on, 1 finished, -1. */
static int step(struct run *r, struct err *e)
{
	uint32_t before = session_length(r->s, 0) - (uint32_t)r->n_batch;
	const float *logits;
	int32_t id = 0;
	size_t j = 0;
	int status = draw_top(r, &id, e);

	if (status > 0) {
		status = take(r, NULL, id, e);
		return status ? status : compute(r, id, e);
	}
	if (status < 0 || batch_logits(r, &logits, e))
		return -1;
	for (;; j++) {
		const float *row = logits + j * session_arch(r->s)->n_vocab;
		id = sample_token(&r->sampler, row, r->history.v, r->history.n);
		status = take(r, row, id, e);
		if (status)
			return status;
		if (j + 1 == r->n_batch || r->batch[j + 1] != id)
			break;
	}
	session_rewind(r->s, 0, before + (uint32_t)j + 1);
	adapt(r, j);
	return compute(r, id, e);
}

static int run(struct run *r, const int32_t *prompt, size_t n, struct err *e)
{
	double start = clock_now();
	size_t most = r->o->n_predict >= 0 && (uint64_t)r->o->n_predict < session_ctx(r->s)
	                  ? (size_t)r->o->n_predict
	                  : session_ctx(r->s);
	int status;

	/* All that the lists can hold, so that no token allocates. */
	if (ids_reserve(&r->history, n + most + 1, e) || ids_reserve(&r->r->tokens, most + 1, e))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (ids_push(&r->history, prompt[i], e))
			return -1;
	session_rewind(r->s, 0, 0);
	session_expect(r->s, wanted(r->o));
	status = prefill(r, prompt, n, e);
	r->r->prefill = clock_now() - start;
	if (status) {
		r->r->finish = GENERATE_ABORTED;
		return status < 0 ? -1 : 0;
	}
	r->r->finish = GENERATE_LENGTH;
	r->row = (n - 1) % session_ubatch(r->s);
	r->n_batch = 1;
	r->draft = (size_t)(r->o->draft + 1) / 2;
	start = clock_now();
	if (r->o->n_predict != 0)
		do
			status = step(r, e);
		while (status == 0);
	r->r->decode = clock_now() - start;
	if (status < 0)
		return -1;
	return textout_end(&r->out, e);
}

int generate_run(struct generate_result *result, struct session *s, const struct vocab *v,
                 const int32_t *prompt, size_t n_prompt, const struct generate_options *o,
                 struct err *e)
{
	struct run r = {.r = result, .s = s, .v = v, .o = o};
	int status = -1;

	memset(result, 0, sizeof *result);
	result->n_prompt = n_prompt;
	if (check_prompt(s, n_prompt, e))
		return -1;
	sample_init(&r.sampler, &o->sample, session_arch(s)->n_vocab, session_sampler(s));
	textout_init(&r.out, o->stop, o->n_stop, o->text ? o->text : ignore_text, o->arg);
	r.piece = mem_alloc(MEM_IO, vocab_longest(v) + 1, e);
	if (r.piece)
		status = run(&r, prompt, n_prompt, e);
	mem_free(r.piece);
	ids_free(&r.history);
	textout_free(&r.out);
	return status;
}

void generate_free(struct generate_result *r)
{
	ids_free(&r->tokens);
	mem_free(r->logprobs);
	memset(r, 0, sizeof *r);
}
