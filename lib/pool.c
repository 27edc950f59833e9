#include "pool.h"

#include <pthread.h>
#include <string.h>

#include "pool_impl.h"
#include "spin.h"

/* note.a of a block whose user's note lies further in: this, and 256 times the offset of that one;
 * neither an address of a block nor marked. */
#define DISPLACED 1

/* span.class of the runs that hold heaps. */
#define CLASS_HEAP 255

uint8_t pool_table[POOL_TABLE / 16 + 1];
__thread struct pool_mine pool_mine[POOL_SLOTS];

struct pool pool_first = {
    .chunks = {.options = {.keep = POOL_KEEP}},
    .name = "pool",
    .serial = 1,
};

/* What an empty class points to; never written. */
static struct span none;

struct heap pool_nobody = {.span = {[0 ... POOL_CLASSES - 1] = &none}};
__thread struct heap *pool_easy = &pool_nobody;

static struct pool *pools[POOL_SLOTS] = {&pool_first};
static uint64_t serials = 1;
static int pools_lock;

static pthread_key_t at_exit;

static size_t class_bytes(unsigned c)
{
	return c < 8 ? 16 * (c + 1) : ((size_t)128 + 16 * (c % 8 + 1)) << (c / 8 - 1);
}

/* The fewest units whose unused end is at most 1/32 of them, or else those that waste least. */
static unsigned class_units(unsigned c)
{
	size_t stride = class_bytes(c) + sizeof(struct note), best = 1, rest = UNIT_BYTES;

	for (size_t u = (stride + UNIT_BYTES - 1) / UNIT_BYTES; u <= 32; u++) {
		size_t waste = u * UNIT_BYTES % stride;

		if (waste * best < rest * u) {
			best = u;
			rest = waste;
		}
		if (waste * 32 <= u * UNIT_BYTES)
			break;
	}
	return (unsigned)best;
}

/* ---- lists of spans of a class; the first is the one that is popped from ---- */

static void list_add(struct heap *h, struct span *s)
{
	struct span *head = h->span[s->class];

	s->prev = s->next = NULL;
	if (head == &none) {
		h->span[s->class] = s;
		return;
	}
	/* Behind the first: what that one still has is used up before this. */
	s->prev = head;
	s->next = head->next;
	if (s->next)
		s->next->prev = s;
	head->next = s;
}

static void list_remove(struct heap *h, struct span *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		h->span[s->class] = s->next ? s->next : &none;
	if (s->next)
		s->next->prev = s->prev;
	s->prev = s->next = NULL;
}

/* ---- spans ---- */

static void set_easy(struct span *s, struct heap *h)
{
	__atomic_store_n(&s->easy, h, __ATOMIC_RELAXED);
}

/* Blocks of one number in different spans would all lie in one set of the processor's cache if
 * the first began at the span's start: colours of one line each keep them apart. */
#define COLOURS 16
#define LINE    64

static char *blocks(const struct span *s)
{
	return span_base(s) + s->class % COLOURS * LINE;
}

static void *block_at(const struct span *s, uint32_t i)
{
	return blocks(s) + (size_t)i * s->stride + sizeof(struct note);
}

/* The block that p, handed out by span s, lies in. */
static void *block_of(const struct span *s, void *p)
{
	if (!__atomic_load_n(&s->aligned, __ATOMIC_RELAXED))
		return p;
	return block_at(s, (uint32_t)((size_t)((const char *)p - blocks(s)) / s->stride));
}

static struct span *span_new(struct heap *h, unsigned class)
{
	unsigned units = class_units(class);
	bool zero;
	void *base = chunks_take(&h->pool->chunks, units * UNIT_BYTES, &zero);

	if (!base)
		return NULL;
	struct span *s = span_of(base);
	for (unsigned i = 1; i < units; i++)
		s[i].back = (uint16_t)(i * sizeof *s);
	s->class = (uint8_t) class;
	s->stride = (uint32_t)(class_bytes(class) + sizeof(struct note));
	s->total = (uint16_t)((units * UNIT_BYTES - class % COLOURS * LINE) / s->stride);
	set_easy(s, h);
	__atomic_store_n(&s->heap, h, __ATOMIC_RELEASE);
	return s;
}

