#include "hash.h"

#include <inttypes.h>
#include <stdio.h>

#include "io.h"

void hash_begin(struct hash *h)
{
	XXH64_reset(&h->state, 0);
}

void hash_add(struct hash *h, const void *p, size_t n)
{
	if (n)
		XXH64_update(&h->state, p, n);
}

uint64_t hash_value(const struct hash *h)
{
	return XXH64_digest(&h->state);
}

int hash_add_fd(struct hash *h, int fd, uint64_t offset, uint64_t n, struct err *e)
{
	static const size_t step = 65536;
	uint8_t buffer[65536];

	while (n) {
		size_t part = n < step ? (size_t)n : step;
		if (io_pread(fd, buffer, part, offset, e))
			return -1;
		hash_add(h, buffer, part);
		offset += part;
		n -= part;
	}
	return 0;
}

const char *hash_text(char out[HASH_TEXT], uint64_t value)
{
	snprintf(out, HASH_TEXT, "%016" PRIx64, value);
	return out;
}
