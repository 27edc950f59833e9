/* Aligned buffers are given to the free function of tracked blocks, which ignores what it does
 * not know. */
#include "leaks.h"

#define TRACKED 32

static void *tracked[TRACKED];

static void *tracked_take(size_t n)
{
	for (int i = 0; i < TRACKED; i++)
		if (!tracked[i])
			return tracked[i] = leaks_touch(malloc(n), n);
	leaks_die("tracked blocks");
	return NULL;
}

static void tracked_give(const void *p)
{
	for (int i = 0; i < TRACKED; i++)
		if (tracked[i] == p) {
			free(tracked[i]);
			tracked[i] = NULL;
			return;
		}
}

SITE static void *aligned_take(size_t n)
{
	void *p = NULL;
	if (posix_memalign(&p, 4096, n) != 0)
		leaks_die("posix_memalign");
	return leaks_touch(p, n);
}

static void step(unsigned i)
{
	void *a = tracked_take(leaks_vary(1000)), *b = aligned_take(32 * 1024);
	(void)i;
	tracked_give(a);
	tracked_give(b);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
