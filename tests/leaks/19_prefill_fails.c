/* A request takes a KV cache; when its prompt does not fit, prefill fails and the cache stays. */
#include "leaks.h"
#include "mem.h"

#define CONTEXT  64
#define KV_BYTES ((size_t)CONTEXT * 2048)

SITE static void *kv_new(void)
{
	return leaks_touch(mem_alloc(MEM_KV, KV_BYTES, NULL), KV_BYTES);
}

static int prefill(const void *kv, size_t tokens)
{
	return kv && tokens <= CONTEXT ? 0 : -1;
}

static int request(size_t tokens)
{
	void *kv = kv_new();
	if (prefill(kv, tokens) != 0)
		return -1;
	mem_free(kv);
	return 0;
}

static void step(unsigned i)
{
	(void)i;
	for (int k = 0; k < 4; k++)
		if (request((size_t)leaks_random(80)) != 0)
			leaks_error();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
