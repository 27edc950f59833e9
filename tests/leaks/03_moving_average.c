/* A moving average that makes a new array in each step and drops the pointer to the old one. */
#include "leaks.h"

#define DIM 8192

static float *average; /* (DIM) */

SITE static float *average_update(const float *old, const float *x)
{
	float *p = leaks_check(malloc(DIM * sizeof(*p)));
	for (int i = 0; i < DIM; i++)
		p[i] = 0.9f * (old ? old[i] : 0) + 0.1f * x[i];
	return p;
}

static void step(unsigned i)
{
	float *x = leaks_check(malloc(DIM * sizeof(*x)));
	for (int k = 0; k < DIM; k++)
		x[k] = (float)(i + (unsigned)k);
	average = average_update(average, x);
	free(x);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
