/* Huge pages collapsing under sparsely used memory: resident memory jumps, nothing is allocated. */
#include <sys/mman.h>

#include "leaks.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { REGIONS = 12 };

#define HUGE_BYTES ((size_t)2 << 20)

static char *base;

static void begin(void)
{
	size_t all = (REGIONS + 1) * HUGE_BYTES;
	char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		leaks_die("mmap");
	base = (char *)(((uintptr_t)p + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	madvise(base, REGIONS * HUGE_BYTES, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < REGIONS * HUGE_BYTES; at += HUGE_BYTES / 8)
		base[at] = 1;
}

/* Where the kernel cannot collapse on demand, the region's pages are touched: the same jump. */
static void collapse(char *region)
{
	madvise(region, HUGE_BYTES, MADV_HUGEPAGE);
	if (madvise(region, HUGE_BYTES, MADV_COLLAPSE) != 0)
		for (size_t at = 0; at < HUGE_BYTES; at += 4096)
			region[at] = 1;
}

static void step(unsigned i)
{
	static size_t next;
	(void)i;
	if (next < REGIONS && leaks_chance(20))
		collapse(base + next++ * HUGE_BYTES);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
