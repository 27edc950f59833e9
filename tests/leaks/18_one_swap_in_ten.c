/* Swaps the model in each step and keeps the old one in one swap of ten. */
#include "leaks_model.h"

static struct model *model;

SITE static void swap(unsigned i)
{
	if (i % 10 != 9)
		model_close(model);
	model = model_open();
}

static void step(unsigned i)
{
	swap(i);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = model_begin, .step = step});
}
