#define ERR_C
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message is one line, whatever a file name or a key holds. */
static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

static int set(struct err *e, int status, const char *fmt, va_list ap)
{
	if (!e)
		return -1;
	e->status = status;
	e->unsupported = 0;
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	one_line(e->text);
	return -1;
}

int err_set(struct err *e, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(e, status, fmt, ap);
	va_end(ap);
	return -1;
}

int err_unsupported(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(e, ERR_TROUBLE, fmt, ap);
	va_end(ap);
	if (e)
		e->unsupported = 1;
	return -1;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!e)
		return -1;
	e->status = ERR_TROUBLE;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	size_t n = strlen(e->text);
	snprintf(e->text + n, sizeof e->text - n, ": %s", strerror(saved));
	one_line(e->text);
	errno = saved;
	return -1;
}

int err_in(struct err *e, const char *fmt, ...)
{
	char old[ERR_TEXT];
	va_list ap;

	if (!e)
		return -1;
	memcpy(old, e->text, sizeof old);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	size_t n = strlen(e->text);
	snprintf(e->text + n, sizeof e->text - n, ": %s", old);
	one_line(e->text);
	return -1;
}

const char *err_quote(char *out, size_t cap, const char *s, size_t n)
{
	size_t o = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		size_t need = c >= 0x20 && c < 0x7f ? 1 : 4;

		/* Room for this one, and for "..." and the end after it. */
		if (o + need + 4 > cap) {
			memcpy(out + o, "...", 3);
			o += 3;
			break;
		}
		if (need == 1)
			out[o++] = (char)c;
		else
			o += (size_t)snprintf(out + o, 5, "\\x%02x", c);
	}
	out[o] = 0;
	return out;
}
