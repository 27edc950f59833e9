/*
 * Call stacks and their sites.
 *
 * Unwinding by the tables of the compiler costs about a microsecond, so each thread keeps the
 * stacks it has seen, by return address and frame address of the event: with them the places of
 * all return addresses above.  When every place still holds the same return address, the stack is
 * the same; that is twenty comparisons of words that are in the cache anyway.  A stack that is
 * not where the thread's stack should be (a coroutine, a signal stack) is known by its innermost
 * return address alone.
 *
 * The unwinder is libgcc's: with current C libraries it takes no lock and no memory.
 */
#include "preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#define WORD sizeof(uintptr_t)
#define WAYS 4u

struct walk {
	struct place at;
	uint32_t n; /* frames found, the event's own included */
	int whole;  /* each return address lies where the unwinder said */
	uint64_t pc[LEDGER_FRAMES];
	uint32_t word[LEDGER_FRAMES]; /* its place, in words from at.frame */
};

static _Unwind_Reason_Code frame(struct _Unwind_Context *c, void *arg)
{
	struct walk *w = arg;
	uintptr_t pc = _Unwind_GetIP(c), place = _Unwind_GetCFA(c) - WORD;

	if (w->n == 0) {
		/* The frames of the ledger itself come first. */
		w->n = pc == w->at.pc;
		return _URC_NO_REASON;
	}
	if (!pc || place <= w->at.frame || place >= self.hi || place % WORD)
		return _URC_END_OF_STACK;
	if (*(uintptr_t *)place != pc)
		w->whole = 0;
	w->pc[w->n] = pc;
	w->word[w->n] = (uint32_t)((place - w->at.frame) / WORD);
	return ++w->n < LEDGER_FRAMES ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Where the tables are missing or do not say where return addresses lie: the chain of frames. */
static void walk_frames(struct walk *w)
{
	uintptr_t f = w->at.frame;

	for (w->n = 1; w->n < LEDGER_FRAMES; w->n++) {
		uintptr_t next = *(uintptr_t *)f;
		if (next <= f || next >= self.hi - 2 * WORD || next % WORD)
			return;
		w->pc[w->n] = *(uintptr_t *)(next + WORD);
		w->word[w->n] = (uint32_t)((next + WORD - w->at.frame) / WORD);
		if (!w->pc[w->n])
			return;
		f = next;
	}
}

static void add_module(uint64_t base, uint64_t lo, uint64_t hi, const char *name)
{
	struct ledger_process *p = ledger->process;
	struct ledger_module m = {.base = base, .lo = lo, .hi = hi};

	for (uint32_t i = 0; i < p->modules; i++)
		if (ledger->modules[i].lo == lo && ledger->modules[i].hi == hi)
			return;
	if (p->modules == LEDGER_MODULES)
		return;
	if (!name || !*name) {
		ssize_t n = readlink("/proc/self/exe", m.path, sizeof m.path - 1);
		m.path[n > 0 ? n : 0] = 0;
	} else {
		snprintf(m.path, sizeof m.path, "%s", name);
	}
	ledger->modules[p->modules] = m;
	__atomic_store_n(&p->modules, p->modules + 1, __ATOMIC_RELEASE);
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE /* since glibc 2.35: without a lock */
static void find_module(uint64_t pc)
{
	struct dl_find_object o;

	if (_dl_find_object((void *)(uintptr_t)pc, &o) == 0)
		add_module(o.dlfo_link_map->l_addr, (uintptr_t)o.dlfo_map_start,
		           (uintptr_t)o.dlfo_map_end, o.dlfo_link_map->l_name);
}
#else
static int one_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	uint64_t lo = UINT64_MAX, hi = 0;
	(void)size;
	(void)arg;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uint64_t at = info->dlpi_addr + h->p_vaddr;
		if (h->p_type != PT_LOAD)
			continue;
		lo = at < lo ? at : lo;
		hi = at + h->p_memsz > hi ? at + h->p_memsz : hi;
	}
	add_module(info->dlpi_addr, lo, hi, info->dlpi_name);
	return 0;
}

static void find_module(uint64_t pc)
{
	(void)pc;
	dl_iterate_phdr(one_module, NULL);
}
#endif

static int known(uint64_t pc)
{
	for (uint32_t i = ledger->process->modules; i-- > 0;)
		if (pc >= ledger->modules[i].lo && pc < ledger->modules[i].hi)
			return 1;
	return 0;
}

/* So that the reader can name the addresses of a stack after the process has ended.  Who finds
 * another thread at it goes on: waiting here could close a circle with the loader's lock. */
static void learn_modules(const uint64_t *pc, uint32_t n)
{
	static int at_it;

	for (uint32_t i = 0; i < n; i++)
		if (!known(pc[i]) && !__atomic_exchange_n(&at_it, 1, __ATOMIC_ACQUIRE)) {
			find_module(pc[i]);
			__atomic_store_n(&at_it, 0, __ATOMIC_RELEASE);
		}
}

