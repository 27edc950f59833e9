#include "arena.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "announce.h"
#include "track.h"

/* Bytes that are mapped for size bytes: whole pages, and one behind them that nothing may touch.  A
 * write past the end faults there, and the kernel cannot join two regions into one mapping, so each
 * can be seen from outside (bitnet-memplan --verify). */
static size_t mapped(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page + page;
}

/* What ended bytes are filled with at TRACK_GUARD. */
#define ENDED 0xdb

/* Takes in order; those behind live have ended, and are known until others take their place. */
struct arena_guard {
	size_t live, known, room;
	size_t filled; /* no byte behind this one was ever ended */
	struct taken {
		size_t at, bytes;
		uint32_t taken, ended; /* sites */
	} take[];
};

static void misuse(const struct arena *a, const void *p, const char *what, uint64_t note,
                   const void *frame)
{
	char text[160];

	snprintf(text, sizeof text, "%s: %s", a->name ? a->name : "arena", what);
	track_blame(p, text, note, frame);
	raise(SIGABRT);
}

/* ---- the guard ---- */

static struct arena_guard *guard_grow(struct arena_guard *g)
{
	size_t room = g ? g->room * 2 : 64;
	struct arena_guard *n =
	    mem_realloc(MEM_OTHER, g, 1, sizeof *g + room * sizeof g->take[0], NULL);

	if (!n)
		return g;
	if (!g)
		memset(n, 0, sizeof *n);
	n->room = room;
	return n;
}

/* Which of the ended takes the byte at lies in: its sites. */
static uint64_t guard_whose(const struct arena_guard *g, size_t at)
{
	for (size_t i = g->known; i-- > g->live;)
		if (at - g->take[i].at < g->take[i].bytes)
			return track_both(g->take[i].taken, g->take[i].ended);
	return 0;
}

/* Bytes [at, at + n) are about to be taken: nobody may have written to them. */
static void guard_check(const struct arena *a, size_t at, size_t n, const void *frame)
{
	const struct arena_guard *g = a->guard;
	size_t end = at + n < g->filled ? at + n : g->filled;

	for (size_t i = at; i < end; i++)
		if (a->base[i] != ENDED) {
			misuse(a, a->base + i, "written to after its scope ended",
			       guard_whose(g, i), frame);
			return;
		}
}

static void guard_take(struct arena *a, size_t at, size_t n, const void *frame)
{
	if (!a->guard || a->guard->live == a->guard->room)
		a->guard = guard_grow(a->guard);
	struct arena_guard *g = a->guard;
	if (!g || g->live == g->room)
		return;
	guard_check(a, at, n, frame);
	g->take[g->live++] = (struct taken){at, n, track_caller(frame), 0};
	if (g->known < g->live)
		g->known = g->live;
}

static void guard_end(struct arena *a, size_t mark, const void *frame)
{
	struct arena_guard *g = a->guard;
	uint32_t site = track_caller(frame);

	while (g->live && g->take[g->live - 1].at >= mark)
		g->take[--g->live].ended = site;
	memset(a->base + mark, ENDED, a->used - mark);
	if (a->used > g->filled)
		g->filled = a->used;
}

/* ---- the arena ---- */

/* mmap is called in the two functions below, not in one beneath them: reports of leaks accuse the
 * function that takes, and these are the names that people know. */

/* The arena without memory. */
static void start(struct arena *a, enum mem_tag tag, const char *name)
{
	memset(a, 0, sizeof *a);
	a->tag = tag;
	a->name = name;
}

/* 0, with errno set, where bytes are not even to be asked for. */
static int may_take(size_t bytes)
{
	errno = ENOMEM;
	return bytes <= SIZE_MAX / 2 && !mem_fails();
}

/* p: mapped(bytes) that nothing is allowed in, or MAP_FAILED. */
static int open_up(struct arena *a, void *p, size_t bytes, const void *frame, struct err *e)
{
	if (p != MAP_FAILED && mprotect(p, bytes, PROT_READ | PROT_WRITE)) {
		int saved = errno;
		munmap(p, mapped(bytes));
		errno = saved;
		p = MAP_FAILED;
	}
	if (p == MAP_FAILED)
		return err_sys(e, "%s: no memory for %zu bytes", a->name, bytes);
	a->base = p;
	a->size = bytes;
	track_outside(0, p, bytes, frame);
	return 0;
}

