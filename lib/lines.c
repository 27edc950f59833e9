#include "lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)64 << 10) /* bytes that are asked for at once: a whole pipe */

void lines_init(struct lines *l, int fd, size_t limit)
{
	*l = (struct lines){.fd = fd, .limit = limit};
}

void lines_free(struct lines *l)
{
	free(l->buf);
	*l = (struct lines){0};
}

/* Room for another piece behind what is there; what was given out before goes. */
static int make_room(struct lines *l, struct err *e)
{
	if (l->at)
		memmove(l->buf, l->buf + l->at, l->n - l->at);
	l->n -= l->at;
	l->seen -= l->at;
	l->at = 0;
	if (l->cap - l->n >= PIECE)
		return 0;
	size_t cap = 2 * l->cap + PIECE;
	char *grown = realloc(l->buf, cap);
	if (!grown)
		return err_set(e, ERR_TROUBLE, "no memory for a line of %zu bytes", l->n);
	l->buf = grown;
	l->cap = cap;
	return 0;
}

/* Whether there is something to read, or the end, or an error that reading will tell. */
static int has_come(int fd, int wait)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, wait ? -1 : 0) > 0;
}

static enum lines_got read_more(struct lines *l, int wait, struct err *e)
{
	if (!has_come(l->fd, wait))
		return LINES_NONE;
	if (make_room(l, e))
		return LINES_FAILED;
	ssize_t got = read(l->fd, l->buf + l->n, PIECE);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return LINES_NONE;
	if (got < 0) {
		err_sys(e, "reading");
		return LINES_FAILED;
	}
	l->n += (size_t)got;
	l->ended = got == 0;
	return LINES_ONE;
}

/* What lies between at and end, where a line ends; next is behind it. */
static enum lines_got cut(struct lines *l, size_t end, size_t next, const char **line, size_t *n)
{
	int was_long = l->skipping || end - l->at > l->limit;

	*line = l->buf + l->at;
	*n = was_long ? 0 : end - l->at;
	l->at = l->seen = next;
	l->skipping = 0;
	return was_long ? LINES_LONG : LINES_ONE;
}

enum lines_got lines_next(struct lines *l, int wait, const char **line, size_t *n, struct err *e)
{
	for (;;) {
		char *end = l->n > l->seen ? memchr(l->buf + l->seen, '\n', l->n - l->seen) : NULL;
		if (end)
			return cut(l, (size_t)(end - l->buf), (size_t)(end - l->buf) + 1, line, n);
		l->seen = l->n;
		if (l->n - l->at > l->limit) {
			l->skipping = 1;
			l->at = l->n;
		}
		if (l->ended)
			return l->n > l->at || l->skipping ? cut(l, l->n, l->n, line, n)
			                                   : LINES_END;
		enum lines_got got = read_more(l, wait, e);
		if (got != LINES_ONE)
			return got;
	}
}
