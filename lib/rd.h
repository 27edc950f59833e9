/*
 * A reader that cannot leave its bytes: every step is checked against what is left, in 64 bits and
 * without sums that wrap.  Numbers are read in the byte order that the reader was set to.  Where
 * the bytes come from a stream, `more` fetches what is missing.
 */
#ifndef RD_H
#define RD_H

#include <stdint.h>
#include <string.h>

#include "err.h"

struct rd {
	const uint8_t *data; /* size bytes, borrowed */
	uint64_t size;
	uint64_t pos;  /* never more than size */
	uint64_t rest; /* bytes that are known to follow the next thing at least: lets `more`
	                  fetch in large steps and yet never past the end of what is read */
	int swapped;   /* the other byte order than this machine's */

	/* Tries to make size at least end (data may move); a stream that ends earlier is no error
	 * here.  NULL: there is nothing more. */
	int (*more)(struct rd *r, uint64_t end, struct err *e);
	void *arg; /* of more */
};

static inline uint16_t rd_load16(const uint8_t *p, int swapped)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return swapped ? __builtin_bswap16(v) : v;
}

static inline uint32_t rd_load32(const uint8_t *p, int swapped)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return swapped ? __builtin_bswap32(v) : v;
}

static inline uint64_t rd_load64(const uint8_t *p, int swapped)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return swapped ? __builtin_bswap64(v) : v;
}

/* The slow path of rd_need. */
int rd_fetch(struct rd *r, uint64_t n, const char *what, struct err *e);

/* Whether n more bytes are there; status ERR_SHORT naming what when they are not. */
static inline int rd_need(struct rd *r, uint64_t n, const char *what, struct err *e)
{
	return n <= r->size - r->pos ? 0 : rd_fetch(r, n, what, e);
}

static inline int rd_skip(struct rd *r, uint64_t n, const char *what, struct err *e)
{
	if (rd_need(r, n, what, e))
		return -1;
	r->pos += n;
	return 0;
}

static inline int rd_u32(struct rd *r, uint32_t *v, const char *what, struct err *e)
{
	if (rd_need(r, 4, what, e))
		return -1;
	*v = rd_load32(r->data + r->pos, r->swapped);
	r->pos += 4;
	return 0;
}

static inline int rd_u64(struct rd *r, uint64_t *v, const char *what, struct err *e)
{
	if (rd_need(r, 8, what, e))
		return -1;
	*v = rd_load64(r->data + r->pos, r->swapped);
	r->pos += 8;
	return 0;
}

#endif
