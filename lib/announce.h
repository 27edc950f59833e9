/*
 * Tells outside tools what happens inside the pools: valgrind (memory pool requests),
 * AddressSanitizer (poisoning, roots of its leak search), heaptrack and the ledger of
 * bitnet-leakcheck (their interfaces, when they are preloaded).  Without them a block costs one
 * predicted branch.
 *
 * In a build for AddressSanitizer the bytes between blocks are poisoned, but for the 16 bytes of
 * each note.
 */
#ifndef ANNOUNCE_H
#define ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define ANNOUNCE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ANNOUNCE_ASAN 1
#endif
#endif

/* Whether some tool listens; set before main, constant afterwards. */
#ifdef ANNOUNCE_ASAN
#define announce_on 1
#else
extern int announce_on;
#endif

/* A mapping of n bytes that blocks will lie in: nothing behind its first own bytes, which are the
 * allocator's, may be used before it is taken. */
void announce_mapped(void *p, size_t own, size_t n);
void announce_unmapped(void *p, size_t own, size_t n);

/* The allocator's own words inside such memory. */
void announce_own(void *p, size_t n);

/* A block of n bytes was handed out (zeroed or not), or came back. */
void announce_taken(const void *pool, void *p, size_t n, bool zero);
void announce_given(const void *pool, void *p, size_t n);

/* A whole pool begins, before its first block, and ends. */
void announce_began(const void *pool);
void announce_ended(const void *pool);

/* Part of a block may not (or may again) be used, and then holds something or not: scopes of
 * arenas. */
void announce_closed(void *p, size_t n);
void announce_open(void *p, size_t n, bool defined);

#endif
