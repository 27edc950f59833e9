/*
 * Text as it is generated: pieces of bytes go in, whole characters come out.  Bytes are held back
 * while they may be the beginning of a stop string or an unfinished UTF-8 sequence; invalid bytes
 * become U+FFFD.
 */
#ifndef TEXTOUT_H
#define TEXTOUT_H

#include <stddef.h>

#include "bytes.h"

struct textout {
	const char *const *stop; /* stop strings, borrowed; empty ones are ignored */
	size_t n_stop;
	int (*write)(void *arg, const char *p, size_t n, struct err *e); /* gets valid UTF-8 */
	void *arg;
	struct bytes held; /* not yet written */
	int stopped;       /* a stop string was met: everything behind it is dropped */
};

/* Owner: the caller, textout_free. */
void textout_init(struct textout *t, const char *const *stop, size_t n_stop,
                  int (*write)(void *, const char *, size_t, struct err *), void *arg);

/* Adds n bytes and writes what is certain.  1 when a stop string is complete (it and what follows
 * are never written), 0 otherwise, -1 when writing failed. */
int textout_push(struct textout *t, const char *p, size_t n, struct err *e);

/* Writes what is still held. */
int textout_end(struct textout *t, struct err *e);

void textout_free(struct textout *t);

#endif
