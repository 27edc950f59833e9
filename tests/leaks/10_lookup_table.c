/* A lookup table of 64 KiB that is built again in each call. */
#include "leaks.h"

#define CODES 16384

static float *table; /* (CODES) */

SITE static void table_build(void)
{
	table = leaks_check(malloc(CODES * sizeof(*table)));
	for (int i = 0; i < CODES; i++)
		table[i] = (float)(i % 3 - 1);
}

static float product(unsigned codes)
{
	table_build();
	return table[codes % CODES];
}

static void step(unsigned i)
{
	static volatile float sum;
	sum = sum + product(i);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
