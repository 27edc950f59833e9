/* What the benchmark programs share: a clock, sizes that look random, other allocators by
 * LD_PRELOAD of the same program, and bars beside each other. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "fmt.h"

static inline double bench_clock(clockid_t c)
{
	struct timespec t;

	clock_gettime(c, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds of the calling thread's own time: what others do on the machine is left out. */
static inline double bench_now(void)
{
	return bench_clock(CLOCK_THREAD_CPUTIME_ID);
}

static inline uint64_t bench_mix(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x9e3779b97f4a7c15u >> 16;
}

/* A block must not be optimised away. */
static inline void bench_touch(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

#define BENCH_OTHERS 4
static const char *const bench_other[BENCH_OTHERS][2] = {
    {"glibc", ""},
    {"mimalloc", "libmimalloc.so.2.0"},
    {"jemalloc", "libjemalloc.so.2"},
    {"tcmalloc", "libtcmalloc_minimal.so.4"},
};

/* Runs "SELF malloc ARGUMENT" with another allocator and reads n numbers; 0 when that is not
 * installed. */
static inline int bench_run_other(const char *self, const char *library, const char *argument,
                                  double *number, int n)
{
	char command[1024];
	int got = 0;

	snprintf(command, sizeof command, "LD_PRELOAD=%s '%s' malloc %s 2>&1", library, self,
	         argument);
	FILE *f = popen(command, "r");
	while (f && got < n && fscanf(f, "%lf", &number[got]) == 1)
		got++;
	if (f)
		pclose(f);
	return got == n;
}

/* Numbers beside each other: a line "NAME NUMBER BAR" for mem.h (values[0]) and the others that are
 * there (have), least is best; the first bar's line also says how mem.h compares with the best of
 * the others. */
static inline void bench_bars(const char *title, const double *values, const int *have)
{
	double most = values[0], best = 1e300;

	for (int i = 1; i <= BENCH_OTHERS; i++)
		if (have[i - 1]) {
			most = values[i] > most ? values[i] : most;
			best = values[i] < best ? values[i] : best;
		}
	printf("%s\n", title);
	for (int i = 0; i <= BENCH_OTHERS; i++) {
		printf("  %-9s", i ? bench_other[i - 1][0] : "mem");
		if (i && !have[i - 1]) {
			printf(" not installed\n");
			continue;
		}
		printf(" %9.*f ", values[i] < 100 ? 2 : 0, values[i]);
		fmt_bar_cell(stdout, values[i], most, 32);
		if (i || best > 1e299)
			printf("\n");
		else
			printf(" %.2f of the best other\n", values[0] / best);
	}
	fflush(stdout);
}

#endif
