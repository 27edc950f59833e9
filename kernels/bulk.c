#include "bulk.h"

#include <string.h>

extern const struct bulk bulk_scalar;

static const struct bulk *const tables[] = {&bulk_scalar};

const struct bulk *bulk_at(size_t i, int *runs)
{
	*runs = 1;
	return i < sizeof tables / sizeof *tables ? tables[i] : NULL;
}

const struct bulk *bulk_get(void)
{
	return tables[0];
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
		a->xy[i] += b->xy[i];
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
