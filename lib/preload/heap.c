/*
 * The malloc family.  Each function passes on to the next one in the order of the loader, which
 * may be another allocator's, and records what it gave.
 */
#include "preload.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	void *(*memalign)(size_t, size_t);
	void *(*valloc)(size_t);
	void *(*pvalloc)(size_t);
} real;

/* Blocks for the loader while the real functions are being looked up; never given back. */
static char early[16384] __attribute__((aligned(16)));
static size_t early_used;
static int looking;

static int is_early(const void *p)
{
	return (const char *)p >= early && (const char *)p < early + sizeof early;
}

static void *early_take(size_t n)
{
	size_t at = early_used;

	n = (n + 15) & ~(size_t)15;
	if (n > sizeof early - at) {
		errno = ENOMEM;
		return NULL;
	}
	early_used = at + n;
	return early + at;
}

/* 0 while the lookup itself is what asks for memory. */
static RARELY int look_up(void)
{
	if (looking)
		return 0;
	looking = 1;
	*(void **)&real.calloc = real_find("calloc");
	*(void **)&real.realloc = real_find("realloc");
	*(void **)&real.free = real_find("free");
	*(void **)&real.posix_memalign = real_find("posix_memalign");
	*(void **)&real.aligned_alloc = real_find("aligned_alloc");
	*(void **)&real.memalign = real_find("memalign");
	*(void **)&real.valloc = real_find("valloc");
	*(void **)&real.pvalloc = real_find("pvalloc");
	*(void **)&real.malloc = real_find("malloc");
	looking = 0;
	return 1;
}

static inline int ready(void)
{
	return LIKELY(real.malloc != NULL) || look_up();
}

EXPORT void *malloc(size_t n)
{
	if (!ready())
		return early_take(n);
	void *p = real.malloc(n);
	record_birth(p, n, LEDGER_HEAP, HERE);
	return p;
}

EXPORT void *calloc(size_t count, size_t size)
{
	if (!ready())
		return early_take(count * size);
	void *p = real.calloc(count, size);
	record_birth(p, count * size, LEDGER_HEAP, HERE);
	return p;
}

EXPORT void free(void *p)
{
	if (!p || is_early(p) || !ready())
		return;
	record_death(p);
	real.free(p);
}

static void *resize(void *p, size_t n, struct place at)
{
	struct ledger_block was;

	/* Ended first: as soon as it is freed, another thread may be given the same address. */
	int known = record_take(p, &was);
	void *q = real.realloc(p, n);
	if (q)
		record_birth(q, n, LEDGER_HEAP, at);
	else if (known && n)
		record_back(p, &was);
	return q;
}

static void *resize_early(void *p, size_t n)
{
	size_t room = (size_t)(early + sizeof early - (char *)p);
	void *q = malloc(n);

	return q ? memcpy(q, p, n < room ? n : room) : NULL;
}

EXPORT void *realloc(void *p, size_t n)
{
	if (!ready())
		return NULL;
	return is_early(p) ? resize_early(p, n) : resize(p, n, HERE);
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(count, size, &n) || !ready()) {
		errno = ENOMEM;
		return NULL;
	}
	return is_early(p) ? resize_early(p, n) : resize(p, n, HERE);
}

EXPORT int posix_memalign(void **p, size_t align, size_t n)
{
	if (!ready())
		return ENOMEM;
	int r = real.posix_memalign(p, align, n);
	if (r == 0)
		record_birth(*p, n, LEDGER_HEAP, HERE);
	return r;
}

EXPORT void *aligned_alloc(size_t align, size_t n)
{
	void *p = ready() ? real.aligned_alloc(align, n) : NULL;

	record_birth(p, n, LEDGER_HEAP, HERE);
	return p;
}

EXPORT void *memalign(size_t align, size_t n)
{
	void *p = ready() ? real.memalign(align, n) : NULL;

	record_birth(p, n, LEDGER_HEAP, HERE);
	return p;
}

EXPORT void *valloc(size_t n)
{
	void *p = ready() ? real.valloc(n) : NULL;

	record_birth(p, n, LEDGER_HEAP, HERE);
	return p;
}

EXPORT void *pvalloc(size_t n)
{
	void *p = ready() ? real.pvalloc(n) : NULL;

	record_birth(p, n, LEDGER_HEAP, HERE);
	return p;
}
