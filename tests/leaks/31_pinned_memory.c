/* A pinned staging buffer of 64 KiB per step that is not freed. */
#include "leaks_cuda.h"

SITE static void *staging_take(size_t n)
{
	void *p;
	cu_check(cu.alloc_host(&p, n), "cuMemAllocHost");
	return leaks_touch(p, n);
}

static void step(unsigned i)
{
	void *used = staging_take(65536);
	(void)i;
	staging_take(65536);
	cu_check(cu.free_host(used), "cuMemFreeHost");
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = cu_begin, .step = step});
}
