/*
 * Requests answered line by line (bitnet-jsonl(5)), as many at once as the session has sequences:
 * a request begins as soon as a sequence is free and its line has come, and the passes of all that
 * have begun are computed together.  Answers come in the order of the requests, and each is what
 * it would be alone.
 */
#ifndef SERVE_H
#define SERVE_H

#include <signal.h>
#include <stdio.h>

#include "generate.h"
#include "prompt.h"

struct serve_options {
	struct session *session;
	struct prompt_options prompt;
	struct generate_options defaults;  /* what a request leaves out; text and arg are ignored */
	const volatile sig_atomic_t *stop; /* not 0: ends what has begun, and returns */
};

/* Reads descriptor in to its end.  Returns 0; 1 when some line was bad (its answer says why); -1:
 * reading, writing, no memory. */
int serve(const struct serve_options *o, int in, FILE *out, struct err *e);

#endif
