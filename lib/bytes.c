#include "bytes.h"

#include <string.h>

#include "mem.h"

int bytes_add(struct bytes *b, const char *p, size_t n, struct err *e)
{
	if (n > b->cap - b->n) {
		size_t cap = 2 * (b->n + n) + 64;
		char *grown = mem_realloc(MEM_IO, b->p, cap, 1, e);
		if (!grown)
			return -1;
		b->p = grown;
		b->cap = cap;
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

void bytes_free(struct bytes *b)
{
	mem_free(b->p);
	*b = (struct bytes){0};
}