/* Links the next page's worth of new blocks, at least one: pages are touched as they are needed. */
static void span_extend(struct span *s)
{
	uint32_t n = s->fresh + 4096 / s->stride + 1, end = n < s->total ? n : s->total;
	void *after = NULL;

	/* From the last, so that the first is taken first. */
	for (uint32_t i = end; i-- > s->fresh;) {
		void *block = block_at(s, i);

		announce_own(note_before(block), sizeof(struct note));
		note_before(block)->a = (uintptr_t)after;
		after = block;
	}
	s->free = after;
	s->fresh = (uint16_t)end;
}

static void span_end(struct span *s)
{
	struct chunks *set = &s->heap->pool->chunks;
	char *base = span_base(s);

	announce_closed(base, span_bytes(s));
	__atomic_store_n(&s->heap, NULL, __ATOMIC_RELEASE);
	chunks_give(set, base, (size_t)(blocks(s) - base) + (size_t)s->fresh * s->stride);
}

void pool_retire(struct span *s)
{
	list_remove(s->heap, s);
	span_end(s);
}

/* Takes a block back into its span; the caller is the owner of s, or has its heap to itself. */
static void give_here(struct span *s, void *block)
{
	if (s->full) {
		s->full = 0;
		set_easy(s, s->aligned ? NULL : s->heap);
		list_add(s->heap, s);
	}
	pool_back(s, block);
}

/* ---- heaps ---- */

/* Takes over what other threads have ended. */
static void drain(struct heap *h)
{
	void *block = __atomic_load_n(&h->away, __ATOMIC_RELAXED);

	if (block)
		block = __atomic_exchange_n(&h->away, NULL, __ATOMIC_ACQUIRE);
	while (block) {
		void *next = note_link(note_before(block));

		give_here(span_of(block), block);
		block = next;
	}
}

/* Gives every span without blocks back. */
static void shrink(struct heap *h)
{
	drain(h);
	for (unsigned c = 0; c < POOL_CLASSES; c++)
		for (struct span *s = h->span[c], *next; s && s != &none; s = next) {
			next = s->next;
			if (!s->used)
				pool_retire(s);
		}
}

static void thread_ends(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < POOL_SLOTS; i++) {
		struct pool_mine *m = &pool_mine[i];

		spin_lock(&pools_lock);
		if (pools[i] && m->serial == pools[i]->serial) {
			spin_lock(&pools[i]->lock);
			__atomic_store_n(&m->heap->thread, NULL, __ATOMIC_RELAXED);
			spin_unlock(&pools[i]->lock);
		}
		spin_unlock(&pools_lock);
		*m = (struct pool_mine){0};
		pool_easy = &pool_nobody;
	}
}

__attribute__((constructor(102))) static void begin(void)
{
	for (unsigned i = 0; i <= POOL_TABLE / 16; i++)
		pool_table[i] = (uint8_t)pool_class_of(i * 16);
	pthread_key_create(&at_exit, thread_ends);
	announce_began(&pool_first);
}

static struct heap *heap_adopt(struct pool *p)
{
	struct heap *h;

	spin_lock(&p->lock);
	for (h = p->heaps; h && pool_owner(h); h = h->next)
		;
	if (h)
		__atomic_store_n(&h->thread, POOL_THREAD, __ATOMIC_RELAXED);
	spin_unlock(&p->lock);
	return h;
}

static struct heap *heap_new(struct pool *p)
{
	bool zero;
	struct heap *h = chunks_take(&p->chunks, sizeof *h, &zero);

	if (!h)
		return NULL;
	span_of(h)->class = CLASS_HEAP;
	announce_own(h, sizeof *h);
	memset(h, 0, sizeof *h);
	for (unsigned c = 0; c < POOL_CLASSES; c++)
		h->span[c] = &none;
	h->pool = p;
	h->thread = POOL_THREAD;
	spin_lock(&p->lock);
	h->next = p->heaps;
	h->number = h->next ? h->next->number + 1 : 0;
	__atomic_store_n(&p->heaps, h, __ATOMIC_RELEASE);
	spin_unlock(&p->lock);
	return h;
}

