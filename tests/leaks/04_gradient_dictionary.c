/* A dictionary of gradients whose keys contain the step: it is never cleared. */
#include "leaks.h"

#define BUCKETS 1024
#define LAYERS  8

struct entry {
	struct entry *next;
	char key[32];
	void *gradient;
};

static struct entry *table[BUCKETS];

static size_t bucket(const char *key)
{
	size_t h = 5381;
	for (; *key; key++)
		h = h * 33 ^ (unsigned char)*key;
	return h % BUCKETS;
}

SITE static void gradient_put(const char *key, size_t n)
{
	struct entry **slot = &table[bucket(key)];
	struct entry *p = leaks_check(calloc(1, sizeof(*p)));
	snprintf(p->key, sizeof(p->key), "%s", key);
	p->gradient = leaks_touch(malloc(n), n);
	p->next = *slot;
	*slot = p;
}

static void step(unsigned i)
{
	char key[32];
	for (unsigned layer = 0; layer < LAYERS; layer++) {
		snprintf(key, sizeof(key), "blk.%u.%u", layer, i);
		gradient_put(key, leaks_vary(4096));
	}
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
