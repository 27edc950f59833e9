/* An arena that is reset in each step: it grows to the largest step and stays. */
#include "leaks.h"

enum { CHUNK = 65536, CHUNKS = 64 };

static char *chunk[CHUNKS];

SITE static char *chunk_new(void)
{
	return leaks_touch(malloc(CHUNK), CHUNK);
}

static void arena_take(size_t *at, size_t n)
{
	size_t k = *at / CHUNK;
	if (*at % CHUNK + n > CHUNK)
		k++, *at = k * CHUNK;
	if (!chunk[k])
		chunk[k] = chunk_new();
	memset(chunk[k] + *at % CHUNK, 1, n);
	*at += n;
}

static void step(unsigned i)
{
	size_t at = 0;
	size_t takes = 50 + (size_t)leaks_random(300);
	(void)i;
	while (takes-- > 0)
		arena_take(&at, leaks_vary(4096));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
