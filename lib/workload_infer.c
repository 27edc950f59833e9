/* Answers of several contexts side by side in one session: prompt, tokens, context emptied. */
#include "workload_kind.h"

#include <math.h>

enum { CONTEXTS = 3, TOKENS = 4 };

struct inferring {
	struct workload_model model;
	struct session *session;
	struct ids prompt;
	int32_t answer; /* the first one, which all others must equal */
	int answered;
};

static void fini(void *state)
{
	struct inferring *s = state;

	session_close(s->session);
	ids_free(&s->prompt);
	workload_model_close(&s->model);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct inferring *s = state;
	const struct session_options so = workload_session(o, CONTEXTS);

	if (workload_model_open(&s->model, o, e) != 0)
		return -1;
	if (workload_prompt(&s->prompt, s->model.vocab, e) != 0)
		return -1;
	return session_open(&s->session, &s->model.file, &so, e);
}

static int32_t greatest(const float *logits, uint32_t n)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return (int32_t)best;
}

/* Appends ids to a context and gives the token that is likeliest to follow. */
static int next(struct inferring *s, uint32_t context, const int32_t *ids, size_t n, int32_t *id,
                struct err *e)
{
	const float *logits;

	if (session_eval(s->session, context, ids, n, e) != 0 ||
	    session_logits(s->session, n - 1, 1, &logits, e) != 0)
		return -1;
	*id = greatest(logits, session_arch(s->session)->n_vocab);
	if (!isfinite(logits[*id]))
		return err_set(e, ERR_TROUBLE, "a logit is not finite");
	return 0;
}

static int answer(struct inferring *s, uint32_t context, int32_t *last, struct err *e)
{
	session_rewind(s->session, context, 0);
	if (next(s, context, s->prompt.v, s->prompt.n, last, e) != 0)
		return -1;
	for (int i = 0; i < TOKENS; i++) {
		int32_t id = *last;
		if (next(s, context, &id, 1, last, e) != 0)
			return -1;
	}
	return 0;
}

static int step(void *state, unsigned *failures, struct err *e)
{
	struct inferring *s = state;
	int32_t last;

	(void)failures;
	for (uint32_t context = 0; context < CONTEXTS; context++) {
		if (answer(s, context, &last, e) != 0)
			return err_in(e, "context %u", context);
		if (!s->answered)
			s->answer = last;
		s->answered = 1;
		if (last != s->answer)
			return err_set(e, ERR_TROUBLE, "context %u: token %d, expected %d", context,
			               last, s->answer);
	}
	return 0;
}

const struct workload_kind workload_infer = {
    {"infer", "several contexts answer the same prompt again and again", 1000},
    sizeof(struct inferring),
    init,
    step,
    fini,
};
