/*
 * Lines of a stream, for a program that has other work while none has come: reading waits only
 * when it is told to.
 */
#ifndef LINES_H
#define LINES_H

#include "err.h"

struct lines {
	int fd;       /* borrowed */
	size_t limit; /* bytes of the longest line that is kept */
	char *buf;    /* owned */
	size_t n, cap, at, seen;
	int ended, skipping;
};

/* Owner: the caller, lines_free. */
void lines_init(struct lines *l, int fd, size_t limit);
void lines_free(struct lines *l);

enum lines_got {
	LINES_ONE,  /* *line is n bytes without the newline, valid until the next call */
	LINES_LONG, /* one of more than limit bytes was left out */
	LINES_NONE, /* nothing has come yet, or a signal came while waiting */
	LINES_END,
	LINES_FAILED = -1,
};

/* The next line.  The last one needs no newline.  Errors: reading, no memory. */
enum lines_got lines_next(struct lines *l, int wait, const char **line, size_t *n, struct err *e);

#endif
