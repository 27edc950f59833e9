/* A MiB per step that is never written to: address space grows, resident memory does not. */
#include "leaks.h"

SITE static void *reserve(size_t n)
{
	return leaks_check(malloc(n));
}

static void step(unsigned i)
{
	(void)i;
	reserve(leaks_vary(1 << 20));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
