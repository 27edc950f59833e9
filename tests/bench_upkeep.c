/*
 * What the books and the care of memory cost, and what they achieve:
 *
 *	tracking	nanoseconds per event at each level, memory per block and per stack
 *	tensors		units taken beside bytes asked for, on the tensors of a 2-billion model
 *	trim		what leaves resident memory beside what was announced, and how fast
 *	compaction	a hot swap in a store of handles: fragmentation after, rate beside memcpy's
 *	patterns	precision and recall of pattern.h on traces whose patterns are known
 */
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "handle.h"
#include "pattern_traces.h"
#include "pool.h"
#include "resident.h"
#include "track.h"

#define ROUNDS 9
#define MiB    ((size_t)1 << 20)
#define PAIRS  200000

static uint32_t size_of[4096];

/* ---- tracking ---- */

/* Always inline: the loop itself calls take and give. */
static inline __attribute__((always_inline)) double pairs(void *(*take)(size_t n),
                                                          void (*give)(void *p))
{
	void *p[64] = {0};
	double t = bench_now();

	for (unsigned i = 0; i < PAIRS; i++) {
		void **slot = &p[i * 7 % 64];

		give(*slot);
		*slot = take(size_of[i % 4096]);
	}
	t = (bench_now() - t) / PAIRS / 2;
	for (unsigned i = 0; i < 64; i++)
		give(p[i]);
	return t;
}

static void *take_mem(size_t n)
{
	return mem_alloc(MEM_OTHER, n, NULL);
}

static void *take_pool(size_t n)
{
	return pool_take(pool_default(), n, NULL);
}

static double events(void)
{
	return pairs(take_mem, mem_free);
}

static double events_of_pool(void)
{
	return pairs(take_pool, pool_give);
}

/* The stack has as many frames below as a level keeps. */
static __attribute__((noinline)) double deep(unsigned frames)
{
	double t = frames ? deep(frames - 1) : events();

	__asm__ volatile("" : : : "memory");
	return t;
}

static void *one_of_two(void *arg)
{
	double *least = arg;

	for (int r = 0; r < ROUNDS; r++) {
		double t = deep(CALLSITE_DEPTH);
		if (t < *least)
			*least = t;
	}
	return NULL;
}

