#include "handle.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "resident.h"

#define ROUND 64

struct block {
	size_t at, bytes; /* rounded */
	size_t asked;
	uint32_t pins;
	bool live;
	handle next, prev; /* in order of address; of a free entry: next free */
};

struct handles {
	const char *name;
	char *base;
	size_t limit;
	struct block *block; /* entry 0: head of the list by address */
	uint32_t count, room, unused;
	pthread_mutex_t lock;
};

int handles_init(struct handles **out, const char *name, size_t limit, struct err *e)
{
	struct handles *h = mem_calloc(MEM_OTHER, 1, sizeof *h, e);

	if (!h)
		return -1;
	void *p = mmap(NULL, limit, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	h->block = p == MAP_FAILED ? NULL : mem_calloc(MEM_OTHER, 64, sizeof *h->block, e);
	if (!h->block) {
		if (p == MAP_FAILED)
			err_sys(e, "%s: no address space for %zu bytes", name, limit);
		else
			munmap(p, limit);
		mem_free(h);
		return -1;
	}
	h->name = name;
	h->base = p;
	h->limit = limit;
	h->room = 64;
	h->count = 1;
	pthread_mutex_init(&h->lock, NULL);
	*out = h;
	return 0;
}

void handles_fini(struct handles *h)
{
	if (!h)
		return;
	munmap(h->base, h->limit);
	pthread_mutex_destroy(&h->lock);
	mem_free(h->block);
	mem_free(h);
}

/* ---- the list by address ---- */

static size_t end_of(const struct handles *h, handle b)
{
	return b ? h->block[b].at + h->block[b].bytes : 0;
}

static void link_after(struct handles *h, handle where, handle b)
{
	handle next = h->block[where].next;

	h->block[b].prev = where;
	h->block[b].next = next;
	h->block[where].next = b;
	h->block[next].prev = b;
}

static void unlink_block(struct handles *h, handle b)
{
	h->block[h->block[b].prev].next = h->block[b].next;
	h->block[h->block[b].next].prev = h->block[b].prev;
}

/* The block behind which there is room for bytes: the lowest hole, or the end.  False: nowhere. */
static bool find(const struct handles *h, size_t bytes, handle *where)
{
	handle b = 0;

	do {
		handle next = h->block[b].next;
		size_t end = next ? h->block[next].at : h->limit;

		if (end - end_of(h, b) >= bytes) {
			*where = b;
			return true;
		}
		b = next;
	} while (b);
	return false;
}

static handle entry(struct handles *h, struct err *e)
{
	handle b = h->unused;

	if (b) {
		h->unused = h->block[b].next;
		return b;
	}
	if (h->count == h->room) {
		struct block *n =
		    mem_realloc(MEM_OTHER, h->block, h->room * (size_t)2, sizeof *n, e);

		if (!n)
			return 0;
		h->block = n;
		h->room *= 2;
	}
	return h->count++;
}

/* ---- moving ---- */

/* To offset at, behind block where; the bytes between may overlap. */
static void move(struct handles *h, handle b, handle where, size_t at, struct handle_report *r)
{
	struct block *k = &h->block[b];

	memmove(h->base + at, h->base + k->at, k->asked);
	k->at = at;
	if (k->prev != where) {
		unlink_block(h, b);
		link_after(h, where, b);
	}
	r->moved++;
	r->bytes += k->bytes;
}

/* The largest block that is not pinned, fits and lies behind block after; 0: none. */
static handle best_for(const struct handles *h, size_t bytes, handle after)
{
	handle best = 0;

	for (handle b = h->block[after].next; b; b = h->block[b].next)
		if (!h->block[b].pins && h->block[b].bytes <= bytes &&
		    h->block[b].bytes > h->block[best].bytes)
			best = b;
	return best;
}

/* Fills the hole in front of pinned block b from behind it, the largest that fit first. */
static void fill(struct handles *h, handle b, struct handle_report *r)
{
	for (;;) {
		handle where = h->block[b].prev;
		size_t at = end_of(h, where);
		handle from = best_for(h, h->block[b].at - at, b);

		if (!from)
			return;
		move(h, from, where, at, r);
	}
}

/* In order of address: what may move closes up to its neighbour, what may not gets its hole filled.
 */
static void close_holes(struct handles *h, struct handle_report *r)
{
	for (handle b = h->block[0].next; b; b = h->block[b].next) {
		size_t to = end_of(h, h->block[b].prev);

		if (h->block[b].pins)
			fill(h, b, r);
		else if (h->block[b].at > to)
			move(h, b, h->block[b].prev, to, r);
	}
}

static void count(struct handles *h, struct handle_stats *s)
{
	memset(s, 0, sizeof *s);
	for (handle b = h->block[0].next; b; b = h->block[b].next) {
		size_t hole = h->block[b].at - end_of(h, h->block[b].prev);

		s->blocks++;
		s->live += h->block[b].bytes;
		s->pinned += h->block[b].pins ? h->block[b].bytes : 0;
		s->extent = end_of(h, b);
		if (hole > s->largest)
			s->largest = hole;
	}
}

static void compact(struct handles *h, struct handle_report *r)
{
	memset(r, 0, sizeof *r);
	r->resident_before = resident_bytes();
	count(h, &r->before);
	double t = clock_now();
	close_holes(h, r);
	r->seconds = clock_now() - t;
	count(h, &r->after);
	size_t keep = (r->after.extent + 4095) & ~(size_t)4095;
	if (keep < h->limit)
		madvise(h->base + keep, h->limit - keep, MADV_DONTNEED);
	r->resident_after = resident_bytes();
}

void handles_compact(struct handles *h, struct handle_report *report)
{
	struct handle_report unused;

	pthread_mutex_lock(&h->lock);
	compact(h, report ? report : &unused);
	pthread_mutex_unlock(&h->lock);
}

void handles_stats(struct handles *h, struct handle_stats *s)
{
	pthread_mutex_lock(&h->lock);
	count(h, s);
	pthread_mutex_unlock(&h->lock);
}

/* ---- blocks ---- */

static handle take(struct handles *h, size_t bytes, struct err *e)
{
	size_t need = (bytes + ROUND - 1) & ~(size_t)(ROUND - 1);
	struct handle_report unused;
	handle where;

	if (need < bytes)
		need = SIZE_MAX;
	if (!find(h, need, &where)) {
		compact(h, &unused);
		if (!find(h, need, &where)) {
			err_set(e, ERR_TROUBLE,
			        "%s: limit of %zu bytes: %zu in use, %zu more asked for", h->name,
			        h->limit, unused.after.live, bytes);
			return 0;
		}
	}
	handle b = entry(h, e);
	if (!b)
		return 0;
	h->block[b] =
	    (struct block){.at = end_of(h, where), .bytes = need, .asked = bytes, .live = true};
	link_after(h, where, b);
	return b;
}

handle handles_take(struct handles *h, size_t bytes, struct err *e)
{
	pthread_mutex_lock(&h->lock);
	handle b = mem_fails() ? 0 : take(h, bytes, e);
	pthread_mutex_unlock(&h->lock);
	return b;
}

static bool known(const struct handles *h, handle b)
{
	return b && b < h->count && h->block[b].live;
}

void handles_give(struct handles *h, handle b)
{
	pthread_mutex_lock(&h->lock);
	if (known(h, b) && !h->block[b].pins) {
		unlink_block(h, b);
		h->block[b] = (struct block){.next = h->unused};
		h->unused = b;
	}
	pthread_mutex_unlock(&h->lock);
}

void *handles_pin(struct handles *h, handle b)
{
	void *p = NULL;

	pthread_mutex_lock(&h->lock);
	if (known(h, b)) {
		h->block[b].pins++;
		p = h->base + h->block[b].at;
	}
	pthread_mutex_unlock(&h->lock);
	return p;
}

void handles_unpin(struct handles *h, handle b)
{
	pthread_mutex_lock(&h->lock);
	if (known(h, b) && h->block[b].pins)
		h->block[b].pins--;
	pthread_mutex_unlock(&h->lock);
}

size_t handles_size(const struct handles *h, handle b)
{
	return known(h, b) ? h->block[b].asked : 0;
}
