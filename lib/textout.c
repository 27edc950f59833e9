#include "textout.h"

#include <string.h>

#include "utf8.h"

#define REPLACEMENT "\xef\xbf\xbd"

void textout_init(struct textout *t, const char *const *stop, size_t n_stop,
                  int (*write)(void *, const char *, size_t, struct err *), void *arg)
{
	memset(t, 0, sizeof *t);
	t->stop = stop;
	t->n_stop = n_stop;
	t->write = write;
	t->arg = arg;
}

/* Writes the characters of held.p[0..n) and drops them; an unfinished one stays unless last. */
static int flush(struct textout *t, size_t n, int last, struct err *e)
{
	size_t done = 0, from = 0, whole = n - utf8_held(t->held.p, n);

	while (done < n) {
		size_t len = utf8_decode(t->held.p + done, n - done, NULL);
		if (len > 0) {
			done += len;
			continue;
		}
		if (done >= whole && !last)
			break;
		if (done > from && t->write(t->arg, t->held.p + from, done - from, e))
			return -1;
		if (t->write(t->arg, REPLACEMENT, 3, e))
			return -1;
		/* One mark for an unfinished sequence at the end, one per byte elsewhere. */
		done = done >= whole ? n : done + 1;
		from = done;
	}
	if (done > from && t->write(t->arg, t->held.p + from, done - from, e))
		return -1;
	memmove(t->held.p, t->held.p + done, t->held.n - done);
	t->held.n -= done;
	return 0;
}

/* Where the first complete stop string begins; t->held.n when there is none. */
static size_t find_stop(const struct textout *t)
{
	size_t at = t->held.n;

	for (size_t i = 0; i < t->n_stop; i++) {
		size_t len = strlen(t->stop[i]);
		char *hit = len ? memmem(t->held.p, t->held.n, t->stop[i], len) : NULL;
		if (hit && (size_t)(hit - t->held.p) < at)
			at = (size_t)(hit - t->held.p);
	}
	return at;
}

/* How many of the last bytes may be the beginning of a stop string. */
static size_t may_begin(const struct textout *t)
{
	size_t most = 0;

	for (size_t i = 0; i < t->n_stop; i++) {
		size_t len = strlen(t->stop[i]);
		for (size_t k = len ? len - 1 : 0; k > most; k--)
			if (k <= t->held.n && !memcmp(t->held.p + t->held.n - k, t->stop[i], k)) {
				most = k;
				break;
			}
	}
	return most;
}

int textout_push(struct textout *t, const char *p, size_t n, struct err *e)
{
	if (t->stopped || !n)
		return t->stopped;
	if (bytes_add(&t->held, p, n, e))
		return -1;
	size_t at = find_stop(t);
	if (at < t->held.n) {
		t->stopped = 1;
		t->held.n = at;
		return flush(t, at, 1, e) ? -1 : 1;
	}
	return flush(t, t->held.n - may_begin(t), 0, e);
}

int textout_end(struct textout *t, struct err *e)
{
	return t->stopped || !t->held.n ? 0 : flush(t, t->held.n, 1, e);
}

void textout_free(struct textout *t)
{
	bytes_free(&t->held);
	memset(t, 0, sizeof *t);
}
