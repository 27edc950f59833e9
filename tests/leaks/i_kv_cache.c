/* A KV cache that grows by copying until it holds its context, and stays. */
#include "leaks.h"

enum { TOKEN_BYTES = 4096 };

static char *kv; /* (room, TOKEN_BYTES) */
static size_t used, room, context;

SITE static void kv_reserve(size_t tokens)
{
	while (room < tokens) {
		room += 32;
		kv = leaks_check(realloc(kv, room * TOKEN_BYTES));
	}
}

static void step(unsigned i)
{
	if (i == 0)
		context = 512 + 256 * (size_t)leaks_random(4);
	for (int k = 0; k < 32; k++) {
		size_t at = used < context ? used++ : (size_t)leaks_random(context);
		kv_reserve(used);
		memset(kv + at * TOKEN_BYTES, (int)(i & 0x7f) | 1, TOKEN_BYTES);
	}
}

static void end(void)
{
	free(kv);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step, .end = end});
}
