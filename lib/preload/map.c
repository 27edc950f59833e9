/*
 * mmap, munmap, mremap, shmat: mappings that the program makes itself, in a sorted table, because
 * they may be taken away in parts.
 */
#include "preload.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t page_up(size_t n)
{
	return ((uint64_t)n + 4095) & ~(uint64_t)4095;
}

/* Inside: state_enter and the table's lock. */
static int enter(void)
{
	if (!ledger->ready || state_foreign() || !state_enter(0))
		return 0;
	while (__atomic_exchange_n(&ledger->process->map_lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
	return 1;
}

static void leave(void)
{
	__atomic_store_n(&ledger->process->map_lock, 0, __ATOMIC_RELEASE);
	state_leave();
}

/* The first mapping that ends above lo. */
static uint32_t first_above(uint64_t lo)
{
	uint32_t a = 0, b = ledger->process->maps;

	while (a < b) {
		uint32_t m = (a + b) / 2;
		if (ledger->maps[m].hi > lo)
			b = m;
		else
			a = m + 1;
	}
	return a;
}

static void insert(uint32_t i, struct ledger_map m)
{
	struct ledger_process *p = ledger->process;

	if (p->maps == LEDGER_MAPS) {
		count_death(m.site, 1, m.hi - m.lo);
		count_birth(0, 1, m.hi - m.lo);
		return;
	}
	memmove(&ledger->maps[i + 1], &ledger->maps[i], (p->maps - i) * sizeof m);
	ledger->maps[i] = m;
	p->maps++;
}

static void delete (uint32_t i)
{
	struct ledger_process *p = ledger->process;

	p->maps--;
	memmove(&ledger->maps[i], &ledger->maps[i + 1], (p->maps - i) * sizeof *ledger->maps);
}

/* Takes [lo, hi) out of the table. */
static void cut(uint64_t lo, uint64_t hi)
{
	uint32_t i = first_above(lo);

	while (i < ledger->process->maps && ledger->maps[i].lo < hi) {
		struct ledger_map *m = &ledger->maps[i], rest = *m;
		uint64_t from = m->lo > lo ? m->lo : lo, to = m->hi < hi ? m->hi : hi;
		int whole = from == m->lo && to == m->hi;
		count_death(m->site, (uint64_t)whole, to - from);
		if (whole) {
			delete (i);
			continue;
		}
		if (from == m->lo) {
			m->lo = to;
		} else {
			m->hi = from;
			rest.lo = to;
			if (rest.lo < rest.hi) {
				count_birth(rest.site, 1, 0);
				insert(i + 1, rest);
			}
		}
		i++;
	}
}

static void add(void *p, size_t n, enum ledger_kind kind, struct place at)
{
	uint64_t lo = (uintptr_t)p, hi = lo + page_up(n);

	if (p == MAP_FAILED || !enter())
		return;
	cut(lo, hi);
	uint32_t site = stack_site(kind, at);
	count_birth(site, 1, hi - lo);
	if (site)
		insert(first_above(lo), (struct ledger_map){lo, hi, site, control->step});
	leave();
}

void map_backing(const void *p)
{
	uint64_t lo = (uintptr_t)p;

	if (!enter())
		return;
	uint32_t i = first_above(lo);
	if (i < ledger->process->maps && ledger->maps[i].lo <= lo) {
		struct ledger_map *m = &ledger->maps[i];
		const struct ledger_site *s = &ledger->sites[m->site];
		uint32_t stock = stack_store(LEDGER_BACKING, s->pc, s->n);
		count_death(m->site, 1, m->hi - m->lo);
		count_birth(stock, 1, m->hi - m->lo);
		m->site = stock;
	}
	leave();
}

static enum ledger_kind kind_of(int flags)
{
	return flags & MAP_ANONYMOUS ? LEDGER_MAP : LEDGER_FILE;
}

EXPORT void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	void *p = REAL(mmap)(at, n, prot, flags, fd, offset);

	add(p, n, kind_of(flags), HERE);
	return p;
}

EXPORT void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t offset)
{
	void *p = REAL(mmap64)(at, n, prot, flags, fd, offset);

	add(p, n, kind_of(flags), HERE);
	return p;
}

static void removed(const void *p, size_t n)
{
	if (!enter())
		return;
	cut((uintptr_t)p, (uintptr_t)p + page_up(n));
	leave();
}

EXPORT int munmap(void *p, size_t n)
{
	int (*next)(void *, size_t) = REAL(munmap);

	/* Before, because the addresses may be given away at once; a call that fails has an
	 * address that is no mapping's start, and is not ours either. */
	if (((uintptr_t)p & 4095) == 0 && n)
		removed(p, n);
	return next(p, n);
}

EXPORT void *mremap(void *old, size_t old_n, size_t n, int flags, ...)
{
	struct place at = HERE;
	enum ledger_kind kind = LEDGER_MAP;
	void *want = NULL;
	va_list ap;

	va_start(ap, flags);
	if (flags & MREMAP_FIXED)
		want = va_arg(ap, void *);
	va_end(ap);
	if (enter()) {
		uint32_t i = first_above((uintptr_t)old);
		if (i < ledger->process->maps && ledger->maps[i].lo <= (uintptr_t)old)
			kind = ledger->sites[ledger->maps[i].site].kind;
		leave();
	}
	void *p = REAL(mremap)(old, old_n, n, flags, want);
	if (p != MAP_FAILED) {
		if (old_n)
			removed(old, old_n);
		add(p, n, kind, at);
	}
	return p;
}

EXPORT void *shmat(int id, const void *want, int flags)
{
	void *p = REAL(shmat)(id, want, flags);
	struct shmid_ds d;

	if (p != MAP_FAILED && shmctl(id, IPC_STAT, &d) == 0)
		add(p, d.shm_segsz, LEDGER_MAP, HERE);
	return p;
}

EXPORT int shmdt(const void *p)
{
	uint64_t n = 0;

	if (enter()) {
		uint32_t i = first_above((uintptr_t)p);
		if (i < ledger->process->maps && ledger->maps[i].lo == (uintptr_t)p)
			n = ledger->maps[i].hi - ledger->maps[i].lo;
		leave();
	}
	int r = REAL(shmdt)(p);
	if (r == 0 && n)
		removed(p, n);
	return r;
}