int arena_init(struct arena *a, enum mem_tag tag, const char *name, size_t bytes, struct err *e)
{
	void *p = MAP_FAILED;

	start(a, tag, name);
	if (!bytes)
		return 0;
	if (may_take(bytes))
		p = mmap(NULL, mapped(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return open_up(a, p, bytes, __builtin_frame_address(0), e);
}

#define HUGE_PAGE ((size_t)2 << 20)

/* Of size + HUGE_PAGE bytes at p those size that begin at a multiple of HUGE_PAGE. */
static void *cut(uint8_t *p, size_t size)
{
	size_t skip = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;

	if (skip)
		munmap(p, skip);
	munmap(p + skip + size, HUGE_PAGE - skip);
	return p + skip;
}

int arena_init_huge(struct arena *a, enum mem_tag tag, const char *name, size_t bytes,
                    struct err *e)
{
	void *p = MAP_FAILED;

	start(a, tag, name);
	if (!bytes)
		return 0;
	if (may_take(bytes))
		p = mmap(NULL, mapped(bytes) + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		         -1, 0);
	if (p != MAP_FAILED)
		p = cut(p, mapped(bytes));
	if (open_up(a, p, bytes, __builtin_frame_address(0), e))
		return -1;
	/* A wish: systems without them refuse. */
	madvise(a->base, a->size, MADV_HUGEPAGE);
	return 0;
}

/* The next n bytes may be used: what no ended scope wrote to is zero. */
static void open_taken(const struct arena *a, size_t n)
{
	size_t old = a->dirty > a->used ? a->dirty - a->used : 0;

	if (old > n)
		old = n;
	announce_open(a->base + a->used, old, false);
	announce_open(a->base + a->used + old, n - old, true);
}

void *arena_take(struct arena *a, size_t n)
{
	size_t need = arena_round(n);

	if (need < n || need > a->size - a->used)
		return NULL;
	uint8_t *p = a->base + a->used;
	if (track_level() == TRACK_GUARD && !announce_on)
		guard_take(a, a->used, need, __builtin_frame_address(0));
	if (announce_on)
		open_taken(a, need);
	a->used += need;
	return p;
}

void arena_end(struct arena *a, size_t mark)
{
	if (mark > a->used) {
		misuse(a, a->base + mark, "scope ended after its outer one", 0,
		       __builtin_frame_address(0));
		return;
	}
	a->peak = arena_peak(a);
	if (a->used > a->dirty)
		a->dirty = a->used;
	if (a->guard)
		guard_end(a, mark, __builtin_frame_address(0));
	announce_closed(a->base + mark, a->used - mark);
	a->used = mark;
}

size_t arena_peak(const struct arena *a)
{
	return a->used > a->peak ? a->used : a->peak;
}

size_t arena_trim(struct arena *a)
{
	size_t from = (a->used + 4095) & ~(size_t)4095;

	if (from >= a->size || madvise(a->base + from, a->size - from, MADV_DONTNEED))
		return 0;
	if (a->dirty > from)
		a->dirty = from;
	if (a->guard && a->guard->filled > a->used)
		a->guard->filled = a->used;
	return a->size - from;
}

void arena_forget(struct arena *a)
{
	if (a->base)
		madvise(a->base, a->size, MADV_DONTNEED);
}

void arena_fini(struct arena *a)
{
	if (a->guard)
		guard_check(a, a->used, a->size - a->used, __builtin_frame_address(0));
	mem_free(a->guard);
	if (a->base) {
		track_outside(0, a->base, 0, __builtin_frame_address(0));
		announce_open(a->base, a->size, true);
		munmap(a->base, mapped(a->size));
	}
	memset(a, 0, sizeof *a);
}

/* ---- scopes that watch ---- */

void arena_scope_begin(struct arena_scope *s, struct arena *a)
{
	s->arena = a;
	s->mark = a ? arena_begin(a) : 0;
	s->epoch = track_epoch();
	for (unsigned t = 0; t < MEM_TAGS; t++)
		s->live[t] = mem_live(t);
}

void arena_scope_end(struct arena_scope *s, struct arena_left *left)
{
	if (s->arena)
		arena_end(s->arena, s->mark);
	if (!left)
		return;
	memset(left, 0, sizeof *left);
	left->epoch = s->epoch;
	for (unsigned t = 0; t < MEM_TAGS; t++) {
		uint64_t now = mem_live(t);

		left->bytes[t] = now > s->live[t] ? now - s->live[t] : 0;
		left->all += left->bytes[t];
	}
}
