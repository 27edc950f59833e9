#include "track.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "pool_impl.h"
#include "spin.h"
#include "timeline.h"

/*
 * A stack is found by its hash: first in the heap's own cache (direct-mapped, no lock), then in
 * the table of all.  Births and deaths are counted per heap, so that threads share no line.
 */
#define CACHE    1024
#define INDEX    (TRACK_SITES * 2)
#define PC_BYTES 6 /* of an address; the rest is its sign */

/* note.b: site (16 bits), epoch (24), time in ticks (24); of a block that ended: site, the site
 * where it ended (in the low 16). */
#define SITE_SHIFT  48
#define EPOCH_SHIFT 24
#define LOW         ((1u << 24) - 1)
#define TICK_MS     16
_Static_assert(TRACK_SITES <= 1 << 16, "a site fits its part of a note");

struct site {
	uint64_t hash;
	uint32_t frames; /* offset in the bytes of all frames */
	uint32_t depth;
};

/* Of one heap; zeroed by the system, pages that are not used are never there. */
struct track {
	uint64_t cache[CACHE]; /* a hash, the low bits of which are the site */
	uint32_t births[TRACK_SITES], deaths[TRACK_SITES];
};
#define CACHED(hash, id) (((hash) & ~(uint64_t)(TRACK_SITES - 1)) | (id))

/* In an order that keeps what a short run uses on few pages: each costs as much as a hundred
 * events.
 */
static struct {
	int lock, first_taken;
	uint32_t sites, used;  /* in use of site (0 included) and frames */
	uint32_t mask;         /* entries of index in use, less 1 */
	uint32_t index[INDEX]; /* by hash: site, 0 is empty; as much of it is in use as is needed */
	struct track first;    /* of the heap that asks first */
	struct site site[TRACK_SITES];
	uint8_t frames[TRACK_SITES * CALLSITE_DEPTH * PC_BYTES];
} * all;

static enum track_level level;

