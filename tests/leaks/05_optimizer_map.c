/* Optimizer state by parameter: putting a new value replaces the old one without freeing it. */
#include "leaks.h"

#define PARAMETERS 16

static struct {
	unsigned id;
	float *moment;
} state[PARAMETERS];

SITE static float *moment_new(size_t n)
{
	return leaks_touch(malloc(n), n);
}

static void state_put(unsigned id, float *moment)
{
	state[id % PARAMETERS].id = id;
	state[id % PARAMETERS].moment = moment;
}

static void step(unsigned i)
{
	(void)i;
	for (unsigned id = 0; id < PARAMETERS; id++)
		state_put(id, moment_new(2048));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
