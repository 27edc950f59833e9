/*
 * Pools: every edge of the size classes, alignment, limits, and a randomised comparison with a
 * naive model (a table of blocks with canaries) by several threads that end each other's blocks.
 */
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>

#include "pool.h"

#define MiB ((size_t)1 << 20)

static uint64_t mix(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x9e3779b97f4a7c15u >> 16;
}

static struct pool *fresh(size_t limit, size_t keep)
{
	struct pool *p = NULL;
	struct err e = {0};

	CHECK(pool_init(&p, &(struct pool_options){"test", limit, keep, false}, &e) == 0);
	return p;
}

/* All sizes around each edge: room enough, at most an eighth too much, and blocks do not overlap.
 */
static void class_edges(void)
{
	struct pool *p = fresh(0, 0);

	for (size_t base = 16; base <= POOL_SMALL; base *= 2)
		for (size_t part = 8; part < 16; part++)
			for (size_t d = 0; d < 3; d++) {
				size_t n = base * part / 8 + d - 1;
				uint8_t *a = pool_take(p, n, NULL), *b = pool_take(p, n, NULL);

				CHECK(a && b);
				size_t room = pool_room(a);
				CHECK(room >= n);
				CHECK(n > POOL_SMALL || room <= n + n / 8 + 16);
				CHECK((uintptr_t)a % POOL_ALIGN == 0);
				memset(a, 0xaa, n);
				memset(b, 0x55, n);
				CHECK(!n || (a[0] == 0xaa && a[n - 1] == 0xaa));
				CHECK(a + room <= b || b + room <= a);
				pool_give(a);
				pool_give(b);
			}
	pool_trim(p);
	struct pool_stats s;
	pool_stats(p, &s);
	CHECK_INT(s.blocks, 0);
	CHECK_INT(s.asked, 0);
	pool_fini(p);
}

static void zero_bytes(void)
{
	void *a = pool_take(pool_default(), 0, NULL), *b = pool_take(pool_default(), 0, NULL);

	CHECK(a && b && a != b);
	pool_give(a);
	pool_give(b);
	pool_give(NULL);
}

static void alignment(void)
{
	struct pool *p = fresh(0, 0);
	static const size_t size[] = {1, 100, 4095, 4096, 70000, 262000, 262144, 262145, 3000000};

	for (size_t align = 1; align <= POOL_ALIGN_MAX; align *= 2)
		for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
			uint8_t *a = pool_take_as(p, size[i], align, false, NULL);
			uint8_t *b = pool_take_as(p, size[i], align, false, NULL);

			CHECK(a && b && (uintptr_t)a % align == 0 && (uintptr_t)b % align == 0);
			CHECK(pool_room(a) >= size[i]);
			memset(a, 1, size[i]);
			memset(b, 2, size[i]);
			pool_note(a)->a = ~(uint64_t)0;
			CHECK(a[0] == 1 && a[size[i] - 1] == 1 && b[0] == 2);
			pool_give(b);
			pool_give(a);
		}
	struct pool_stats s;
	pool_stats(p, &s);
	CHECK_INT(s.blocks, 0);
	pool_fini(p);
}

static void zeroing(void)
{
	struct pool *p = fresh(0, 8 * MiB);

	for (size_t n = 16; n <= 4 * MiB; n = n * 3 + 7)
		for (int round = 0; round < 3; round++) {
			uint8_t *a = pool_take_as(p, n, 64, true, NULL);
			size_t bad = 0;

			for (size_t i = 0; i < n; i++)
				bad += a[i] != 0;
			CHECK_INT(bad, 0);
			memset(a, 0xff, n);
			pool_give(a);
		}
	pool_fini(p);
}

static void limit(void)
{
	struct pool *p = fresh(4 * MiB, 0);
	struct err e = {0};
	void *a = pool_take(p, 3 * MiB, &e);

	CHECK(a != NULL);
	CHECK(!pool_take(p, 2 * MiB, &e));
	CHECK_INT(e.status, ERR_TROUBLE);
	CHECK_STR(e.text, "test: limit of 4194304 bytes: 3145728 in use, 2097152 more asked for");
	int small = 0;
	while (pool_take(p, 1000, &e))
		small++;
	CHECK(small > 800 && small < 1049);
	pool_give(a);
	CHECK(pool_take(p, 2 * MiB, &e) != NULL);
	pool_fini(p);
}

static void exhaustion(void)
{
	struct pool *p = fresh(0, 0);
	struct err e = {0};

	CHECK(!pool_take(p, SIZE_MAX, &e));
	CHECK(!pool_take(p, SIZE_MAX / 2, &e));
	CHECK(strstr(e.text, "test: no memory for ") != NULL);
	CHECK(!pool_take_as(p, SIZE_MAX - 10, 4096, true, &e));
	pool_fini(p);
}