static void *zeros(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint32_t epoch;

static uint32_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static uint64_t stamp(uint32_t id, uint32_t ticks)
{
	return (uint64_t)id << SITE_SHIFT |
	       (uint64_t)(__atomic_load_n(&epoch, __ATOMIC_RELAXED) & LOW) << EPOCH_SHIFT |
	       (ticks & LOW);
}

static uint32_t site_in(uint64_t note)
{
	return (uint32_t)(note >> SITE_SHIFT);
}

uint32_t track_epoch(void)
{
	return __atomic_add_fetch(&epoch, 1, __ATOMIC_RELAXED);
}

/* ---- sites ---- */

/* A sum of products, which do not wait for each other. */
static uint64_t hash_of(const uint64_t *pc, unsigned n)
{
	uint64_t h = n, factor = 0x9e3779b97f4a7c15u;

	for (unsigned i = 0; i < n; i++, factor += 0xd1b54a32d192ed04u)
		h += pc[i] * factor;
	return (h ^ h >> 32) | 1;
}

/* Where the site with this hash is, or could be. */
static uint32_t *index_place(uint64_t hash)
{
	uint32_t i = (uint32_t)(hash >> 40) & all->mask;

	while (all->index[i] && all->site[all->index[i]].hash != hash)
		i = (i + 1) & all->mask;
	return &all->index[i];
}

/* Twice as many places: few sites touch few pages. */
static void index_grow(void)
{
	memset(all->index, 0, (all->mask + 1) * sizeof all->index[0]);
	all->mask = all->mask * 2 + 1;
	for (uint32_t id = 1; id < all->sites; id++)
		*index_place(all->site[id].hash) = id;
}

/* The site with this hash, made if it is new; 0 when the table is full. */
static uint32_t site_find(uint64_t hash, const uint64_t *pc, unsigned n)
{
	spin_lock(&all->lock);
	uint32_t *place = index_place(hash), id = *place;
	if (!id && all->sites < TRACK_SITES) {
		id = all->sites++;
		all->site[id] = (struct site){hash, all->used, n};
		for (unsigned k = 0; k < n; k++, all->used += PC_BYTES)
			memcpy(all->frames + all->used, &pc[k], PC_BYTES);
		*place = id;
		if (all->sites * 2 > all->mask && all->mask < INDEX - 1)
			index_grow();
		timeline_site(id, pc, n);
	}
	spin_unlock(&all->lock);
	return id;
}

static struct track *track_of(struct heap *h)
{
	if (!h->track && all && !__atomic_exchange_n(&all->first_taken, 1, __ATOMIC_RELAXED))
		h->track = &all->first;
	else if (!h->track)
		h->track = zeros(sizeof(struct track));
	return h->track;
}

static uint32_t site_of(struct track *t, const uint64_t *pc, unsigned n)
{
	uint64_t hash = hash_of(pc, n);
	unsigned i = (hash >> 8) % CACHE;

	if (t && CACHED(t->cache[i], 0) == CACHED(hash, 0))
		return (uint32_t)(t->cache[i] - CACHED(hash, 0));
	uint32_t id = site_find(hash, pc, n);
	if (t)
		t->cache[i] = CACHED(hash, id);
	return id;
}

/* ---- events ---- */

bool track_on(void)
{
	return level != TRACK_BASIC;
}

enum track_level track_level(void)
{
	return level;
}

static uint64_t caller_of(const void *frame)
{
	return ((const uint64_t *)frame)[1];
}

uint32_t track_caller(const void *frame)
{
	uint64_t pc = caller_of(frame);

	return all ? site_of(NULL, &pc, 1) : 0;
}

uint64_t track_both(uint32_t taken, uint32_t ended)
{
	return (uint64_t)taken << SITE_SHIFT | ended;
}

uint64_t track_born(struct heap *h, const void *frame)
{
	uint64_t pc[CALLSITE_DEPTH] = {caller_of(frame)};
	struct track *t = track_of(h);

	if (level == TRACK_STANDARD)
		return stamp(site_of(t, pc, 1), 0);
	unsigned n = callsite_walk(frame, pc);
	uint32_t id = site_of(t, pc, n ? n : 1);
	if (t)
		t->births[id]++;
	return stamp(id, now_ms() / TICK_MS);
}

uint64_t track_died(struct heap *h, uint64_t born, const void *frame)
{
	uint64_t pc = caller_of(frame);
	struct track *t = track_of(h);
	uint32_t id = site_in(born);

	if (level >= TRACK_DETAILED && t)
		t->deaths[id]++;
	return (uint64_t)id << SITE_SHIFT | site_of(t, &pc, 1);
}

void track_event(const struct heap *h, const void *p, size_t bytes, uint64_t note)
{
	if (timeline_on())
		timeline_put(&(struct timeline_event){.address = (uintptr_t)p,
		                                      .bytes = bytes,
		                                      .site = (uint16_t)site_in(note),
		                                      .thread = (uint8_t)h->number});
}

void track_outside(unsigned device, const void *p, size_t bytes, const void *frame)
{
	if (timeline_on())
		timeline_put(&(struct timeline_event){.address = (uintptr_t)p,
		                                      .bytes = bytes,
		                                      .site = (uint16_t)track_caller(frame),
		                                      .device = (uint8_t)device});
}

static unsigned site_frames(uint32_t id, uint64_t pc[CALLSITE_DEPTH])
{
	const struct site *from = &all->site[id];

	for (unsigned i = 0; i < from->depth; i++) {
		pc[i] = 0;
		memcpy(&pc[i], all->frames + from->frames + i * PC_BYTES, PC_BYTES);
	}
	return from->depth;
}

int track_trace(const char *path, struct err *e)
{
	timeline_end();
	if (!path)
		return 0;
	if (timeline_begin(path, e))
		return -1;
	for (uint32_t id = 1; all && id < all->sites; id++) {
		uint64_t pc[CALLSITE_DEPTH];

		timeline_site(id, pc, site_frames(id, pc));
	}
	return 0;
}

void track_start(enum track_level l)
{
	if (l != TRACK_BASIC && !all) {
		all = zeros(sizeof *all);
		if (!all)
			return;
		all->sites = 1;
		all->mask = 511;
	}
	level = l;
	mem_special();
}

/* The level that the environment names; a name that is none is told, because nobody can return it.
 */
static enum track_level level_wanted(const char *l)
{
	static const char *const name[] = {"basic", "standard", "detailed", "guard"};

	for (unsigned i = TRACK_BASIC; l && i <= TRACK_GUARD; i++)
		if (strcmp(l, name[i]) == 0)
			return i;
	if (l && *l && strcmp(l, "none") != 0)
		dprintf(STDERR_FILENO,
		        "mem: $BITNET_MEM_TRACK: '%s' is not none, basic, standard, detailed or "
		        "guard\n",
		        l);
	return TRACK_BASIC;
}

__attribute__((constructor)) static void configure(void)
{
	const char *path = getenv("BITNET_MEM_TRACE");
	struct err e = {0};

	track_start(level_wanted(getenv("BITNET_MEM_TRACK")));
	if (!path || !*path)
		return;
	if (level == TRACK_BASIC)
		track_start(TRACK_STANDARD);
	if (level == TRACK_BASIC || track_trace(path, &e))
		dprintf(STDERR_FILENO, "mem: $BITNET_MEM_TRACE: %s\n",
		        *e.text ? e.text : "no memory for a ledger");
}

__attribute__((destructor)) static void finish(void)
{
	track_trace(NULL, NULL);
}

/* ---- reading ---- */

static void site_fill(struct track_site *s, uint32_t id)
{
	s->id = id;
	s->depth = site_frames(id, s->pc);
	for (struct heap *h = pool_heaps(&pool_first); h; h = h->next)
		if (h->track) {
			s->births += h->track->births[id];
			s->threads += h->track->births[id] != 0;
			s->deaths += h->track->deaths[id];
		}
}

struct count {
	struct track_site *site;
	uint32_t n, ticks;
	uint32_t since; /* only blocks of this epoch and later; 0: all */
};

/* Epochs wrap: what is less than half a round ahead is later. */
static bool is_since(uint64_t note, uint32_t since)
{
	return (((uint32_t)(note >> EPOCH_SHIFT) - since) & LOW) < LOW / 2;
}

static void count_block(void *arg, void *block, struct note *n)
{
	const struct count *c = arg;
	uint32_t id = site_in(n->b);
	uint64_t bytes = mem_note_bytes(n->a);
	struct track_site *s = &c->site[id < c->n ? id : 0];

	(void)block;
	if (c->since && !(id && is_since(n->b, c->since)))
		return;
	s->blocks++;
	s->bytes += bytes;
	s->tag = mem_note_tag(n->a);
	if (bytes > s->most)
		s->most = bytes;
	if (bytes < s->least || s->blocks == 1)
		s->least = bytes;
	uint32_t age = (c->ticks - (uint32_t)n->b) & LOW;
	if (id && level >= TRACK_DETAILED && (uint64_t)age * TICK_MS > s->oldest_ms)
		s->oldest_ms = (uint64_t)age * TICK_MS;
}

static int larger(const void *a, const void *b)
{
	const struct track_site *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

int track_sites_since(uint32_t since, bool ever, void (*fn)(void *arg, const struct track_site *s),
                      void *arg, struct err *e)
{
	if (!all)
		return 0;
	uint32_t n = __atomic_load_n(&all->sites, __ATOMIC_RELAXED);
	struct count c = {zeros(n * sizeof *c.site), n, now_ms() / TICK_MS, since};
	if (!c.site)
		return err_set(e, ERR_TROUBLE, "no memory for a list of %u sites", n);
	pool_walk(&pool_first, count_block, &c);
	for (uint32_t i = 0; i < n; i++)
		site_fill(&c.site[i], i);
	qsort(c.site, n, sizeof *c.site, larger);
	for (uint32_t i = 0; i < n; i++)
		if (c.site[i].blocks || (ever && c.site[i].births))
			fn(arg, &c.site[i]);
	munmap(c.site, n * sizeof *c.site);
	return 0;
}

int track_sites(bool ever, void (*fn)(void *arg, const struct track_site *s), void *arg,
                struct err *e)
{
	return track_sites_since(0, ever, fn, arg, e);
}

struct report {
	FILE *out;
	size_t n, max;
};

static void report_site(void *arg, const struct track_site *s)
{
	struct report *r = arg;
	char name[256];

	if (r->max && r->n >= r->max)
		return;
	r->n++;
	fprintf(r->out, "%llu bytes in %llu block%s (%s)", (unsigned long long)s->bytes,
	        (unsigned long long)s->blocks, s->blocks == 1 ? "" : "s", mem_tag_name(s->tag));
	if (s->births)
		fprintf(r->out, ", %llu taken by %u thread%s, %llu ended, oldest %.1f s",
		        (unsigned long long)s->births, s->threads, s->threads == 1 ? "" : "s",
		        (unsigned long long)s->deaths, (double)s->oldest_ms / 1000);
	fprintf(r->out, "\n");
	if (!s->id)
		fprintf(r->out, "    not recorded\n");
	for (unsigned i = 0; i < s->depth; i++)
		fprintf(r->out, "    %s\n", callsite_name(name, sizeof name, s->pc[i]));
}

size_t track_report(FILE *out, size_t max, struct err *e)
{
	struct report r = {out, 0, max};

	return track_sites(false, report_site, &r, e) ? 0 : r.n;
}

size_t track_bytes(void)
{
	size_t n = all ? all->sites * (sizeof(struct site) + 2 * sizeof(uint32_t)) + all->used : 0;

	for (struct heap *h = pool_heaps(&pool_first); h && all; h = h->next)
		if (h->track)
			n += sizeof h->track->cache + all->sites * 2 * sizeof(uint32_t);
	return n;
}

void track_blame(const void *p, const char *what, uint64_t note, const void *frame)
{
	char name[256];
	uint32_t site[2] = {site_in(note), (uint32_t)note & 0xffff};
	static const char *const role[2] = {"taken", "ended"};

	dprintf(STDERR_FILENO, "mem: %p: %s\n", p, what);
	dprintf(STDERR_FILENO, "mem:   now at %s\n",
	        callsite_name(name, sizeof name, caller_of(frame)));
	for (int i = 0; i < 2 && all && note; i++) {
		struct track_site s = {0};

		if (!site[i] || site[i] >= all->sites)
			continue;
		site_fill(&s, site[i]);
		dprintf(STDERR_FILENO, "mem:   %s at %s\n", role[i],
		        callsite_name(name, sizeof name, s.pc[0]));
	}
}
