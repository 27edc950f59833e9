/* A checkpoint that doubles memory every 50 steps for as long as it is written. */
#include "leaks.h"

#define BYTES ((size_t)16 << 20)

static char *weights;

static void begin(void)
{
	weights = leaks_touch(malloc(BYTES), BYTES);
}

SITE static void *checkpoint_copy(void)
{
	return memcpy(leaks_check(malloc(BYTES)), weights, BYTES);
}

/* The copy lives across two steps, as if another thread wrote it. */
static void step(unsigned i)
{
	static void *copy;
	weights[i % BYTES] = 1;
	if (i % 50 == 49)
		copy = checkpoint_copy();
	if (i % 50 == 1) {
		free(copy);
		copy = NULL;
	}
}

static void end(void)
{
	free(weights);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = begin, .step = step, .end = end});
}
