/* A list that is cleaned up every 17 steps, or 40. */
#include "leaks.h"

static void *garbage[64];
static size_t n;

SITE static void *garbage_new(size_t bytes)
{
	return leaks_touch(malloc(bytes), bytes);
}

static void step(unsigned i)
{
	static unsigned period;
	if (i == 0)
		period = leaks_random(2) ? 17 : 40;
	garbage[n++] = garbage_new(leaks_vary(64 * 1024));
	if (i % period == period - 1)
		while (n > 0)
			free(garbage[--n]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
