#include "mem.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pool_impl.h"
#include "track.h"

/*
 * A block's note: a = bytes asked for, and in the low byte POOL_MARK and the tag.  A free block's
 * note links it, and an address has no such byte: so ending a block twice is seen at no cost.
 *
 * mem_alloc and mem_free call nothing on their short way: what is rare is left by a jump, so that
 * they need no frame.
 */
#define NOINLINE __attribute__((noinline))
_Static_assert(MEM_TAGS <= POOL_COUNTS && POOL_COUNTS == 8,
               "a heap counts by tag, which has 3 bits");

/* A thread's sums are added to these when they move by more than this. */
#define FLUSH (4 << 20)
static int64_t live[MEM_TAGS], peak[MEM_TAGS];

const char *mem_tag_name(enum mem_tag tag)
{
	static const char *const name[MEM_TAGS] = {"other",   "weights", "kv", "activation",
	                                           "scratch", "vocab",   "io"};
	return name[tag];
}

static int64_t relaxed(const int64_t *x)
{
	return __atomic_load_n(x, __ATOMIC_RELAXED);
}

/* ---- counting: each thread in its heap, the sum now and then ---- */

static void flush(struct heap *h, unsigned tag)
{
	int64_t before = __atomic_fetch_add(&live[tag], h->now[tag], __ATOMIC_RELAXED);
	int64_t top = before + h->top[tag], seen = relaxed(&peak[tag]);

	while (top > seen && !__atomic_compare_exchange_n(&peak[tag], &seen, top, 1,
	                                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	__atomic_store_n(&h->now[tag], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&h->top[tag], 0, __ATOMIC_RELAXED);
}

/* More than ever is live: block, which made it so. */
static NOINLINE void *count_top(struct heap *h, unsigned tag, void *block)
{
	__atomic_store_n(&h->top[tag], h->now[tag], __ATOMIC_RELAXED);
	if (h->now[tag] > FLUSH)
		flush(h, tag);
	return block;
}

static inline void count_out(struct heap *h, unsigned tag, size_t bytes)
{
	int64_t now = h->now[tag] - (int64_t)bytes;

	__atomic_store_n(&h->now[tag], now, __ATOMIC_RELAXED);
	if (now < -FLUSH)
		flush(h, tag);
}

uint64_t mem_live(enum mem_tag tag)
{
	int64_t sum = relaxed(&live[tag]);

	for (struct heap *h = pool_heaps(&pool_first); h; h = h->next)
		sum += relaxed(&h->now[tag]);
	return sum > 0 ? (uint64_t)sum : 0;
}

uint64_t mem_peak(enum mem_tag tag)
{
	int64_t top = relaxed(&peak[tag]), sum = relaxed(&live[tag]);

	for (struct heap *h = pool_heaps(&pool_first); h; h = h->next) {
		if (sum + relaxed(&h->top[tag]) > top)
			top = sum + relaxed(&h->top[tag]);
	}
	return (uint64_t)top;
}

/* ---- failing on purpose ---- */

static uint64_t attempts, fail_at;

/* Whether blocks must go the long way: an allocation is to fail, or events are recorded. */
static bool special;

void mem_special(void)
{
	special = fail_at || track_on();
	pool_easy = &pool_nobody;
}

void mem_fail_at(uint64_t n)
{
	__atomic_store_n(&attempts, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&fail_at, n, __ATOMIC_RELAXED);
	mem_special();
}

uint64_t mem_attempts(void)
{
	return __atomic_load_n(&attempts, __ATOMIC_RELAXED);
}

bool mem_fails(void)
{
	uint64_t n = __atomic_load_n(&fail_at, __ATOMIC_RELAXED);

	return n && __atomic_add_fetch(&attempts, 1, __ATOMIC_RELAXED) == n;
}

__attribute__((constructor)) static void configure(void)
{
	const char *n = getenv("BITNET_MEM_FAIL");

	if (n)
		mem_fail_at(strtoull(n, NULL, 10));
}

/* ---- blocks ---- */

static int no_memory(enum mem_tag tag, size_t bytes, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "no memory for %zu bytes (%s)", bytes, mem_tag_name(tag));
}

/* Writes the note of a block that h hands out, and counts it: the block. */
static inline void *stamp(struct heap *h, struct note *n, enum mem_tag tag, size_t bytes,
                          void *block)
{
	int64_t now = h->now[tag] + (int64_t)bytes;

	n->a = (uint64_t)bytes << 8 | POOL_MARK | tag;
	__atomic_store_n(&h->now[tag], now, __ATOMIC_RELAXED);
	if (__builtin_expect(now > h->top[tag], 0))
		return count_top(h, tag, block);
	return block;
}

size_t mem_note_bytes(uint64_t a)
{
	return a >> 8;
}

enum mem_tag mem_note_tag(uint64_t a)
{
	return (enum mem_tag)(a & 7);
}

/* The calling thread's heap; NULL when there is no memory for one. */
static struct heap *heap(void)
{
	struct heap *h = pool_mine[0].heap;

	return h ? h : pool_heap(&pool_first);
}

#ifdef ANNOUNCE_ASAN
/* AddressSanitizer sees most when each block is malloc's: exact ends, quarantine, leaks. */
static void *block_take(struct heap *h, size_t bytes, bool *zero)
{
	struct note *n = malloc(sizeof *n + bytes);

	(void)h;
	*zero = false;
	return n ? n + 1 : NULL;
}

static struct note *block_note(const void *p)
{
	return (struct note *)p - 1;
}

static void block_give(void *p)
{
	free(block_note(p));
}

static bool block_known(const void *p)
{
	(void)p;
	return true;
}

static bool block_starts(const void *p)
{
	(void)p;
	return true;
}

#else
static void *block_take(struct heap *h, size_t bytes, bool *zero)
{
	void *p = bytes > POOL_SMALL || announce_on ? NULL : pool_pop(h, pool_class(bytes));

	*zero = false;
	return p ? p : pool_take_slow(&pool_first, bytes, zero);
}

static inline struct note *block_note(const void *p)
{
	struct span *s = span_of(p);

	return s->heap ? note_before(p) : &s->note;
}

static void block_give(void *p)
{
	pool_give(p);
}

static inline bool block_known(const void *p)
{
	return chunk_known(p);
}

/* Of a run: p is where it begins.  A small block that p lies in is told by its note. */
static inline bool block_starts(const void *p)
{
	const struct span *s = span_of(p);

	return s->heap || p == span_base(s);
}

#endif

/* frame: of the function that the program called. */
static void *take(enum mem_tag tag, size_t bytes, bool *zero, const void *frame, struct err *e)
{
	struct heap *h = heap();
	void *p = h && bytes < PTRDIFF_MAX && !mem_fails() ? block_take(h, bytes, zero) : NULL;

	if (!p) {
		no_memory(tag, bytes, e);
		return NULL;
	}
	struct note *n = block_note(p);
	stamp(h, n, tag, bytes, p);
	n->b = 0;
	if (track_on()) {
		n->b = track_born(h, frame);
		track_event(h, p, bytes, n->b);
	}
	if (!(special | announce_on))
		pool_easy = h;
	return p;
}

/* The frame of the function in which this is used stands for its caller's, mem_alloc or mem_free,
 * when that jumped here; else the caller has a frame of its own. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_THREAD__)
#define TAIL_FRAME __builtin_frame_address(0)
#else
#define TAIL_FRAME (*(void **)__builtin_frame_address(0))
#endif

static NOINLINE void *alloc_slow(enum mem_tag tag, size_t bytes, struct err *e)
{
	bool zero;

	return take(tag, bytes, &zero, TAIL_FRAME, e);
}

/* A block from the calling thread's lists, or NULL. */
static void *quick(enum mem_tag tag, size_t bytes)
{
	struct heap *h = pool_easy;
	void *p = bytes <= POOL_SMALL ? pool_pop(h, pool_class(bytes)) : NULL;

	return p ? stamp(h, note_before(p), tag, bytes, p) : NULL;
}

/* A run of units, where nobody looks on; NULL: the long way. */
static void *quick_run(enum mem_tag tag, size_t bytes)
{
	struct heap *h = pool_easy;
	bool zero;
	void *p = bytes > POOL_SMALL && h != &pool_nobody
	              ? chunks_take(&pool_first.chunks, bytes, &zero)
	              : NULL;

	if (!p)
		return NULL;
	struct note *n = &span_of(p)->note;
	n->b = 0;
	return stamp(h, n, tag, bytes, p);
}

static NOINLINE void *alloc_larger(enum mem_tag tag, size_t bytes, struct err *e)
{
	void *p = bytes <= POOL_SMALL ? quick(tag, bytes) : quick_run(tag, bytes);

	return p ? p : alloc_slow(tag, bytes, e);
}

void *mem_alloc(enum mem_tag tag, size_t bytes, struct err *e)
{
	if (__builtin_expect(bytes > POOL_TABLE, 0))
		return alloc_larger(tag, bytes, e);
	struct heap *h = pool_easy;
	void *p = pool_pop(h, pool_table[(bytes + 15) / 16]);
	if (__builtin_expect(!p, 0))
		return alloc_slow(tag, bytes, e);
	return stamp(h, note_before(p), tag, bytes, p);
}

void *mem_calloc(enum mem_tag tag, size_t n, size_t size, struct err *e)
{
	size_t bytes;
	bool zero = false;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		no_memory(tag, SIZE_MAX, e);
		return NULL;
	}
	void *p = quick(tag, bytes);
	if (!p)
		p = take(tag, bytes, &zero, __builtin_frame_address(0), e);
	if (p && !zero)
		memset(p, 0, bytes);
	return p;
}

