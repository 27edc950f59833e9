/* Device memory of 1 MiB per step without cuMemFree. */
#include "leaks_cuda.h"

SITE static cu_pointer device_take(size_t n)
{
	cu_pointer p;
	cu_check(cu.alloc(&p, n), "cuMemAlloc");
	return p;
}

static void step(unsigned i)
{
	cu_pointer used = device_take(leaks_vary(1 << 20));
	(void)i;
	device_take(leaks_vary(1 << 20));
	cu_check(cu.free(used), "cuMemFree");
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = cu_begin, .step = step});
}