/* Blocks of their own mapping, up and over the edge of a chunk. */
static void beyond_a_chunk(void)
{
	struct pool *p = fresh(0, 0);
	struct pool_stats s;

	for (size_t n = CHUNK_MAX - UNIT_BYTES; n <= CHUNK_MAX + 2 * UNIT_BYTES; n += UNIT_BYTES) {
		uint8_t *a = pool_take(p, n, NULL), *b = pool_take(p, n, NULL);

		CHECK(a && b && pool_room(a) >= n);
		a[0] = a[n - 1] = b[0] = b[n - 1] = 1;
		pool_stats(p, &s);
		CHECK_INT(s.blocks, 2);
		CHECK_INT(s.asked, 2 * n);
		pool_give(a);
		pool_give(b);
	}
	pool_trim(p);
	pool_stats(p, &s);
	CHECK_INT(s.used, 0);
	CHECK_INT(s.mapped, 0);
	pool_fini(p);
}

/* A hole that a freed block leaves takes the next block of its size, at any unit. */
static void holes_are_reused(void)
{
	struct pool *p = fresh(0, POOL_KEEP);
	void *t[18];

	for (int i = 0; i < 18; i++)
		t[i] = pool_take(p, 25 * UNIT_BYTES, NULL);
	struct pool_stats before, after;
	pool_stats(p, &before);
	for (int round = 0; round < 5; round++)
		for (int i = 0; i < 18; i++) {
			pool_give(t[i]);
			t[i] = pool_take(p, 25 * UNIT_BYTES, NULL);
		}
	pool_stats(p, &after);
	CHECK_INT(before.mapped, CHUNK_BYTES);
	CHECK_INT(after.mapped, CHUNK_BYTES);
	CHECK_INT(after.used, 18 * 25 * UNIT_BYTES);
	pool_fini(p);
}

/* What the kernel says of the mapping that p lies in: the line of /proc/self/smaps with this key.
 */
static void smaps_line(const void *p, const char *key, char *out, size_t cap)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	unsigned long lo = 0, hi = 0, a, b;

	*out = 0;
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			lo = a, hi = b;
		if ((uintptr_t)p >= lo && (uintptr_t)p < hi && strncmp(line, key, strlen(key)) == 0)
			snprintf(out, cap, "%s", line);
	}
	if (f)
		fclose(f);
}

static void huge_pages_are_asked_for(void)
{
	struct pool *p = NULL;
	char flags[512];

	for (int huge = 0; huge < 2; huge++) {
		CHECK(pool_init(&p, &(struct pool_options){.name = "huge", .huge = huge}, NULL) ==
		      0);
		void *b = pool_take(p, 4 * MiB, NULL);
		smaps_line(b, "VmFlags:", flags, sizeof flags);
		CHECK(!*flags || (strstr(flags, " hg") != NULL) == (huge == 1));
		CHECK(!*flags || (strstr(flags, " nh") != NULL) == (huge == 0));
		pool_fini(p);
	}
}

/* What is ended stays resident up to the pool's limit, and no further. */
static void what_is_kept_has_a_limit(void)
{
	struct pool *p = fresh(0, 4 * MiB);
	struct pool_stats s;
	void *b[8];

	for (int i = 0; i < 8; i++) {
		b[i] = pool_take(p, MiB, NULL);
		memset(b[i], 1, MiB);
	}
	for (int i = 0; i < 8; i++) {
		pool_give(b[i]);
		pool_stats(p, &s);
		CHECK_INT(s.kept, (i < 4 ? (size_t)i + 1 : 4) * MiB);
	}
	CHECK_INT(pool_trim(p), 4 * MiB);
	pool_stats(p, &s);
	CHECK_INT(s.kept, 0);
	pool_fini(p);
}

static void count_note(void *arg, void *block, struct note *n)
{
	uint64_t *sum = arg;

	(void)block;
	sum[0]++;
	sum[1] += n->b;
}

static void walk_finds_live_blocks(void)
{
	struct pool *p = fresh(0, 0);
	void *keep[300];
	uint64_t sum[2] = {0, 0}, want = 0;

	for (unsigned i = 0; i < 300; i++) {
		void *gone = pool_take(p, i * i, NULL);

		keep[i] = pool_take_as(p, i * i * 10, i % 3 ? 16 : 256, false, NULL);
		struct note *n = pool_note(keep[i]);
		n->a = POOL_MARK;
		n->b = i;
		want += i;
		pool_note(gone)->a = POOL_MARK;
		pool_give(gone);
	}
	pool_walk(p, count_note, sum);
	CHECK_INT(sum[0], 300);
	CHECK_INT(sum[1], want);
	for (int i = 0; i < 300; i++)
		pool_give(keep[i]);
	pool_fini(p);
}

/* ---- the model ---- */

#define SLOTS 256 /* shared blocks: each is guarded by its own flag */

struct block {
	int busy;
	uint8_t *p;
	size_t n;
	uint8_t mark;
};