struct heap *pool_heap(struct pool *p)
{
	struct pool_mine *m = &pool_mine[p->slot];

	if (m->serial == p->serial)
		return m->heap;
	struct heap *h = heap_adopt(p);
	if (!h)
		h = heap_new(p);
	if (!h)
		return NULL;
	*m = (struct pool_mine){p->serial, h};
	pthread_setspecific(at_exit, m);
	return h;
}

/* ---- taking ---- */

/* A block of the class, from a span with room or a new one. */
static void *take_small(struct heap *h, unsigned class)
{
	drain(h);
	if (__atomic_load_n(&h->trim, __ATOMIC_RELAXED)) {
		__atomic_store_n(&h->trim, 0, __ATOMIC_RELAXED);
		shrink(h);
	}
	for (struct span *s; (s = h->span[class]) != &none;) {
		if (!s->free && s->fresh < s->total)
			span_extend(s);
		if (s->free)
			return pool_pop(h, class);
		list_remove(h, s);
		s->full = 1;
		set_easy(s, NULL);
	}
	struct span *s = span_new(h, class);
	if (!s)
		return NULL;
	list_add(h, s);
	span_extend(s);
	return pool_pop(h, class);
}

void *pool_take_slow(struct pool *p, size_t n, bool *zero)
{
	void *block;

	*zero = false;
	if (n > POOL_SMALL) {
		block = chunks_take(&p->chunks, n, zero);
	} else {
		struct heap *h = pool_heap(p);

		block = h ? take_small(h, pool_class(n)) : NULL;
	}
	if (block && announce_on)
		announce_taken(p, block, n, *zero);
	return block;
}

void *pool_take(struct pool *p, size_t n, struct err *e)
{
	struct pool_mine *m = &pool_mine[p->slot];
	bool zero;

	if (n <= POOL_SMALL && m->serial == p->serial && !announce_on) {
		void *block = pool_pop(m->heap, pool_class(n));

		if (block)
			return block;
	}
	void *block = pool_take_slow(p, n, &zero);
	if (!block)
		chunks_why(&p->chunks, p->name, n, e);
	return block;
}

/* The first place in block (of n + align bytes) that is aligned, with a note in front of it. */
static void *displace(void *block, size_t align)
{
	size_t off = -(uintptr_t)block & (align - 1);

	if (!off)
		return block;
	note_before(block)->a = (uint64_t)off << 8 | DISPLACED;
	struct span *s = span_of(block);
	set_easy(s, NULL);
	__atomic_store_n(&s->aligned, 1, __ATOMIC_RELAXED);
	block = (char *)block + off;
	note_before(block)->a = 0;
	return block;
}

void *pool_take_as(struct pool *p, size_t n, size_t align, bool zero, struct err *e)
{
	bool wide = align > POOL_ALIGN && n <= POOL_SMALL, clean = false;
	size_t ask = wide ? n + align : n;
	void *block = pool_take_slow(p, ask, &clean);

	if (!block) {
		chunks_why(&p->chunks, p->name, n, e);
		return NULL;
	}
	if (wide && ask <= POOL_SMALL)
		block = displace(block, align);
	if (zero && !clean)
		memset(block, 0, n);
	return block;
}

/* ---- giving ---- */

void pool_give_slow(struct chunk *c, struct span *s, void *block)
{
	struct heap *h = s->heap;
	struct pool *p = (struct pool *)(void *)c->set;

	if (announce_on)
		announce_given(p, block_of(s, block), pool_room(block));
	if (!h) {
		chunks_give(c->set, block, SIZE_MAX);
		return;
	}
	block = block_of(s, block);
	if (pool_owner(h) == POOL_THREAD) {
		give_here(s, block);
		return;
	}
	void *top = __atomic_load_n(&h->away, __ATOMIC_RELAXED);
	do
		note_before(block)->a = (uintptr_t)top;
	while (!__atomic_compare_exchange_n(&h->away, &top, block, 1, __ATOMIC_RELEASE,
	                                    __ATOMIC_RELAXED));
}

