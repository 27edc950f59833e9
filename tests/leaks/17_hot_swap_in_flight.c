/* Swaps the model in each step; the old one is kept when a request was in flight, because the
 * request's end does not close it. */
#include "leaks_model.h"

static struct model *model;
static int in_flight;

SITE static void swap(void)
{
	if (!in_flight)
		model_close(model);
	model = model_open();
}

static void step(unsigned i)
{
	(void)i;
	in_flight = leaks_chance(30);
	swap();
	in_flight = 0;
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = model_begin, .step = step});
}
