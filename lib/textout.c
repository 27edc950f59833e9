#include "textout.h"

#include <string.h>

#include "mem.h"
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

/* Writes the characters of held[0..n) and drops them; an unfinished one stays unless last. */
static int flush(struct textout *t, size_t n, int last, struct err *e)
{
	size_t done = 0, from = 0, whole = n - utf8_held(t->held, n);

	while (done < n) {
		size_t len = utf8_decode(t->held + done, n - done, NULL);
		if (len > 0) {
			done += len;
			continue;
		}
		if (done >= whole && !last)
			break;
		if (done > from && t->write(t->arg, t->held + from, done - from, e))
			return -1;
		if (t->write(t->arg, REPLACEMENT, 3, e))
			return -1;
		/* One mark for an unfinished sequence at the end, one per byte elsewhere. */
		done = done >= whole ? n : done + 1;
		from = done;
	}
	if (done > from && t->write(t->arg, t->held + from, done - from, e))
		return -1;
	memmove(t->held, t->held + done, t->n - done);
	t->n -= done;
	return 0;
}

/* Where the first complete stop string begins; t->n when there is none. */
static size_t find_stop(const struct textout *t)
{
	size_t at = t->n;

	for (size_t i = 0; i < t->n_stop; i++) {
		size_t len = strlen(t->stop[i]);
		char *hit = len ? memmem(t->held, t->n, t->stop[i], len) : NULL;
		if (hit && (size_t)(hit - t->held) < at)
			at = (size_t)(hit - t->held);
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
			if (k <= t->n && !memcmp(t->held + t->n - k, t->stop[i], k)) {
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
	if (t->n + n > t->cap) {
		size_t cap = 2 * (t->n + n) + 64;
		char *grown = mem_realloc(MEM_IO, t->held, cap, 1, e);
		if (!grown)
			return -1;
		t->held = grown;
		t->cap = cap;
	}
	memcpy(t->held + t->n, p, n);
	t->n += n;
	size_t at = find_stop(t);
	if (at < t->n) {
		t->stopped = 1;
		t->n = at;
		return flush(t, at, 1, e) ? -1 : 1;
	}
	return flush(t, t->n - may_begin(t), 0, e);
}

int textout_end(struct textout *t, struct err *e)
{
	return t->stopped || !t->n ? 0 : flush(t, t->n, 1, e);
}

void textout_free(struct textout *t)
{
	mem_free(t->held);
	memset(t, 0, sizeof *t);
}
