#include "chunk.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "announce.h"
#include "spin.h"

uint64_t chunk_space[CHUNK_SPACE / 64];

static void know(const struct chunk *c, bool yes)
{
	uint64_t i = (uintptr_t)c >> CHUNK_SHIFT, bit = (uint64_t)1 << (i & 63);

	if (yes)
		__atomic_or_fetch(&chunk_space[i / 64], bit, __ATOMIC_RELEASE);
	else
		__atomic_and_fetch(&chunk_space[i / 64], ~bit, __ATOMIC_RELEASE);
}

static uint32_t unit_count(size_t bytes)
{
	return (uint32_t)((bytes + UNIT_BYTES - 1) >> UNIT_SHIFT);
}

/* The part of [first, first + n) that lies in word w, as a mask. */
static uint64_t part(uint32_t first, uint32_t n, uint32_t w)
{
	uint32_t lo = first > w * 64 ? first - w * 64 : 0;
	uint32_t hi = first + n < w * 64 + 64 ? first + n - w * 64 : 64;

	return (~(uint64_t)0 >> (64 - (hi - lo))) << lo;
}

/* NOLINTNEXTLINE(bugprone-macro-parentheses): w is declared, and a declared name takes none */
#define EACH_WORD(w, first, n) (uint32_t w = (first) / 64; w <= ((first) + (n)-1) / 64; w++)

static void bits_set(uint64_t *map, uint32_t first, uint32_t n)
{
	for
		EACH_WORD(w, first, n)
	map[w] |= part(first, n, w);
}

static void bits_clear(uint64_t *map, uint32_t first, uint32_t n)
{
	for
		EACH_WORD(w, first, n)
	map[w] &= ~part(first, n, w);
}

/* Most words are all or nothing, which needs no counting. */
static uint32_t bits_count(const uint64_t *map, uint32_t first, uint32_t n)
{
	uint32_t count = 0;

	for
		EACH_WORD(w, first, n)
		{
			uint64_t mask = part(first, n, w), x = map[w] & mask;

			if (x == mask)
				count +=
				    64 - (uint32_t)(__builtin_clzll(mask) + __builtin_ctzll(mask));
			else if (x)
				count += (uint32_t)__builtin_popcountll(x);
		}
	return count;
}

/* Stale units; a chunk that was in use for a while has no others. */
static uint32_t stale_count(const struct chunk *c, uint32_t first, uint32_t n)
{
	return c->clean ? bits_count(c->stale, first, n) : n;
}

static void stale_set(struct chunk *c, uint32_t first, uint32_t n)
{
	if (!c->clean)
		return;
	c->clean -= n - bits_count(c->stale, first, n);
	bits_set(c->stale, first, n);
}

static void stale_clear(struct chunk *c, uint32_t first, uint32_t n)
{
	c->clean += stale_count(c, first, n);
	bits_clear(c->stale, first, n);
}

static bool aligned(const char *p)
{
	return p != MAP_FAILED && (uintptr_t)p % CHUNK_BYTES == 0;
}

/* An aligned mapping.  The system often places it right below the last one, which is aligned; or
 * else what lies below its place is mostly free, so that no more is mapped, even for a moment, than
 * is kept: that counts where RLIMIT_AS is tight. */
static struct chunk *map(size_t bytes, bool huge)
{
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *p = mmap(NULL, bytes, prot, flags, -1, 0);

	if (p != MAP_FAILED && !aligned(p)) {
		munmap(p, bytes);
		p = mmap(p - (uintptr_t)p % CHUNK_BYTES, bytes, prot, flags | MAP_FIXED_NOREPLACE,
		         -1, 0);
		if (p != MAP_FAILED && !aligned(p))
			munmap(p, bytes);
	}
	if (!aligned(p)) {
		p = mmap(NULL, bytes + CHUNK_BYTES, prot, flags, -1, 0);
		if (p != MAP_FAILED) {
			size_t skip = CHUNK_BYTES - (uintptr_t)p % CHUNK_BYTES;

			munmap(p, skip);
			if (skip < CHUNK_BYTES)
				munmap(p + skip + bytes, CHUNK_BYTES - skip);
			p += skip;
		}
	}
	if (p == MAP_FAILED)
		return NULL;
	/* One small block must not make 2 MiB resident, whatever the machine's default is. */
	madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return (struct chunk *)(void *)p;
}