static double two_threads(void)
{
	pthread_t t[2];
	double least[2] = {1e30, 1e30};

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, one_of_two, &least[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return (least[0] + least[1]) / 2;
}

static double least_of(double (*fn)(void))
{
	double least = 1e30;

	for (int r = 0; r < ROUNDS; r++) {
		double t = fn();
		if (t < least)
			least = t;
	}
	return least;
}

static double events_deep(void)
{
	return deep(CALLSITE_DEPTH);
}

static void tracking(void)
{
	static const char *const name[] = {"basic", "standard", "detailed"};

	for (unsigned i = 0; i < sizeof size_of / sizeof *size_of; i++)
		size_of[i] = 16 + (uint32_t)(i * 2654435761u % 1009);
	double pool = least_of(events_of_pool), basic = least_of(events_deep);
	printf(
	    "tracking, ns per event, 1 thread: whole, over the level below; 2 threads: the same\n");
	printf("  %-17s %6.1f\n", "pool, no books", pool);
	for (unsigned l = TRACK_BASIC; l <= TRACK_DETAILED; l++) {
		track_start(l);
		double one = least_of(events_deep), two = two_threads(), below = l ? basic : pool;

		printf("  %-17s %6.1f %+6.1f   %6.1f %+6.1f  ", name[l], one, one - below, two,
		       two - below);
		fmt_bar_cell(stdout, one, 60, 30);
		printf("\n");
	}
	size_t before = track_bytes();
	void *p = mem_alloc(MEM_OTHER, 1, NULL);
	printf("  memory: %zu B per live block, %zu B for a new stack\n", sizeof(struct note),
	       track_bytes() - before);
	mem_free(p);
	track_start(TRACK_BASIC);
}

/* ---- tensors: bytes of a 2-billion-parameter model at 2 bits, 30 layers ---- */

static void tensors(void)
{
	static const size_t layer[] = {2560 * 2560 / 4, 640 * 2560 / 4,  640 * 2560 / 4,
	                               2560 * 2560 / 4, 6912 * 2560 / 4, 6912 * 2560 / 4,
	                               6912 * 2560 / 4};
	struct pool *p = NULL;
	struct pool_stats s;
	size_t asked = 0, n = 0;

	if (pool_init(&p, &(struct pool_options){.name = "tensors"}, NULL))
		return;
	for (int l = 0; l < 30; l++)
		for (size_t i = 0; i < sizeof layer / sizeof *layer; i++)
			if (layer[i] >= MiB && pool_take(p, layer[i] + 32, NULL)) {
				asked += layer[i] + 32;
				n++;
			}
	if (pool_take(p, (size_t)128256 * 2560 * 2, NULL)) {
		asked += (size_t)128256 * 2560 * 2;
		n++;
	}
	pool_stats(p, &s);
	printf("tensors: %zu of at least 1 MiB, %.1f MiB: units %.2f %% above that\n", n,
	       (double)asked / MiB, 100.0 * ((double)s.used / (double)asked - 1));
	pool_fini(p);
}

/* ---- trim ---- */

static void trim(size_t each)
{
	struct pool *p = NULL;
	size_t n = 1024 * MiB / each;
	void **b = calloc(n, sizeof *b);

	if (!b || pool_init(&p, &(struct pool_options){.name = "trim", .keep = SIZE_MAX}, NULL)) {
		free(b);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		b[i] = pool_take(p, each, NULL);
		memset(b[i], 1, each);
	}
	for (size_t i = 0; i < n; i++)
		pool_give(b[i]);
	uint64_t before = resident_bytes();
	double t = bench_clock(CLOCK_MONOTONIC);
	size_t announced = pool_trim(p);
	t = bench_clock(CLOCK_MONOTONIC) - t;
	printf("trim of 1 GiB in blocks of %7zu: announced %.1f MiB, %.1f %% of it left resident "
	       "memory, %.1f ms\n",
	       each, (double)announced / MiB,
	       100.0 * (double)(before - resident_bytes()) / (double)announced, t / 1e6);
	pool_fini(p);
	free(b);
}

/* ---- compaction: tensors swapped one by one, small survivors pinned ---- */

static double memcpy_rate(void)
{
	size_t n = 256 * MiB;
	char *a = malloc(n), *b = malloc(n);
	double best = 0;

	memset(a, 1, n);
	memset(b, 2, n);
	for (int r = 0; r < 5; r++) {
		double t = bench_now();
		memcpy(b, a, n);
		bench_touch(b);
		double rate = (double)n / (bench_now() - t);
		if (rate > best)
			best = rate;
	}
	free(a);
	free(b);
	return best;
}

static void swap_once(struct handles *h, handle *tensor, unsigned swap, uint64_t *s)
{
	for (unsigned i = 0; i < 400; i++) {
		handles_give(h, tensor[i]);
		size_t n = 256 * 1024 + bench_mix(s) % 1024 * 1024 * (1 + swap % 3) / 2;

		tensor[i] = handles_take(h, n, NULL);
		char *p = handles_pin(h, tensor[i]);
		if (p)
			memset(p, (int)i, n);
		handles_unpin(h, tensor[i]);
		if (i % 8 == 0) {
			/* Small survivors; every fourth is in use, and may not move. */
			handle small = handles_take(h, 200 + bench_mix(s) % 2000, NULL);

			if (i % 32 == 0)
				handles_pin(h, small);
		}
	}
}

static void compaction(void)
{
	struct handles *h = NULL;
	handle tensor[400] = {0};
	uint64_t s = 88172645463325252u;
	struct handle_report r;

	if (handles_init(&h, "swap", 2048 * MiB, NULL))
		return;
	for (unsigned swap = 0; swap < 6; swap++)
		swap_once(h, tensor, swap, &s);
	for (unsigned i = 0; i < 400; i += 3) {
		handles_give(h, tensor[i]);
		tensor[i] = 0;
	}
	handles_compact(h, &r);
	double rate = memcpy_rate(), copied = (double)r.bytes / r.seconds / 1e9;
	printf(
	    "compaction: extent %.1f to %.1f MiB, live %.1f: holes %.2f to %.2f %% of the extent; "
	    "%.1f MiB copied\n"
	    "            at %.2f GB/s, %.2f of memcpy's %.2f; resident %.1f to %.1f MiB\n",
	    (double)r.before.extent / MiB, (double)r.after.extent / MiB, (double)r.after.live / MiB,
	    100.0 * (1 - (double)r.before.live / (double)r.before.extent),
	    100.0 * (1 - (double)r.after.live / (double)r.after.extent), (double)r.bytes / MiB,
	    copied, copied / rate, rate, (double)r.resident_before / MiB,
	    (double)r.resident_after / MiB);
	handles_fini(h);
}

static void patterns(void)
{
	struct score score[PATTERN_KINDS] = {{0, 0, 0}};

	for (uint64_t seed = 1000; seed < 1400; seed++)
		trace_score(seed * 104729, score);
	printf("patterns, 400 traces of %d sites: precision, recall\n", TRACE_SITES);
	for (unsigned k = 0; k < PATTERN_KINDS; k++)
		printf("  %-9s %.3f  %.3f   (%u right, %u wrong, %u missed)\n", pattern_name(k),
		       score_precision(&score[k]), score_recall(&score[k]), score[k].right,
		       score[k].wrong, score[k].missed);
}

int main(void)
{
	setlocale(LC_CTYPE, "");
	tracking();
	tensors();
	trim(64 * 1024 - 16);
	trim(MiB);
	compaction();
	patterns();
	return 0;
}
