#include "dense.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "../kernels/strips.h"
#include "arena.h"
#include "clock.h"
#include "threads.h"
#include "weights.h"

#define COLS   2560
#define ROW    (COLS / 4) /* bytes of I2_S */
#define STEP   64         /* rows of a thread are a multiple of this */
#define LEAST  (UINT64_C(64) << 20)
#define ROUNDS 5

struct trial {
	struct arena memory;
	struct threads *pool;
	kernel_mul *mul[2]; /* with I2_S, with strips: of the same memory */
	struct kernel_mat w[2];
	struct kernel_input x;
	float scale;
	int32_t sum, sum256[COLS / 256];
	float *y;
	uint8_t *scratch;
	int which;
};

static uint64_t i2_s_bytes(const struct gguf *g)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < g->n_tensors; i++)
		if (weights_dense_bytes(&g->tensors[i]))
			sum += g->tensors[i].bytes;
	return sum;
}

/* Twice the last cache that all cores share. */
static uint64_t beyond_caches(void)
{
	long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
	uint64_t twice = cache > 0 ? 2 * (uint64_t)cache : 0;

	return twice > LEAST ? twice : LEAST;
}

static void fill(void *arg, int i, int count)
{
	const struct trial *t = arg;
	size_t a, b;

	threads_split(t->w[0].rows, STEP, i, count, &a, &b);
	/* code 1 everywhere; strips of the same bytes have codes, too */
	memset((uint8_t *)(uintptr_t)t->w[0].data + a * ROW, 0x55, (b - a) * ROW);
}

static void multiply(void *arg, int i, int count)
{
	const struct trial *t = arg;
	size_t a, b;

	threads_split(t->w[0].rows, STEP, i, count, &a, &b);
	if (a < b)
		t->mul[t->which](&t->w[t->which], &t->x, a, b, t->y, 0,
		                 t->scratch + (size_t)i * KERNELS_SCRATCH);
}

static int open_trial(struct trial *t, uint64_t bytes, const struct kernels *k, int threads,
                      struct err *e)
{
	uint64_t rows = bytes / ROW / STEP * STEP;
	uint64_t y = arena_round(rows * sizeof(float)), q = arena_round(COLS);

	if (arena_init_huge(&t->memory, MEM_SCRATCH, "trial of dense weights",
	                    rows * ROW + y + q + (uint64_t)threads * KERNELS_SCRATCH, e) ||
	    threads_start(&t->pool, threads, e))
		return -1;
	uint8_t *w = arena_take(&t->memory, rows * ROW);
	t->y = arena_take(&t->memory, y);
	t->scale = 1;
	t->x = (struct kernel_input){.n = 1,
	                             .k = COLS,
	                             .q = arena_take(&t->memory, q),
	                             .stride = COLS,
	                             .scale = &t->scale,
	                             .sum = &t->sum,
	                             .sum256 = t->sum256,
	                             .stride256 = COLS / 256};
	t->scratch = arena_take(&t->memory, (uint64_t)threads * KERNELS_SCRATCH);
	t->mul[0] = k->mul[DTYPE_I2_S];
	t->mul[1] = k->mul_strips;
	t->w[0] = t->w[1] = (struct kernel_mat){DTYPE_I2_S, rows, COLS, w, ROW, 1, 0};
	t->w[1].strips = 1;
	threads_run(t->pool, fill, t);
	return 0;
}

/* The shortest times of both, in turns. */
static double measure(struct trial *t)
{
	double best[2] = {INFINITY, INFINITY};

	for (int i = 0; i < ROUNDS; i++)
		for (t->which = 0; t->which < 2; t->which++) {
			double start = clock_now();

			threads_run(t->pool, multiply, t);
			best[t->which] = fmin(best[t->which], clock_now() - start);
		}
	return best[1] / best[0];
}

int dense_ratio(double *ratio, const struct gguf *g, const struct kernels *k, int threads,
                struct err *e)
{
	uint64_t all = i2_s_bytes(g), bytes = beyond_caches();
	struct trial t = {.pool = NULL};

	*ratio = INFINITY;
	bytes = bytes < all ? bytes : all;
	/* What only the reference has is no choice. */
	if (bytes < (uint64_t)STEP * ROW || !k->mul_strips ||
	    k->mul_strips == kernels_get("scalar")->mul_strips)
		return 0;
	int failed = open_trial(&t, bytes, k, threads, e);
	if (!failed)
		*ratio = measure(&t);
	threads_stop(t.pool);
	arena_fini(&t.memory);
	return failed;
}
