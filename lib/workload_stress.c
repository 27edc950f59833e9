/* Four clients at once, each with a session of its own over one model file. */
#include "workload_kind.h"

#include <pthread.h>

enum { CLIENTS = 4 };

struct stressing {
	struct workload_model model;
	struct workload_options options;
};

struct client {
	pthread_t thread;
	const struct stressing *shared;
	int result;
	struct err e;
};

static void fini(void *state)
{
	struct stressing *s = state;

	workload_model_close(&s->model);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct stressing *s = state;

	s->options = *o;
	return workload_model_open(&s->model, o, e);
}

static int serve(const struct stressing *shared, struct err *e)
{
	const struct session_options so = workload_session(&shared->options, 1);
	struct session *s = NULL;
	struct ids prompt = {0};
	const float *logits;
	int r = -1;

	if (workload_prompt(&prompt, shared->model.vocab, e) == 0 &&
	    session_open(&s, &shared->model.file, &so, e) == 0 &&
	    session_eval(s, 0, prompt.v, prompt.n, e) == 0 &&
	    session_logits(s, prompt.n - 1, 1, &logits, e) == 0)
		r = 0;
	session_close(s);
	ids_free(&prompt);
	return r;
}

static void *client(void *arg)
{
	struct client *c = arg;

	c->result = serve(c->shared, &c->e);
	return NULL;
}

static int step(void *state, unsigned *failures, struct err *e)
{
	struct client c[CLIENTS];
	int n = 0, r = 0;

	(void)failures;
	while (n < CLIENTS) {
		c[n] = (struct client){.shared = state};
		if (pthread_create(&c[n].thread, NULL, client, &c[n]) != 0) {
			r = err_sys(e, "client");
			break;
		}
		n++;
	}
	while (n-- > 0) {
		pthread_join(c[n].thread, NULL);
		if (c[n].result != 0)
			r = err_set(e, c[n].e.status, "client %d: %s", n, c[n].e.text);
	}
	return r;
}

const struct workload_kind workload_stress = {
    {"stress", "four clients at once, each with a session of its own", 120},
    sizeof(struct stressing),
    init,
    step,
    fini,
};