static uint64_t hash_of(enum ledger_kind kind, const uint64_t *pc, uint32_t n)
{
	uint64_t h = 0x9e3779b97f4a7c15u + (uint64_t)kind;

	for (uint32_t i = 0; i < n; i++)
		h = (h ^ pc[i] ^ h >> 29) * 0xbf58476d1ce4e5b9u;
	return h ? h : 1;
}

/* The place of a hash in the index, where it is or where it could be. */
static uint32_t *index_place(uint64_t hash)
{
	uint32_t i = (uint32_t)(hash >> 40) & (LEDGER_INDEX - 1);

	for (;; i = (i + 1) & (LEDGER_INDEX - 1)) {
		uint32_t id = __atomic_load_n(&ledger->index[i], __ATOMIC_ACQUIRE);
		if (!id || ledger->sites[id].hash == hash)
			return &ledger->index[i];
	}
}

static uint32_t add_site(uint64_t hash, enum ledger_kind kind, const uint64_t *pc, uint32_t n)
{
	struct ledger_process *p = ledger->process;

	while (__atomic_exchange_n(&p->site_lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
	uint32_t *place = index_place(hash), id = *place;
	if (!id && p->sites < LEDGER_SITES) {
		id = p->sites;
		struct ledger_site *s = &ledger->sites[id];
		s->kind = (uint32_t)kind;
		s->n = n;
		memcpy(s->pc, pc, n * sizeof *pc);
		s->hash = hash;
		__atomic_store_n(place, id, __ATOMIC_RELEASE);
		__atomic_store_n(&p->sites, id + 1, __ATOMIC_RELEASE);
	} else if (!id) {
		p->dropped_sites++;
	}
	__atomic_store_n(&p->site_lock, 0, __ATOMIC_RELEASE);
	return id;
}

uint32_t stack_store(enum ledger_kind kind, const uint64_t *pc, uint32_t n)
{
	uint64_t once[LEDGER_FRAMES];
	uint32_t m = 0;

	/* Recursion of any depth is one site. */
	for (uint32_t i = 0; i < n; i++)
		if (!m || once[m - 1] != pc[i])
			once[m++] = pc[i];
	uint64_t hash = hash_of(kind, once, m);
	uint32_t id = __atomic_load_n(index_place(hash), __ATOMIC_ACQUIRE);
	if (LIKELY(id))
		return id;
	learn_modules(once, m);
	return add_site(hash, kind, once, m);
}

static RARELY uint32_t walk_stack(enum ledger_kind kind, struct place at, struct ledger_cached *c)
{
	struct walk w = {.at = at, .whole = 1};
	int saved = errno;

	_Unwind_Backtrace(frame, &w);
	if (w.n < 2 || !w.whole) {
		w.whole = 1;
		walk_frames(&w);
	}
	w.pc[0] = at.pc;
	uint32_t site = stack_store(kind, w.pc, w.n);
	if (c && site && w.n > 1) {
		c->sp = 0; /* invalid meanwhile */
		c->site = site;
		c->n = w.n;
		memcpy(c->at, w.word, sizeof w.word);
		memcpy(c->ret, w.pc, sizeof w.pc);
		c->pc = at.pc ^ (uint64_t)kind << 56;
		c->sp = at.frame;
	}
	errno = saved;
	return site;
}

static inline int same(const struct ledger_cached *c, uintptr_t frame_at)
{
	const uintptr_t *word = (const uintptr_t *)frame_at;
	uint64_t differ = 0;

	if (frame_at + c->at[c->n - 1] * WORD >= self.hi)
		return 0;
	for (uint32_t i = 1; i < c->n; i++) {
		/* The frame is one of this stack:
		 * NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		differ |= word[c->at[i]] ^ c->ret[i];
	}
	return !differ;
}

/* The innermost return address alone. */
static uint32_t address_site(enum ledger_kind kind, uint64_t pc, struct ledger_cached *c)
{
	uint32_t site = stack_store(kind, &pc, 1);

	if (c && site)
		*c = (struct ledger_cached){.pc = pc ^ (uint64_t)kind << 56, .site = site, .n = 1};
	return site;
}

uint32_t stack_site(enum ledger_kind kind, struct place at)
{
	uint64_t pc = at.pc ^ (uint64_t)kind << 56;
	int alone = ledger->level == LEDGER_SITE || at.frame < self.lo || at.frame >= self.hi;
	uintptr_t frame_at = alone ? 0 : at.frame;

	if (!self.cache)
		return alone ? address_site(kind, at.pc, NULL) : walk_stack(kind, at, NULL);
	/* Sets of four, replaced in turn: callers at the same depth differ only further up. */
	uint64_t h = (pc ^ (uint64_t)frame_at << 7) * 0x9e3779b97f4a7c15u;
	struct ledger_cached *set = &self.cache[(h >> 40) & (LEDGER_CACHED - WAYS)];
	for (unsigned i = 0; i < WAYS; i++)
		if (LIKELY(set[i].pc == pc && set[i].sp == frame_at && same(&set[i], frame_at)))
			return set[i].site;
	struct ledger_cached *c = &set[self.turn++ % WAYS];
	return alone ? address_site(kind, at.pc, c) : walk_stack(kind, at, c);
}