static void give(void *p, struct note *n, const void *frame)
{
	struct heap *h = heap();

	/* Without memory for a heap the sums are off, and that is the least of the troubles. */
	if (h) {
		count_out(h, mem_note_tag(n->a), mem_note_bytes(n->a));
		if (track_on()) {
			n->b = track_died(h, n->b, frame);
			track_event(h, p, 0, n->b);
		}
	}
	n->a = 0;
	block_give(p);
}

static bool is_live(const void *p)
{
	return block_known(p) && block_starts(p) && pool_marked(block_note(p));
}

/* The program's own books are wrong: it is stopped like by a failed assertion.  Where the signal is
 * handled, the block is left alone. */
static void misuse(const void *p, const char *what, const void *frame)
{
	if (block_known(p))
		track_blame(p, what, block_note(p)->b, frame);
	else
		track_blame(p, "ended, but not a block of this program's", 0, frame);
	raise(SIGABRT);
}

/* Ends p, not NULL, in the name of the function with this frame. */
static void end(void *p, const void *frame)
{
	if (is_live(p))
		give(p, block_note(p), frame);
	else
		misuse(p, "ended twice, or not the start of a block", frame);
}

#ifdef ANNOUNCE_ASAN
static bool free_run(void *p)
{
	(void)p;
	return false;
}

