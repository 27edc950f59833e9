/* A mapped model that pages in as its tensors are used for the first time. */
#include <sys/mman.h>

#include "leaks.h"

#define PAGES 8192 /* 32 MiB */
#define PAGE  4096

static const volatile unsigned char *model;

static void begin(void)
{
	static char page[PAGE];
	FILE *f = tmpfile();
	if (!f)
		leaks_die("model");
	for (int i = 0; i < PAGES; i++) {
		page[0] = (char)i;
		fwrite(page, PAGE, 1, f);
	}
	fflush(f);
	void *p = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ, MAP_PRIVATE, fileno(f), 0);
	if (p == MAP_FAILED)
		leaks_die("mmap");
	madvise(p, (size_t)PAGES * PAGE, MADV_RANDOM);
	fclose(f);
	model = p;
}

static void step(unsigned i)
{
	static volatile unsigned sum;
	(void)i;
	for (int k = 0; k < 4; k++) {
		size_t first = (size_t)leaks_random(PAGES - 64);
		for (size_t page = first; page < first + 64; page++)
			sum = sum + model[page * PAGE];
	}
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