void pool_give(void *block)
{
	if (!block)
		return;
	struct span *s = span_of(block);
	if (span_easy(s) && pool_owner(s->heap) == POOL_THREAD && !announce_on)
		pool_back(s, block);
	else
		pool_give_slow(chunk_of(block), s, block);
}

/* ---- the pool as a whole ---- */

struct pool *pool_default(void)
{
	return &pool_first;
}

int pool_init(struct pool **p, const struct pool_options *o, struct err *e)
{
	unsigned slot = 0;
	struct pool *n = pool_take_as(&pool_first, sizeof *n, 0, true, e);

	if (!n)
		return -1;
	n->chunks.options = (struct chunk_options){o->limit, o->keep, o->huge};
	n->name = o->name ? o->name : "pool";
	spin_lock(&pools_lock);
	while (slot < POOL_SLOTS && pools[slot])
		slot++;
	if (slot < POOL_SLOTS) {
		n->slot = slot;
		n->serial = ++serials;
		pools[slot] = n;
	}
	spin_unlock(&pools_lock);
	if (slot == POOL_SLOTS) {
		pool_give(n);
		return err_set(e, ERR_TROUBLE, "%s: more than %d pools", o->name, POOL_SLOTS);
	}
	announce_began(n);
	*p = n;
	return 0;
}

void pool_fini(struct pool *p)
{
	if (!p)
		return;
	announce_ended(p);
	spin_lock(&pools_lock);
	pools[p->slot] = NULL;
	spin_unlock(&pools_lock);
	chunks_fini(&p->chunks);
	pool_give(p);
}

size_t pool_room(const void *block)
{
	const struct span *s = span_of(block);

	if (!s->heap)
		return span_bytes(s);
	const char *first = block_of(s, (void *)(uintptr_t)block);

	return (size_t)(first + s->stride - sizeof(struct note) - (const char *)block);
}

struct note *pool_note(const void *block)
{
	struct span *s = span_of(block);

	return s->heap ? note_before(block) : &s->note;
}

size_t pool_trim(struct pool *p)
{
	struct pool_mine *m = &pool_mine[p->slot];

	if (m->serial == p->serial)
		shrink(m->heap);
	spin_lock(&p->lock);
	for (struct heap *h = p->heaps; h; h = h->next) {
		if (!pool_owner(h))
			shrink(h);
		else if (pool_owner(h) != POOL_THREAD)
			__atomic_store_n(&h->trim, 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&p->lock);
	return chunks_trim(&p->chunks);
}

static void count_span(void *arg, struct chunk *c, struct span *s)
{
	struct pool_stats *st = arg;

	(void)c;
	if (s->heap) {
		st->blocks += s->used;
		st->asked += s->used * (s->stride - sizeof(struct note));
	} else if (s->class != CLASS_HEAP) {
		st->blocks++;
		st->asked += span_bytes(s);
	}
}

void pool_stats(struct pool *p, struct pool_stats *s)
{
	memset(s, 0, sizeof *s);
	chunks_walk(&p->chunks, count_span, s);
	s->longest = chunks_longest(&p->chunks);
	s->unused = p->chunks.idle;
	s->used = p->chunks.used;
	s->peak = p->chunks.peak;
	s->kept = p->chunks.kept;
	s->mapped = p->chunks.mapped;
}

struct walk {
	void (*fn)(void *arg, void *block, struct note *n);
	void *arg;
};

static void walk_note(const struct walk *w, void *block, struct note *n)
{
	if (pool_marked(n))
		w->fn(w->arg, block, n);
}

static void walk_span(void *arg, struct chunk *c, struct span *s)
{
	(void)c;
	if (s->class == CLASS_HEAP)
		return;
	if (!s->heap) {
		walk_note(arg, span_base(s), &s->note);
		return;
	}
	for (uint32_t i = 0; i < s->fresh; i++) {
		char *block = block_at(s, i);
		uint64_t a = note_before(block)->a;

		if ((a & 0xff) == DISPLACED)
			block += a >> 8;
		walk_note(arg, block, note_before(block));
	}
}

void pool_walk(struct pool *p, void (*fn)(void *arg, void *block, struct note *n), void *arg)
{
	struct walk w = {fn, arg};

	chunks_walk(&p->chunks, walk_span, &w);
}
