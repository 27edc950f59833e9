#include "serve.h"

#include <string.h>
#include <utlist.h>

#include "bytes.h"
#include "lines.h"
#include "relief.h"
#include "request.h"

#define LINE_LIMIT ((size_t)256 << 20) /* bytes of a request */
#define WAITING    1024 /* answers that wait for an earlier one at most, before reading pauses */

/* A request from its line to its answer. */
struct job {
	struct request request;
	struct ids ids;
	struct generate_result result;
	struct generation *generation; /* NULL: not computed, or ended */
	uint32_t seq;
	json_t *answer; /* NULL: not there yet, or left out */
	int answered;
	struct bytes text;
	struct job *prev, *next; /* in the order of the requests */
};

struct server {
	const struct serve_options *o;
	struct lines lines;
	FILE *out;
	struct relief *relief;
	struct job *jobs;
	struct job **at;           /* (sequences) what is computed there; NULL: free */
	struct generation **moved; /* (sequences) for generate_more */
	uint32_t sequences, active;
	size_t n_jobs;
	int bad, ended;
};

static int is_stopped(const struct server *s)
{
	return s->o->stop && *s->o->stop;
}

static int keep_text(void *arg, const char *p, size_t n, struct err *e)
{
	struct job *j = arg;

	return bytes_add(&j->text, p, n, e);
}

static void answer_error(struct server *s, struct job *j, const struct err *why)
{
	j->answer = request_error(j->request.id, why);
	j->answered = 1;
	s->bad = 1;
}

/* The job's completion is at its end: its sequence is free. */
static void end_job(struct server *s, struct job *j)
{
	const struct generate_result *r = &j->result;
	struct err why = {0};
	int failed = generate_end(j->generation, &why);

	j->generation = NULL;
	s->at[j->seq] = NULL;
	if (!--s->active)
		relief_idle(s->relief);
	if (failed) {
		answer_error(s, j, &why);
	} else {
		j->answered = 1;
		/* Nobody waits for the answer of one that a signal ended before its first token. */
		if (r->finish != GENERATE_ABORTED || r->tokens.n)
			j->answer = request_answer(j->request.id, j->text.p, j->text.n,
			                           s->o->prompt.vocab, r, &j->request.options);
	}
	generate_free(&j->result);
	ids_free(&j->ids);
}

static int encode(const struct server *s, struct job *j, struct err *e)
{
	const struct request *q = &j->request;

	if (q->n_messages)
		return prompt_chat(&s->o->prompt, q->message, q->n_messages, &j->ids, e);
	if (q->prompt)
		return prompt_text(&s->o->prompt, q->prompt, q->prompt_n, &j->ids, e);
	return 0;
}

static int begin_job(struct server *s, struct job *j, struct err *e)
{
	const struct ids *ids = j->request.tokens.n ? &j->request.tokens : &j->ids;

	j->request.options.text = keep_text;
	j->request.options.arg = j;
	while (s->at[j->seq])
		j->seq++;
	if (!s->active++)
		relief_busy(s->relief);
	int status = generate_begin(&j->generation, &j->result, s->o->session, j->seq,
	                            s->o->prompt.vocab, ids->v, ids->n, &j->request.options, e);
	if (status) {
		generate_free(&j->result);
		if (!--s->active)
			relief_idle(s->relief);
		return -1;
	}
	s->at[j->seq] = j;
	if (generate_done(j->generation))
		end_job(s, j);
	return 0;
}

static int new_job(struct server *s, const char *line, size_t n, int is_long, struct err *e)
{
	struct job *j = mem_calloc(MEM_IO, 1, sizeof *j, e);
	struct err why = {0};

	if (!j)
		return -1;
	DL_APPEND(s->jobs, j);
	s->n_jobs++;
	if (is_long)
		err_set(&why, ERR_NO, "a request of more than %zu bytes", LINE_LIMIT);
	if (is_long || request_parse(&j->request, line, n, &s->o->defaults, &why) ||
	    encode(s, j, &why) || begin_job(s, j, &why))
		answer_error(s, j, &why);
	return 0;
}

static void free_job(struct server *s, struct job *j)
{
	DL_DELETE(s->jobs, j);
	s->n_jobs--;
	if (j->generation) {
		generate_end(j->generation, NULL);
		generate_free(&j->result);
	}
	ids_free(&j->ids);
	request_free(&j->request);
	json_decref(j->answer);
	bytes_free(&j->text);
	mem_free(j);
}

/* The answers that have nobody to wait for. */
static int print_answers(struct server *s, struct err *e)
{
	while (s->jobs && s->jobs->answered) {
		struct job *j = s->jobs;
		if (j->answer &&
		    (json_dumpf(j->answer, s->out, JSON_COMPACT | JSON_REAL_PRECISION(9)) ||
		     putc('\n', s->out) == EOF || fflush(s->out)))
			return err_sys(e, "standard output");
		free_job(s, j);
	}
	return 0;
}

/* Begins what has come, while there is room; waits for a line only when nothing is computed. */
static int begin_jobs(struct server *s, struct err *e)
{
	while (!s->ended && s->active < s->sequences && s->n_jobs < WAITING && !is_stopped(s)) {
		const char *line;
		size_t n;
		enum lines_got got = lines_next(&s->lines, !s->active, &line, &n, e);
		if (got == LINES_FAILED)
			return err_in(e, "standard input");
		if (got == LINES_NONE && s->active)
			break;
		s->ended = got == LINES_END;
		if (((got == LINES_ONE && n) || got == LINES_LONG) &&
		    new_job(s, line, n, got == LINES_LONG, e))
			return -1;
		if (!s->active && print_answers(s, e))
			return -1;
	}
	return 0;
}

static void move_on(struct server *s)
{
	uint32_t most = session_ubatch(s->o->session), n = 0;

	if (most > session_logits_rows(s->o->session))
		most = session_logits_rows(s->o->session);
	if (most > GENERATE_TOGETHER)
		most = GENERATE_TOGETHER;
	for (uint32_t i = 0; i < s->sequences; i++)
		if (s->at[i])
			s->moved[n++] = s->at[i]->generation;
	for (uint32_t i = 0; i < n; i += most)
		generate_more(s->moved + i, n - i < most ? n - i : most);
	for (uint32_t i = 0; i < s->sequences; i++)
		if (s->at[i] && generate_done(s->at[i]->generation))
			end_job(s, s->at[i]);
}

static int answer_all(struct server *s, struct err *e)
{
	while (!s->ended || s->active) {
		if (print_answers(s, e) || begin_jobs(s, e))
			return -1;
		if (is_stopped(s))
			s->ended = 1;
		if (s->active)
			move_on(s);
	}
	return print_answers(s, e);
}

int serve(const struct serve_options *o, int in, FILE *out, struct err *e)
{
	struct server s = {.o = o, .out = out, .sequences = session_sequences(o->session)};
	int status = -1;

	lines_init(&s.lines, in, LINE_LIMIT);
	s.at = mem_calloc(MEM_IO, s.sequences, sizeof *s.at, e);
	s.moved = mem_calloc(MEM_IO, s.sequences, sizeof *s.moved, e);
	if (s.at && s.moved && !relief_start(&s.relief, o->session, e))
		status = answer_all(&s, e);
	while (s.jobs)
		free_job(&s, s.jobs);
	if (s.active)
		relief_idle(s.relief);
	relief_stop(s.relief);
	lines_free(&s.lines);
	mem_free(s.at);
	mem_free(s.moved);
	return status < 0 ? -1 : s.bad;
}
