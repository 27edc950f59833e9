/* Sixteen bytes per step. */
#include "leaks.h"

struct sample {
	struct sample *next;
	unsigned step;
};

SITE static struct sample *sample_new(unsigned i)
{
	struct sample *s = leaks_check(malloc(sizeof(*s)));
	s->next = NULL;
	s->step = i;
	return s;
}

static void step(unsigned i)
{
	sample_new(i);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