static void unmap(struct chunk *c)
{
	know(c, false);
	announce_unmapped(c, UNIT_BYTES, c->mapped);
	munmap(c, c->mapped);
}

/* The counters that others look at without the lock. */
static void add(size_t *counter, size_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static bool table_ready(struct chunks *set)
{
	if (set->table)
		return true;
	void *p = mmap(NULL, CHUNKS_MAX * sizeof *set->table, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return false;
	set->table = p;
	return true;
}

/* ---- idle runs ---- */

static void idle_add(struct chunks *set, struct chunk *c, uint32_t first, uint32_t n)
{
	struct span *s = &c->span[first], *last = s + n - 1;

	last->idle = s->idle = 1;
	last->units = s->units = (uint16_t)n;
	s->prev = NULL;
	s->next = set->run[n];
	if (s->next)
		s->next->prev = s;
	set->run[n] = s;
	set->runs[n / 64] |= (uint64_t)1 << (n & 63);
}

static void idle_remove(struct chunks *set, struct span *s)
{
	uint32_t n = s->units;

	s[n - 1].idle = s->idle = 0;
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev) {
		s->prev->next = s->next;
	} else {
		set->run[n] = s->next;
		if (!s->next)
			set->runs[n / 64] &= ~((uint64_t)1 << (n & 63));
	}
}

/* The shortest idle run of at least n units. */
static struct span *idle_find(const struct chunks *set, uint32_t n)
{
	uint64_t x = set->runs[n / 64] & ~(uint64_t)0 << (n & 63);

	for (uint32_t w = n / 64; w < CHUNK_WORDS; x = set->runs[w]) {
		if (x)
			return set->run[w * 64 + (uint32_t)__builtin_ctzll(x)];
		if (++w == CHUNK_WORDS)
			break;
	}
	return NULL;
}

/* A new chunk, one idle run, in the first empty slot. */
static struct span *grow(struct chunks *set)
{
	if (!table_ready(set))
		return NULL;
	uint32_t slot = 0;
	while (slot < set->count && set->table[slot])
		slot++;
	struct chunk *c = slot < CHUNKS_MAX ? map(CHUNK_BYTES, set->options.huge) : NULL;
	if (!c)
		return NULL;
	c->set = set;
	c->mapped = CHUNK_BYTES;
	c->slot = slot;
	c->clean = CHUNK_UNITS - 1;
	know(c, true);
	announce_mapped(c, UNIT_BYTES, CHUNK_BYTES);
	set->table[slot] = c;
	set->mapped += CHUNK_BYTES;
	set->idle += CHUNK_MAX;
	if (slot == set->count)
		set->count++;
	idle_add(set, c, 1, CHUNK_UNITS - 1);
	return &c->span[1];
}

static struct span *take_run(struct chunks *set, uint32_t n, bool *zero)
{
	struct span *s = idle_find(set, n);

	if (!s)
		s = grow(set);
	if (!s)
		return NULL;
	struct chunk *c = chunk_of(s);
	uint32_t first = (uint32_t)(s - c->span), rest = s->units - n;
	idle_remove(set, s);
	if (rest)
		idle_add(set, c, first + n, rest);
	uint32_t stale = stale_count(c, first, n);
	set->idle -= n * UNIT_BYTES;
	add(&set->kept, -(stale * UNIT_BYTES));
	*zero = !stale;
	memset(s, 0, sizeof *s);
	s->units = (uint16_t)n;
	return s;
}

static struct span *take_own(struct chunks *set, size_t bytes, bool *zero)
{
	struct chunk *c = map(UNIT_BYTES + bytes, set->options.huge);

	if (!c)
		return NULL;
	c->set = set;
	c->mapped = UNIT_BYTES + bytes;
	know(c, true);
	announce_mapped(c, UNIT_BYTES, c->mapped);
	*zero = true;
	spin_lock(&set->lock);
	c->next = set->owned;
	if (c->next)
		c->next->prev = c;
	set->owned = c;
	set->mapped += c->mapped;
	set->own += c->mapped;
	spin_unlock(&set->lock);
	return &c->span[1];
}

/* Counts bytes in, if the limit allows. */
static bool claim(struct chunks *set, size_t bytes)
{
	size_t limit = set->options.limit;

	if (limit && (bytes > limit || set->used > limit - bytes))
		return false;
	add(&set->used, bytes);
	if (set->used > set->peak)
		set->peak = set->used;
	return true;
}

void *chunks_take(struct chunks *set, size_t bytes, bool *zero)
{
	if (bytes > PTRDIFF_MAX - 2 * CHUNK_BYTES)
		return NULL;
	size_t whole = (bytes + UNIT_BYTES - 1) & ~(UNIT_BYTES - 1);
	bool own = whole > CHUNK_MAX;
	struct span *s = NULL;

	spin_lock(&set->lock);
	bool allowed = claim(set, whole);
	if (allowed && !own)
		s = take_run(set, (uint32_t)(whole >> UNIT_SHIFT), zero);
	spin_unlock(&set->lock);
	if (allowed && own)
		s = take_own(set, whole, zero);
	if (allowed && !s) {
		spin_lock(&set->lock);
		add(&set->used, -(whole));
		spin_unlock(&set->lock);
	}
	return s ? span_base(s) : NULL;
}

static void give_own(struct chunks *set, struct chunk *c)
{
	spin_lock(&set->lock);
	*(c->prev ? &c->prev->next : &set->owned) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	add(&set->used, -(c->mapped - UNIT_BYTES));
	set->mapped -= c->mapped;
	set->own -= c->mapped;
	spin_unlock(&set->lock);
	unmap(c);
}

/* Takes an idle chunk out of the table; the caller unmaps it, without the lock.  Its stale bytes.
 */
static size_t drop(struct chunks *set, struct chunk *c)
{
	size_t stale = stale_count(c, 1, CHUNK_UNITS - 1) * UNIT_BYTES;

	idle_remove(set, &c->span[1]);
	add(&set->kept, -stale);
	set->mapped -= c->mapped;
	set->idle -= CHUNK_MAX;
	set->table[c->slot] = NULL;
	while (set->count && !set->table[set->count - 1])
		set->count--;
	return stale;
}

static bool is_idle(const struct chunk *c)
{
	return c->span[1].idle && c->span[1].units == CHUNK_UNITS - 1;
}

/* Merges [first, first + n) with the idle runs beside it. */
static void merge(struct chunks *set, struct chunk *c, uint32_t first, uint32_t n)
{
	if (first + n < CHUNK_UNITS && c->span[first + n].idle) {
		struct span *right = &c->span[first + n];

		n += right->units;
		idle_remove(set, right);
	}
	if (first > 1 && c->span[first - 1].idle) {
		uint32_t left = c->span[first - 1].units;

		first -= left;
		n += left;
		idle_remove(set, &c->span[first]);
	}
	idle_add(set, c, first, n);
}

void chunks_give(struct chunks *set, void *p, size_t touched)
{
	struct chunk *c = chunk_of(p);
	struct span *s = span_of(p);
	uint32_t n = s->units, first = (uint32_t)(s - c->span);

	if (!n) {
		give_own(set, c);
		return;
	}
	size_t bytes = n * UNIT_BYTES;
	/* The run is still ours alone here, so the system call needs no lock. */
	bool clean = __atomic_load_n(&set->kept, __ATOMIC_RELAXED) + bytes > set->options.keep &&
	             madvise(p, bytes, MADV_DONTNEED) == 0;
	spin_lock(&set->lock);
	if (clean)
		stale_clear(c, first, n);
	else if (touched)
		stale_set(c, first, touched < bytes ? unit_count(touched) : n);
	if (touched < bytes || clean)
		bytes = stale_count(c, first, n) * UNIT_BYTES;
	add(&set->kept, bytes);
	set->idle += n * UNIT_BYTES;
	add(&set->used, -(n * UNIT_BYTES));
	merge(set, c, first, n);
	/* The last chunk stays: a program that takes and ends one block over and over maps once. */
	bool unused = clean && is_idle(c) && set->count > 1;
	if (unused)
		drop(set, c);
	spin_unlock(&set->lock);
	if (unused)
		unmap(c);
}

/* Gives what is stale in the idle runs of c back. */
static size_t trim_chunk(struct chunks *set, struct chunk *c)
{
	size_t bytes = 0;

	for (uint32_t i = 1; i < CHUNK_UNITS; i += c->span[i].units) {
		uint32_t n = c->span[i].units;
		uint32_t stale = c->span[i].idle ? stale_count(c, i, n) : 0;

		if (stale &&
		    madvise((char *)c + i * UNIT_BYTES, n * UNIT_BYTES, MADV_DONTNEED) == 0) {
			stale_clear(c, i, n);
			bytes += stale * UNIT_BYTES;
		}
	}
	add(&set->kept, -bytes);
	return bytes;
}

size_t chunks_trim(struct chunks *set)
{
	size_t bytes = 0;

	for (uint32_t i = 0;; i++) {
		spin_lock(&set->lock);
		struct chunk *c = i < set->count ? set->table[i] : NULL;
		bool last = i >= set->count, unused = c && is_idle(c);

		if (c)
			bytes += unused ? drop(set, c) : trim_chunk(set, c);
		spin_unlock(&set->lock);
		if (unused)
			unmap(c);
		if (last)
			return bytes;
	}
}

void chunks_fini(struct chunks *set)
{
	while (set->owned) {
		struct chunk *c = set->owned;

		set->owned = c->next;
		unmap(c);
	}
	for (uint32_t i = 0; i < set->count; i++)
		if (set->table[i])
			unmap(set->table[i]);
	if (set->table)
		munmap(set->table, CHUNKS_MAX * sizeof *set->table);
	*set = (struct chunks){.options = set->options};
}

void chunks_walk(struct chunks *set, void (*fn)(void *arg, struct chunk *c, struct span *s),
                 void *arg)
{
	spin_lock(&set->lock);
	for (struct chunk *c = set->owned; c; c = c->next)
		fn(arg, c, &c->span[1]);
	for (uint32_t i = 0; i < set->count; i++) {
		struct chunk *c = set->table[i];

		if (!c)
			continue;
		for (uint32_t u = 1; u < CHUNK_UNITS; u += c->span[u].units)
			if (!c->span[u].idle)
				fn(arg, c, &c->span[u]);
	}
	spin_unlock(&set->lock);
}

int chunks_why(struct chunks *set, const char *name, size_t bytes, struct err *e)
{
	size_t limit = set->options.limit, used = __atomic_load_n(&set->used, __ATOMIC_RELAXED);

	if (limit && (bytes > limit || used > limit - bytes))
		return err_set(e, ERR_TROUBLE,
		               "%s: limit of %zu bytes: %zu in use, %zu more asked for", name,
		               limit, used, bytes);
	return err_set(e, ERR_TROUBLE, "%s: no memory for %zu bytes", name, bytes);
}

size_t chunks_longest(struct chunks *set)
{
	size_t n = 0;

	spin_lock(&set->lock);
	for (uint32_t w = CHUNK_WORDS; w-- && !n;)
		if (set->runs[w])
			n = w * 64 + 63 - (size_t)__builtin_clzll(set->runs[w]);
	spin_unlock(&set->lock);
	return n * UNIT_BYTES;
}
