/*
 * What an allocation costs, ours beside the others', in one run:
 *
 *	bench_memory		the table: mem.h, glibc, and by LD_PRELOAD of this program mimalloc,
 *				jemalloc and tcmalloc where they are installed
 *	bench_memory malloc	one column: whatever malloc is here
 *	bench_memory mem	one column: mem.h
 *
 * Each figure is the least of several rounds: what disturbs on a shared machine only adds.
 */
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "mem.h"

#define ROUNDS 7
#define SIZES  4096

typedef void *take_fn(size_t n);
typedef void give_fn(void *p);

static uint32_t size_small[SIZES], size_large[SIZES], slot_of[SIZES];

static void prepare(void)
{
	uint64_t s = 88172645463325252u;

	for (int i = 0; i < SIZES; i++) {
		size_small[i] = (uint32_t)(16 + bench_mix(&s) % 1009);
		size_large[i] = (uint32_t)((1 << 20) + bench_mix(&s) % (3 << 20));
		slot_of[i] = (uint32_t)bench_mix(&s);
	}
}

static void *take_malloc(size_t n)
{
	return malloc(n);
}

static void give_malloc(void *p)
{
	free(p);
}

static void *take_mem(size_t n)
{
	return mem_alloc(MEM_OTHER, n, NULL);
}

static void give_mem(void *p)
{
	mem_free(p);
}

#define INLINE static inline __attribute__((always_inline))

/* ---- the loops; each returns nanoseconds per pair ---- */

INLINE double at_once(take_fn *take, give_fn *give)
{
	const int n = 2000000;
	double t = bench_now();

	for (int i = 0; i < n; i++) {
		void *p = take(size_small[i % SIZES]);

		bench_touch(p);
		give(p);
	}
	return (bench_now() - t) / n;
}

INLINE double live(take_fn *take, give_fn *give, const uint32_t *size, unsigned slots, int n)
{
	void *p[1024] = {0};
	double t = bench_now();

	for (int i = 0; i < n; i++) {
		unsigned k = slot_of[i % SIZES] % slots;

		give(p[k]);
		p[k] = take(size[(unsigned)i * 7 % SIZES]);
		bench_touch(p[k]);
	}
	t = (bench_now() - t) / n;
	for (unsigned k = 0; k < slots; k++)
		give(p[k]);
	return t;
}

/* One thread takes a batch, another gives it back, in turns; the time of both. */
#define BATCH 4096
#define TURNS 100
struct batch {
	void *p[BATCH];
	pthread_barrier_t turn;
	give_fn *give;
	double ns;
};

static void *giver(void *arg)
{
	struct batch *b = arg;

	for (int i = 0; i < TURNS; i++) {
		pthread_barrier_wait(&b->turn);
		double t = bench_now();
		for (int k = 0; k < BATCH; k++)
			b->give(b->p[k]);
		b->ns += bench_now() - t;
		pthread_barrier_wait(&b->turn);
	}
	return NULL;
}

