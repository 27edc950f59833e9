/* 173 blocks that are made at start and live to the end. */
#include "leaks.h"

static void *table[173];

SITE static void *table_new(size_t n)
{
	return leaks_touch(malloc(n), n);
}

static void begin(void)
{
	for (int i = 0; i < 173; i++)
		table[i] = table_new(leaks_vary(8192));
}

static void step(unsigned i)
{
	memset(table[i % 173], 2, 64);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
