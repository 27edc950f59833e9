/* Many small blocks from many call stacks: what a checker's own tables have to grow for. */
#include "leaks.h"

enum { MOST = 40000 };

static void *block[MOST];

/* A different stack for each path of bits. */
SITE static void *descend(unsigned path, int depth)
{
	void *volatile p;
	if (depth == 0)
		return leaks_check(malloc(24));
	if (path & 1)
		p = descend(path >> 1, depth - 1);
	else
		p = descend(path >> 1, depth - 1);
	return p;
}

static void step(unsigned i)
{
	size_t n = MOST / 8 * (1 + (size_t)leaks_random(8));
	if (i % 5)
		n = 500;
	for (size_t k = 0; k < n; k++)
		block[k] = descend((unsigned)leaks_random(1 << 12), 12);
	for (size_t k = 0; k < n; k++)
		free(block[k]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
