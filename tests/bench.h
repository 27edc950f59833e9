/* What the benchmark programs share: a clock, sizes that look random, and other allocators by
 * LD_PRELOAD of the same program. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

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

#endif
