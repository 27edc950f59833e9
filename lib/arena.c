#include "arena.h"

#include <string.h>
#include <sys/mman.h>

int arena_init(struct arena *a, enum mem_tag tag, const char *name, size_t bytes, struct err *e)
{
	memset(a, 0, sizeof *a);
	a->tag = tag;
	a->name = name;
	if (!bytes)
		return 0;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "%s: no memory for %zu bytes", name, bytes);
	a->base = p;
	a->size = bytes;
	return 0;
}

void *arena_take(struct arena *a, size_t n)
{
	size_t need = arena_round(n);

	if (need < n || need > a->size - a->used)
		return NULL;
	uint8_t *p = a->base + a->used;
	a->used += need;
	return p;
}

void arena_end(struct arena *a, size_t mark)
{
	a->used = mark;
}

void arena_fini(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->size);
	memset(a, 0, sizeof *a);
}
