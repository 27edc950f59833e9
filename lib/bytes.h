/*
 * Bytes that grow.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>

#include "err.h"

/* All-zero is empty. */
struct bytes {
	char *p; /* n bytes, owned; NULL when there were never any */
	size_t n, cap;
};

/* Appends n bytes.  Errors: no memory; then nothing is appended.  Owner: the caller, bytes_free. */
int bytes_add(struct bytes *b, const char *p, size_t n, struct err *e);
void bytes_free(struct bytes *b);

#endif
