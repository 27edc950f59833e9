/* Bursts of 40 MB in small blocks that are all freed but one, which pins the heap's end until the
 * next burst. */
#include "leaks.h"

enum { BLOCKS = 10000, BYTES = 4000 };

static void *pinned;

static void burst(void)
{
	static void *p[BLOCKS];
	for (int i = 0; i < BLOCKS; i++)
		p[i] = leaks_touch(malloc(BYTES), BYTES);
	free(pinned);
	pinned = p[BLOCKS - 1];
	for (int i = 0; i < BLOCKS - 1; i++)
		free(p[i]);
}

static void step(unsigned i)
{
	static unsigned first;
	if (i == 0)
		first = 5 + (unsigned)leaks_random(40);
	if (i == first || (i > first && leaks_chance(1)))
		burst();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
