/*
 * Checksums with xxHash: XXH64 with seed 0, the one that gguf-hash and xxhsum print, of bytes as
 * they come by.
 */
#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "err.h"

struct hash {
	XXH64_state_t state;
};

void hash_begin(struct hash *h);
void hash_add(struct hash *h, const void *p, size_t n);
uint64_t hash_value(const struct hash *h); /* of what was added so far; more may follow */

/* Adds n bytes of fd from offset on; status ERR_SHORT when the file ends before. */
int hash_add_fd(struct hash *h, int fd, uint64_t offset, uint64_t n, struct err *e);

#define HASH_TEXT 17
/* 16 digits, as xxhsum writes them. */
const char *hash_text(char out[HASH_TEXT], uint64_t value);

#endif