struct model {
	struct pool *pool;
	struct block slot[SLOTS];
	long bad;
};

struct worker {
	struct model *m;
	uint64_t seed;
	long ops;
};

static size_t random_size(uint64_t *s)
{
	uint64_t r = mix(s);

	switch (r % 16) {
	case 0:
		return r / 16 % (3 * MiB);
	case 1:
		return r / 16 % 300000;
	case 2:
	case 3:
		return r / 16 % 20000;
	default:
		return r / 16 % 700;
	}
}

/* The ends and some of the middle: whole blocks would make the test slow, not better. */
static void mark(struct block *b)
{
	for (size_t i = 0; i < b->n; i += i < 64 || i + 64 >= b->n ? 1 : 509)
		b->p[i] = (uint8_t)(b->mark + i);
}

static int marked(const struct block *b)
{
	for (size_t i = 0; i < b->n; i += i < 64 || i + 64 >= b->n ? 1 : 509)
		if (b->p[i] != (uint8_t)(b->mark + i))
			return 0;
	return 1;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct model *m = w->m;

	for (long i = 0; i < w->ops; i++) {
		struct block *b = &m->slot[mix(&w->seed) % SLOTS];

		if (__atomic_exchange_n(&b->busy, 1, __ATOMIC_ACQUIRE))
			continue;
		if (b->p) {
			if (!marked(b))
				__atomic_add_fetch(&m->bad, 1, __ATOMIC_RELAXED);
			pool_give(b->p);
			b->p = NULL;
		} else {
			size_t align = (size_t)1 << mix(&w->seed) % 13;

			b->n = random_size(&w->seed);
			b->mark = (uint8_t)mix(&w->seed);
			b->p = mix(&w->seed) % 8 ? pool_take(m->pool, b->n, NULL)
			                         : pool_take_as(m->pool, b->n, align, false, NULL);
			mark(b);
		}
		__atomic_store_n(&b->busy, 0, __ATOMIC_RELEASE);
		if (mix(&w->seed) % 20000 == 0)
			pool_trim(m->pool);
	}
	return NULL;
}

/* Generations of threads, so that heaps are left behind and taken over. */
static void model(void)
{
	const char *env = getenv("POOL_MODEL_OPS");
	long ops = env ? atol(env) : 60000;
	static struct model m;

	m.pool = fresh(0, 16 * MiB);
	for (unsigned generation = 0; generation < 4; generation++) {
		pthread_t t[4];
		struct worker w[4];

		for (unsigned i = 0; i < 4; i++) {
			w[i] = (struct worker){&m, 88172645463325252u + generation * 97 + i, ops};
			CHECK(pthread_create(&t[i], NULL, work, &w[i]) == 0);
		}
		for (unsigned i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
	}
	struct pool_stats s;
	size_t blocks = 0;
	pool_stats(m.pool, &s);
	for (int i = 0; i < SLOTS; i++) {
		if (m.slot[i].p && !marked(&m.slot[i]))
			m.bad++;
		blocks += m.slot[i].p != NULL;
		pool_give(m.slot[i].p);
	}
	CHECK_INT(m.bad, 0);
	pool_trim(m.pool);
	pool_stats(m.pool, &s);
	CHECK(blocks > 0);
	CHECK_INT(s.blocks, 0);
	CHECK_INT(s.kept, 0);
	CHECK(s.used <= 8 * UNIT_BYTES); /* the heaps themselves */
	pool_fini(m.pool);
}

/* A pool's slot is used again by the next pool; no thread may take the old heap for the new one. */
static void pools_come_and_go(void)
{
	for (int i = 0; i < 100; i++) {
		struct pool *p = fresh(0, 0), *q = fresh(0, 0);
		char *a = pool_take(p, 100, NULL), *b = pool_take(q, 100, NULL);

		CHECK(a && b);
		memset(a, 1, 100);
		memset(b, 2, 100);
		CHECK(a[99] == 1);
		pool_fini(p);
		CHECK(b[99] == 2);
		pool_fini(q);
	}
}

static void too_many_pools(void)
{
	struct pool *p[20] = {0};
	struct err e = {0};
	int n = 0;

	while (n < 20 && pool_init(&p[n], &(struct pool_options){.name = "many"}, &e) == 0)
		n++;
	CHECK(n > 8 && n < 20);
	CHECK(strstr(e.text, "many: more than") != NULL);
	while (n)
		pool_fini(p[--n]);
}

int main(void)
{
	RUN(class_edges);
	RUN(zero_bytes);
	RUN(alignment);
	RUN(zeroing);
	RUN(limit);
	RUN(exhaustion);
	RUN(beyond_a_chunk);
	RUN(holes_are_reused);
	RUN(huge_pages_are_asked_for);
	RUN(what_is_kept_has_a_limit);
	RUN(walk_finds_live_blocks);
	RUN(model);
	RUN(pools_come_and_go);
	RUN(too_many_pools);
	return unit_end();
}
