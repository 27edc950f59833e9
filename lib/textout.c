#include "textout.h"

#include <string.h>

#include "mem.h"

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

/* Length of the UTF-8 sequence at p: 0 when the n bytes may still grow into one, -1 when they
 * cannot (RFC 3629: no overlong forms, no surrogates, nothing over U+10FFFF). */
static int sequence(const unsigned char *p, size_t n)
{
	unsigned char c = p[0], low = 0x80, high = 0xbf;
	size_t len = c < 0x80                ? 1
	             : c >= 0xc2 && c < 0xe0 ? 2
	             : c >= 0xe0 && c < 0xf0 ? 3
	             : c >= 0xf0 && c < 0xf5 ? 4
	                                     : 0;

	if (!len)
		return -1;
	if (c == 0xe0)
		low = 0xa0;
	if (c == 0xed)
		high = 0x9f;
	if (c == 0xf0)
		low = 0x90;
	if (c == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < len; i++) {
		if (i == n)
			return 0;
		if (p[i] < low || p[i] > high)
			return -1;
		low = 0x80;
		high = 0xbf;
	}
	return (int)len;
}

/* Writes the characters of held[0..n) and drops them; an unfinished one stays unless last. */
static int flush(struct textout *t, size_t n, int last, struct err *e)
{
	size_t done = 0, from = 0;

	while (done < n) {
		int len = sequence((unsigned char *)t->held + done, n - done);
		if (len == 0 && !last)
			break;
		if (len > 0) {
			done += (size_t)len;
			continue;
		}
		if (done > from && t->write(t->arg, t->held + from, done - from, e))
			return -1;
		if (t->write(t->arg, REPLACEMENT, 3, e))
			return -1;
		/* One mark for an unfinished sequence at the end, one per byte elsewhere. */
		done = len == 0 ? n : done + 1;
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
	if (t->stopped)
		return 1;
	if (t->n + n > t->cap) {
		size_t cap = 2 * (t->n + n) + 64;
		char *grown = mem_realloc(MEM_IO, t->held, cap, 1, e);
		if (!grown)
			return -1;
		t->held = grown;
		t->cap = cap;
	}
	if (n)
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
	return t->stopped ? 0 : flush(t, t->n, 1, e);
}

void textout_free(struct textout *t)
{
	mem_free(t->held);
	memset(t, 0, sizeof *t);
}
