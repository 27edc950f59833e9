#include "mem.h"

#include <stdlib.h>
#include <string.h>

/* In front of each block: what is needed to count its end. */
struct head {
	size_t bytes;
	enum mem_tag tag;
};
#define HEAD 16
_Static_assert(sizeof(struct head) <= HEAD, "the head keeps blocks 16-byte aligned");

static uint64_t live[MEM_TAGS], peak[MEM_TAGS];

const char *mem_tag_name(enum mem_tag tag)
{
	static const char *const name[MEM_TAGS] = {"other",   "weights", "kv", "activation",
						   "scratch", "vocab",   "io"};
	return name[tag];
}

static void count(enum mem_tag tag, size_t add, size_t sub)
{
	uint64_t now = __atomic_add_fetch(&live[tag], add - sub, __ATOMIC_RELAXED);
	uint64_t top = __atomic_load_n(&peak[tag], __ATOMIC_RELAXED);

	while (now > top && !__atomic_compare_exchange_n(&peak[tag], &top, now, 1, __ATOMIC_RELAXED,
							 __ATOMIC_RELAXED))
		;
}

static int no_memory(enum mem_tag tag, size_t bytes, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "no memory for %zu bytes (%s)", bytes, mem_tag_name(tag));
}

void *mem_alloc(enum mem_tag tag, size_t bytes, struct err *e)
{
	struct head *h = bytes > SIZE_MAX - HEAD ? NULL : malloc(bytes + HEAD);

	if (!h) {
		no_memory(tag, bytes, e);
		return NULL;
	}
	h->bytes = bytes;
	h->tag = tag;
	count(tag, bytes, 0);
	return (char *)h + HEAD;
}

void *mem_calloc(enum mem_tag tag, size_t n, size_t size, struct err *e)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		no_memory(tag, SIZE_MAX, e);
		return NULL;
	}
	void *p = mem_alloc(tag, bytes, e);
	if (p)
		memset(p, 0, bytes);
	return p;
}

void *mem_realloc(enum mem_tag tag, void *p, size_t n, size_t size, struct err *e)
{
	size_t bytes;

	if (!p)
		return __builtin_mul_overflow(n, size, &bytes) ? (no_memory(tag, SIZE_MAX, e), NULL)
							       : mem_alloc(tag, bytes, e);
	struct head *h = (struct head *)(void *)((char *)p - HEAD);
	struct head old = *h;
	if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - HEAD ||
	    !(h = realloc(h, bytes + HEAD))) {
		no_memory(tag, bytes, e);
		return NULL;
	}
	h->bytes = bytes;
	count(old.tag, 0, old.bytes);
	h->tag = tag;
	count(tag, bytes, 0);
	return (char *)h + HEAD;
}

char *mem_strndup(enum mem_tag tag, const char *s, size_t n, struct err *e)
{
	char *p = mem_alloc(tag, n + 1, e);

	if (p) {
		memcpy(p, s, n);
		p[n] = 0;
	}
	return p;
}

void mem_free(void *p)
{
	if (!p)
		return;
	struct head *h = (struct head *)(void *)((char *)p - HEAD);
	count(h->tag, 0, h->bytes);
	free(h);
}

uint64_t mem_live(enum mem_tag tag)
{
	return __atomic_load_n(&live[tag], __ATOMIC_RELAXED);
}

uint64_t mem_peak(enum mem_tag tag)
{
	return __atomic_load_n(&peak[tag], __ATOMIC_RELAXED);
}
