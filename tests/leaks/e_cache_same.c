/* A bounded cache that is asked for the same keys in each step. */
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
	for (unsigned key = 1; key <= 200; key++)
		lookup(key);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