#else
/* Ends p if it is a run of units and nobody looks on. */
static bool free_run(void *p)
{
	struct heap *h = pool_easy;

	if (h == &pool_nobody || !chunk_known(p))
		return false;
	struct span *s = span_of(p);
	if (s->heap || !block_starts(p) || !pool_marked(&s->note))
		return false;
	count_out(h, mem_note_tag(s->note.a), mem_note_bytes(s->note.a));
	s->note.a = 0;
	chunks_give(&pool_first.chunks, p, SIZE_MAX);
	return true;
}
#endif

static NOINLINE void free_slow(void *p)
{
	if (p && !free_run(p))
		end(p, TAIL_FRAME);
}

#ifdef ANNOUNCE_ASAN
static bool free_quick(void *p)
{
	(void)p;
	return false;
}

#else
/* Ends p if it belongs to the calling thread, in its short way. */
static inline bool free_quick(void *p)
{
	struct heap *h = pool_easy;

	if (__builtin_expect(!p || h == &pool_nobody, 0))
		return false;
	struct span *s = span_of(p);
	if (__builtin_expect(span_easy(s) != h, 0))
		return false;
	const struct note *n = note_before(p);
	int64_t *sum = &h->now[mem_note_tag(n->a)];
	int64_t now = *sum - (int64_t)mem_note_bytes(n->a);
	if (__builtin_expect(!pool_marked(n) || now < -FLUSH, 0))
		return false;
	__atomic_store_n(sum, now, __ATOMIC_RELAXED);
	pool_back(s, p);
	return true;
}
#endif

void mem_free(void *p)
{
	if (!free_quick(p))
		free_slow(p);
}

void *mem_realloc(enum mem_tag tag, void *p, size_t n, size_t size, struct err *e)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		no_memory(tag, SIZE_MAX, e);
		return NULL;
	}
	if (!p)
		return mem_alloc(tag, bytes, e);
	if (!is_live(p)) {
		misuse(p, "grown after its end, or not the start of a block",
		       __builtin_frame_address(0));
		return NULL;
	}
	struct note *note = block_note(p);
	size_t old = mem_note_bytes(note->a);
#ifndef ANNOUNCE_ASAN
	struct heap *h = pool_easy;
	size_t room = pool_room(p);
	/* The block stays where that wastes at most half of it. */
	if (h != &pool_nobody && bytes <= room && bytes >= room / 2) {
		count_out(h, mem_note_tag(note->a), old);
		return stamp(h, note, tag, bytes, p);
	}
#endif
	void *q = quick(tag, bytes);
	bool zero;
	if (!q)
		q = take(tag, bytes, &zero, __builtin_frame_address(0), e);
	if (!q)
		return NULL;
	memcpy(q, p, bytes < old ? bytes : old);
	end(p, __builtin_frame_address(0));
	return q;
}

char *mem_strndup(enum mem_tag tag, const char *s, size_t n, struct err *e)
{
	bool zero;

	if (n == SIZE_MAX) {
		no_memory(tag, n, e);
		return NULL;
	}
	char *p = quick(tag, n + 1);
	if (!p)
		p = take(tag, n + 1, &zero, __builtin_frame_address(0), e);
	if (p) {
		memcpy(p, s, n);
		p[n] = 0;
	}
	return p;
}