INLINE double handed_over(take_fn *take, give_fn *give)
{
	static struct batch b;
	pthread_t thread;
	double ns = 0;

	memset(&b, 0, sizeof b);
	b.give = give;
	pthread_barrier_init(&b.turn, NULL, 2);
	pthread_create(&thread, NULL, giver, &b);
	for (int i = 0; i < TURNS; i++) {
		double t = bench_now();
		for (int k = 0; k < BATCH; k++)
			b.p[k] = take(size_small[k % SIZES]);
		ns += bench_now() - t;
		pthread_barrier_wait(&b.turn);
		pthread_barrier_wait(&b.turn);
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&b.turn);
	return (ns + b.ns) / BATCH / TURNS;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The time below which 99.9 % of the pairs of large blocks stay, the clock's own cost included. */
INLINE double large_tail(take_fn *take, give_fn *give)
{
	enum { N = 100000 };
	static double each[N];
	void *p[16] = {0};

	for (int i = 0; i < N; i++) {
		unsigned k = slot_of[i % SIZES] % 16;
		double t = bench_clock(CLOCK_MONOTONIC);

		give(p[k]);
		p[k] = take(size_large[(unsigned)i * 7 % SIZES]);
		each[i] = bench_clock(CLOCK_MONOTONIC) - t;
	}
	for (int k = 0; k < 16; k++)
		give(p[k]);
	qsort(each, N, sizeof *each, compare);
	return each[N - N / 1000];
}

/* ---- one column ---- */

enum { AT_ONCE, LIVE_1, LIVE_2, HANDED_OVER, LARGE, LARGE_TAIL, CASES };

static const char *const case_name[CASES] = {
    "16 B to 1 KiB, freed at once",
    "16 B to 1 KiB, 1,024 live, 1 thread",
    "16 B to 1 KiB, 1,024 live, 2 threads",
    "16 B to 1 KiB, freed by another thread",
    "1 to 4 MiB, 16 live",
    "1 to 4 MiB, 16 live, 99.9 % below",
};

struct side {
	pthread_barrier_t *ready;
	double ns;
	int ours;
};

static void *live_thread(void *arg)
{
	struct side *s = arg;

	pthread_barrier_wait(s->ready);
	s->ns = s->ours ? live(take_mem, give_mem, size_small, 1024, 2000000)
	                : live(take_malloc, give_malloc, size_small, 1024, 2000000);
	return NULL;
}

static double live_two(int ours)
{
	pthread_barrier_t ready;
	pthread_t t[2];
	struct side s[2] = {{&ready, 0, ours}, {&ready, 0, ours}};

	pthread_barrier_init(&ready, NULL, 2);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, live_thread, &s[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&ready);
	return (s[0].ns + s[1].ns) / 2;
}

static double one(int c, int ours)
{
	switch (c) {
	case AT_ONCE:
		return ours ? at_once(take_mem, give_mem) : at_once(take_malloc, give_malloc);
	case LIVE_1:
		return ours ? live(take_mem, give_mem, size_small, 1024, 2000000)
		            : live(take_malloc, give_malloc, size_small, 1024, 2000000);
	case LIVE_2:
		return live_two(ours);
	case HANDED_OVER:
		return ours ? handed_over(take_mem, give_mem)
		            : handed_over(take_malloc, give_malloc);
	case LARGE:
		return ours ? live(take_mem, give_mem, size_large, 16, 100000)
		            : live(take_malloc, give_malloc, size_large, 16, 100000);
	default:
		return ours ? large_tail(take_mem, give_mem) : large_tail(take_malloc, give_malloc);
	}
}

static void column(int ours, double *ns)
{
	for (int c = 0; c < CASES; c++) {
		ns[c] = 1e30;
		for (int r = 0; r < ROUNDS; r++) {
			double t = one(c, ours);

			if (t < ns[c])
				ns[c] = t;
		}
	}
}

/* ---- the table ---- */

static void table(const char *self)
{
	double ours[CASES], ns[BENCH_OTHERS][CASES];
	int have[BENCH_OTHERS];

	column(1, ours);
	for (int i = 0; i < BENCH_OTHERS; i++)
		have[i] = bench_run_other(self, bench_other[i][1], "", ns[i], CASES);
	printf("nanoseconds for taking and ending a block\n\n");
	for (int c = 0; c < CASES; c++) {
		double value[BENCH_OTHERS + 1] = {ours[c]};

		for (int i = 0; i < BENCH_OTHERS; i++)
			value[i + 1] = ns[i][c];
		bench_bars(case_name[c], value, have);
	}
}

int main(int argc, char **argv)
{
	double ns[CASES];

	setlocale(LC_CTYPE, "");
	prepare();
	if (argc == 1) {
		table(argv[0]);
		return 0;
	}
	column(strcmp(argv[1], "mem") == 0, ns);
	for (int c = 0; c < CASES; c++)
		printf("%.2f\n", ns[c]);
	return 0;
}
