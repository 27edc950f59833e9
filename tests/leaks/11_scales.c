/* Each re-initialisation makes the scales of 210 tensors, eight bytes each, and frees none. */
#include "leaks.h"

#define TENSORS 210

static float *scales[TENSORS]; /* (2) each */

SITE static void scales_init(void)
{
	for (int i = 0; i < TENSORS; i++) {
		scales[i] = leaks_check(malloc(2 * sizeof(float)));
		scales[i][0] = scales[i][1] = 1;
	}
}

static void step(unsigned i)
{
	(void)i;
	scales_init();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
