#include "arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes that are mapped for size bytes: whole pages, and one behind them that nothing may touch.  A
 * write past the end faults there, and the kernel cannot join two regions into one mapping, so each
 * can be seen from outside (bitnet-memplan --verify). */
static size_t mapped(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page + page;
}

int arena_init(struct arena *a, enum mem_tag tag, const char *name, size_t bytes, struct err *e)
{
	memset(a, 0, sizeof *a);
	a->tag = tag;
	a->name = name;
	if (!bytes)
		return 0;
	void *p = bytes > SIZE_MAX / 2
	              ? MAP_FAILED
	              : mmap(NULL, mapped(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED && mprotect(p, bytes, PROT_READ | PROT_WRITE)) {
		int saved = errno;
		munmap(p, mapped(bytes));
		errno = saved;
		p = MAP_FAILED;
	}
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
		munmap(a->base, mapped(a->size));
	memset(a, 0, sizeof *a);
}
