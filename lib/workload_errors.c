/*
 * Everything that fails on purpose: headers that are cut off or damaged, the Nth allocation of
 * loading for every N, requests that are aborted, too long or not in the vocabulary.
 */
#include "workload_kind.h"

#include <string.h>

#include "mem.h"

enum { DAMAGED = 16, FLIPS = 4 };

/* Of a model's header no more than this is damaged; larger ones are cut off here. */
#define HEADER_MOST ((uint64_t)4 << 20)

struct failing {
	struct workload_options options;
	struct workload_model model;
	struct session *session;
	struct ids prompt;
	volatile sig_atomic_t stop;
	uint8_t *header; /* (header_n) */
	uint64_t header_n;
};

static void fini(void *state)
{
	struct failing *s = state;

	session_close(s->session);
	ids_free(&s->prompt);
	workload_model_close(&s->model);
	mem_free(s->header);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct failing *s = state;
	struct session_options so = workload_session(o, 1);

	s->options = *o;
	so.stop = &s->stop;
	if (workload_model_open(&s->model, o, e) != 0)
		return -1;
	if (workload_prompt(&s->prompt, s->model.vocab, e) != 0 ||
	    session_open(&s->session, &s->model.file, &so, e) != 0)
		return -1;
	s->header_n = s->model.file.parts[0].header_size;
	if (s->header_n > HEADER_MOST)
		s->header_n = HEADER_MOST;
	s->header = mem_alloc(MEM_IO, s->header_n, e);
	return s->header ? 0 : -1;
}

/* Opens as much of a model as can be; 1 when a part refused. */
static int refused(const struct gguf *g, const struct workload_options *o)
{
	const struct session_options so = workload_session(o, 1);
	struct vocab *v = NULL;
	struct session *s = NULL;
	int r;

	r = vocab_open(&v, g, NULL, NULL) != 0 || session_open(&s, g, &so, NULL) != 0;
	session_close(s);
	vocab_close(v);
	return r;
}

/* Headers of which some bytes are others, or the end is missing: the same ones in each step. */
static void damaged_headers(struct failing *s, unsigned *failures)
{
	const uint8_t *whole = s->model.file.parts[0].map.data;
	uint64_t seed = s->options.seed;
	struct gguf g;

	for (int i = 0; i < DAMAGED; i++) {
		uint64_t n = i % 2 ? s->header_n : workload_random(&seed, s->header_n);
		memcpy(s->header, whole, s->header_n);
		for (int k = 0; k < FLIPS; k++)
			s->header[workload_random(&seed, i < DAMAGED / 2 ? 64 : s->header_n)] =
			    (uint8_t)workload_random(&seed, 256);
		if (gguf_parse(&g, s->header, n, GGUF_HEADER_ONLY, NULL) != 0) {
			(*failures)++;
			continue;
		}
		*failures += (unsigned)refused(&g, &s->options);
		gguf_close(&g);
	}
}

static int load(const struct workload_options *o, struct err *e)
{
	const struct session_options so = workload_session(o, 1);
	struct workload_model m;
	struct session *s;
	int r;

	if (workload_model_open(&m, o, e) != 0)
		return -1;
	r = session_open(&s, &m.file, &so, e);
	if (r == 0)
		session_close(s);
	workload_model_close(&m);
	return r;
}

/* The first allocation fails, then the second, until loading needs no more. */
static int failing_allocations(const struct failing *s, unsigned *failures, struct err *e)
{
	for (uint64_t n = 1;; n++) {
		mem_fail_at(n);
		int r = load(&s->options, e);
		int met = mem_attempts() >= n;
		mem_fail_at(0);
		if (!met)
			return r;
		if (r == 0)
			return err_set(e, ERR_TROUBLE,
			               "loading did not notice that allocation %llu failed",
			               (unsigned long long)n);
		(*failures)++;
	}
}

/* Each must be refused, and the session must be usable afterwards. */
static int bad_requests(struct failing *s, unsigned *failures, struct err *e)
{
	const int32_t nonsense = INT32_MAX;
	int r;

	session_rewind(s->session, 0, 0);
	s->stop = 1;
	r = session_eval(s->session, 0, s->prompt.v, s->prompt.n, NULL);
	s->stop = 0;
	if (r != 1)
		return err_set(e, ERR_TROUBLE, "a request went on when it was aborted");
	if (session_eval(s->session, 0, &nonsense, 1, NULL) != -1)
		return err_set(e, ERR_TROUBLE, "an id outside the vocabulary was taken");
	*failures += 2;
	while (session_eval(s->session, 0, s->prompt.v, s->prompt.n, NULL) == 0)
		;
	if (session_length(s->session, 0) > session_ctx(s->session))
		return err_set(e, ERR_TROUBLE, "more tokens than the context holds");
	++*failures;
	session_rewind(s->session, 0, 0);
	return session_eval(s->session, 0, s->prompt.v, s->prompt.n, e);
}

static int step(void *state, unsigned *failures, struct err *e)
{
	struct failing *s = state;

	damaged_headers(s, failures);
	if (failing_allocations(s, failures, e) != 0)
		return err_in(e, "failing allocations");
	return bad_requests(s, failures, e) ? err_in(e, "bad requests") : 0;
}

const struct workload_kind workload_errors = {
    {"errors", "damaged headers, failing allocations and refused requests", 100},
    sizeof(struct failing),
    init,
    step,
    fini,
};
