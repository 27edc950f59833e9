/* Blocks of random size and number, all freed within the step. */
#include "leaks.h"

static void step(unsigned i)
{
	void *p[64];
	size_t n = 1 + (size_t)leaks_random(64);
	(void)i;
	for (size_t k = 0; k < n; k++) {
		size_t bytes = (size_t)16 << leaks_random(16);
		p[k] = leaks_touch(malloc(bytes), bytes);
	}
	for (size_t k = 0; k < n; k++)
		free(p[k]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
