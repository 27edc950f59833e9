/*
 * Completions as JSON: one request per line in, one answer per line out (bitnet-jsonl(5)).
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <jansson.h>

#include "chat.h"
#include "generate.h"

#define REQUEST_STOPS    16
#define REQUEST_MESSAGES 256

struct request {
	json_t *root; /* owned; the strings below are borrowed from it */
	json_t *id;   /* borrowed; NULL when there is none */
	const char *prompt;
	size_t prompt_n;
	struct ids tokens; /* prompt given as ids */
	struct chat_message message[REQUEST_MESSAGES];
	size_t n_messages;
	const char *stop[REQUEST_STOPS];
	struct generate_options options; /* the defaults with what the request says */
};

/* Reads one line.  Errors (status 1: the line is bad, the run goes on) name the field; request_free
 * ends r in every case, and r->id is set whenever the line held one. */
int request_parse(struct request *r, const char *line, size_t n,
                  const struct generate_options *defaults, struct err *e);
void request_free(struct request *r);

/* The answer: {"id", "text", "tokens", "finish_reason", "usage", "timings", "seed", "logprobs"};
 * NULL when out of memory.  id may be NULL. */
json_t *request_answer(const json_t *id, const char *text, size_t n, const struct vocab *v,
                       const struct generate_result *r, const struct generate_options *o);

/* {"id", "error": {"message", "status"}} */
json_t *request_error(const json_t *id, const struct err *e);

#endif
