/* Opening and closing models: alone, as a swap, and as a swap while a request is in flight. */
#include "workload_kind.h"

#include <pthread.h>

/* A model that could answer. */
struct server {
	struct workload_model model;
	struct session *session;
	struct ids prompt;
};

struct loading {
	struct workload_options options;
	struct server now;
};

static void server_close(struct server *s)
{
	session_close(s->session);
	ids_free(&s->prompt);
	workload_model_close(&s->model);
	*s = (struct server){0};
}

static int server_open(struct server *s, const struct workload_options *o, struct err *e)
{
	const struct session_options so = workload_session(o, 1);

	*s = (struct server){0};
	if (workload_model_open(&s->model, o, e) != 0)
		return -1;
	if (workload_prompt(&s->prompt, s->model.vocab, e) != 0 ||
	    session_open(&s->session, &s->model.file, &so, e) != 0) {
		server_close(s);
		return -1;
	}
	return 0;
}

/* A request: the prompt from an empty cache. */
struct request {
	struct server *server;
	int result;
	struct err e;
};

static void *request(void *arg)
{
	struct request *r = arg;
	struct server *s = r->server;

	session_rewind(s->session, 0, 0);
	r->result = session_eval(s->session, 0, s->prompt.v, s->prompt.n, &r->e);
	return NULL;
}

static void fini(void *state)
{
	struct loading *s = state;

	server_close(&s->now);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct loading *s = state;

	s->options = *o;
	return server_open(&s->now, o, e);
}

static int reopen(const struct workload_options *o, struct err *e)
{
	struct server s;

	if (server_open(&s, o, e) != 0)
		return -1;
	server_close(&s);
	return 0;
}

/* The new model is opened while the old one answers, and takes its place when it has. */
static int swap_in_flight(struct loading *s, struct err *e)
{
	struct request r = {.server = &s->now};
	struct server next;
	pthread_t thread;
	int opened;

	if (pthread_create(&thread, NULL, request, &r) != 0)
		return err_sys(e, "request");
	opened = server_open(&next, &s->options, e);
	pthread_join(thread, NULL);
	if (opened != 0)
		return -1;
	server_close(&s->now);
	s->now = next;
	if (r.result != 0)
		return err_set(e, r.e.status, "%s", r.e.text);
	return 0;
}

static int step(void *state, unsigned *failures, struct err *e)
{
	struct loading *s = state;

	(void)failures;
	return reopen(&s->options, e) || swap_in_flight(s, e) ? -1 : 0;
}

const struct workload_kind workload_load = {
    {"load", "models opened, closed and swapped while a request is in flight", 80},
    sizeof(struct loading),
    init,
    step,
    fini,
};
