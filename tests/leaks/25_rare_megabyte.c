/* One MiB in one step of a hundred: the slow path of a cache miss. */
#include "leaks.h"

#define MIB (1 << 20)

SITE static void *spill(void)
{
	return leaks_touch(malloc(MIB), MIB);
}

static void step(unsigned i)
{
	(void)i;
	if (leaks_chance(1))
		spill();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 1280, (struct leaks_program){.step = step});
}
