/* A caching device allocator: freed blocks are kept by size class and used again. */
#include "leaks_cuda.h"

enum { CLASSES = 6, KEPT = 16 };

static cu_pointer kept[CLASSES][KEPT];
static int n_kept[CLASSES];

SITE static cu_pointer device_new(int class)
{
	cu_pointer p;
	cu_check(cu.alloc(&p, (size_t)65536 << class), "cuMemAlloc");
	return p;
}

static cu_pointer cache_take(int class)
{
	return n_kept[class] ? kept[class][--n_kept[class]] : device_new(class);
}

static void cache_give(int class, cu_pointer p)
{
	kept[class][n_kept[class]++] = p;
}

static void step(unsigned i)
{
	cu_pointer p[KEPT];
	int class[KEPT];
	int n = 1 + (int)leaks_random(KEPT);
	(void)i;
	for (int k = 0; k < n; k++) {
		class[k] = (int)leaks_random(CLASSES);
		p[k] = cache_take(class[k]);
	}
	while (n-- > 0)
		cache_give(class[n], p[n]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = cu_begin, .step = step});
}
