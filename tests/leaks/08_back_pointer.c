/* The intermediates of a step point to those of the step before, so none is ever freed. */
#include "leaks.h"

struct graph {
	struct graph *previous;
	void *intermediate[4];
};

static struct graph *last;

SITE static void *intermediate_new(size_t n)
{
	return leaks_touch(malloc(n), n);
}

static void step(unsigned i)
{
	struct graph *g = leaks_check(malloc(sizeof(*g)));
	(void)i;
	g->previous = last;
	for (int k = 0; k < 4; k++)
		g->intermediate[k] = intermediate_new(leaks_vary(6144));
	last = g;
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
