/* Memory that is freed and kept by the allocator: the peak of many small blocks differs from step
 * to step, and the heap is never trimmed. */
#include <malloc.h>

#include "leaks.h"

enum { MOST = 8192 };

static void begin(void)
{
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 1 << 25);
}

static void step(unsigned i)
{
	static void *p[MOST];
	size_t n = (size_t)leaks_random(MOST);
	(void)i;
	for (size_t k = 0; k < n; k++)
		p[k] = leaks_touch(malloc(500), 500);
	while (n > 0)
		free(p[--n]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
