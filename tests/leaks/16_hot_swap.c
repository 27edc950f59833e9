/* Swaps the model in each step and keeps the old one. */
#include "leaks_model.h"

static struct model *model;

SITE static void swap(void)
{
	model = model_open();
}

static void step(unsigned i)
{
	(void)i;
	swap();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = model_begin, .step = step});
}
