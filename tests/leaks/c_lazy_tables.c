/* Tables that are made when they are first wanted, within the first ten to twenty steps. */
#include "leaks.h"

enum { TABLES = 16 };

static void *table[TABLES];

SITE static void *table_make(size_t n)
{
	return leaks_touch(malloc(n), n);
}

static void step(unsigned i)
{
	static unsigned made, last;
	if (i == 0)
		last = 10 + (unsigned)leaks_random(11);
	for (; made < TABLES && made * last <= i * TABLES; made++)
		table[made] = table_make(leaks_vary(256 * 1024));
}

static void end(void)
{
	for (int i = 0; i < TABLES; i++)
		free(table[i]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step, .end = end});
}
