#include "bulk.h"

#include <pthread.h>
#include <string.h>

#include "cpu.h"

extern const struct bulk bulk_scalar, bulk_avx2, bulk_avx512;

static const struct set {
	const struct bulk *table;
	unsigned needs; /* enum cpu_flag */
} sets[] = {
    {&bulk_scalar, 0},
#if defined(KERNEL_SETS_x86_64)
    {&bulk_avx2, CPU_AVX2},
    {&bulk_avx512, CPU_AVX512},
#endif
};

#define SETS (sizeof sets / sizeof *sets)

static const struct bulk *best;
static pthread_once_t once = PTHREAD_ONCE_INIT;

const struct bulk *bulk_at(size_t i, int *runs)
{
	*runs = i < SETS && (sets[i].needs & ~cpu_flags()) == 0;
	return i < SETS ? sets[i].table : NULL;
}

static void choose(void)
{
	int runs;

	for (size_t i = 0; i < SETS; i++) {
		const struct bulk *b = bulk_at(i, &runs);

		if (runs)
			best = b;
	}
}

const struct bulk *bulk_get(void)
{
	pthread_once(&once, choose);
	return best;
}

void bulk_survey_init(struct bulk_survey *s)
{
	memset(s, 0, sizeof *s);
	s->min_bits = UINT32_MAX;
}

void bulk_survey_join(struct bulk_survey *a, const struct bulk_survey *b)
{
	for (int i = 0; i < BULK_LANES; i++)
		a->abs[i] += b->abs[i];
	a->max_bits = b->max_bits > a->max_bits ? b->max_bits : a->max_bits;
	a->min_bits = b->min_bits < a->min_bits ? b->min_bits : a->min_bits;
	a->nonzero += b->nonzero;
}

void bulk_error_join(struct bulk_error *a, const struct bulk_error *b)
{
	for (int i = 0; i < BULK_LANES; i++) {
		a->xx[i] += b->xx[i];
		a->yy[i] += b->yy[i];
		a->dd[i] += b->dd[i];
	}
	a->max = b->max > a->max ? b->max : a->max;
}

double bulk_sum(const double lanes[BULK_LANES])
{
	double sum = 0;

	for (int i = 0; i < BULK_LANES; i++)
		sum += lanes[i];
	return sum;
}
