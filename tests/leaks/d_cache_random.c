/* A bounded cache that is asked for random keys: it fills more and more slowly, then turns over. */
#include "leaks.h"

enum { ENTRIES = 256, BYTES = 8192 };

static struct {
	unsigned key; /* 0: empty */
	void *value;
} cache[ENTRIES];

SITE static void *value_make(void)
{
	return leaks_touch(malloc(BYTES), BYTES);
}

/* The entry that is evicted is chosen by the key. */
static void lookup(unsigned key)
{
	unsigned k = key * 2654435761u >> 24;
	if (cache[k].key == key)
		return;
	free(cache[k].value);
	cache[k].value = value_make();
	cache[k].key = key;
}

static void step(unsigned i)
{
	(void)i;
	for (int k = 0; k < 32; k++)
		lookup(1 + (unsigned)leaks_random(65536));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
