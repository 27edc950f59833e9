#include "bench_ceiling.h"

#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "mem.h"

#define READ_BYTES ((size_t)512 << 20)
#define PROBE_TIME 0.2 /* seconds of one measurement of the int8 rate */

struct bench_ceiling {
	const struct kernels *kern;
	struct threads *pool;
	uint8_t *memory; /* (READ_BYTES) */
	uint64_t rounds, done;
	volatile uint64_t sink;
};

static void read_part(void *arg, int i, int count)
{
	struct bench_ceiling *c = arg;
	size_t a, b;

	threads_split(READ_BYTES, 16384, i, count, &a, &b);
	c->sink = c->kern->probe_read(c->memory + a, b - a);
}

static void multiply(void *arg, int i, int count)
{
	struct bench_ceiling *c = arg;
	uint64_t n = c->kern->probe_int8(c->rounds);

	(void)i;
	(void)count;
	__atomic_fetch_add(&c->done, n, __ATOMIC_RELAXED);
}

double bench_ceiling_read(struct bench_ceiling *c)
{
	double s = clock_now();

	threads_run(c->pool, read_part, c);
	return (double)READ_BYTES / (clock_now() - s);
}

double bench_ceiling_int8(struct bench_ceiling *c)
{
	double s = clock_now(), took;

	c->done = 0;
	threads_run(c->pool, multiply, c);
	took = clock_now() - s;
	/* the next one takes as long as it should */
	c->rounds = (uint64_t)((double)c->rounds * PROBE_TIME / took) + 1;
	return (double)c->done / took;
}

int bench_ceiling_open(struct bench_ceiling **out, const struct kernels *k, int threads, int pin,
                       struct err *e)
{
	struct bench_ceiling *c = mem_calloc(MEM_OTHER, 1, sizeof *c, e);

	if (!c)
		return -1;
	c->kern = k;
	c->rounds = 100000;
	void *p =
	    mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		mem_free(c);
		return err_sys(e, "%zu bytes to read", READ_BYTES);
	}
	c->memory = p;
	madvise(p, READ_BYTES, MADV_HUGEPAGE);
	memset(p, 1, READ_BYTES);
	if (threads_start(&c->pool, threads, e) || (pin && threads_pin(c->pool, e))) {
		bench_ceiling_close(c);
		return -1;
	}
	/* The first runs wake the threads and find how many rounds take PROBE_TIME. */
	bench_ceiling_read(c);
	bench_ceiling_int8(c);
	*out = c;
	return 0;
}

void bench_ceiling_close(struct bench_ceiling *c)
{
	if (!c)
		return;
	threads_stop(c->pool);
	munmap(c->memory, READ_BYTES);
	mem_free(c);
}
