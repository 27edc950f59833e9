/* A step that fails returns without destroying its context and its memory pool, whose blocks
 * stay. */
#include "leaks_cuda.h"

static int device;

static void begin(void)
{
	device = cu_open();
}

SITE static int session(int bad)
{
	struct cu_pool_props props = {.type = 1, .location = {.type = 1, .id = device}};
	void *context, *pool;
	cu_pointer kv;
	cu_check(cu.context_create(&context, 0, device), "cuCtxCreate");
	cu_check(cu.pool_create(&pool, &props), "cuMemPoolCreate");
	cu_check(cu.alloc_from_pool(&kv, 1 << 20, pool, NULL), "cuMemAllocFromPoolAsync");
	if (bad)
		return -1;
	cu_check(cu.free_async(kv, NULL), "cuMemFreeAsync");
	cu_check(cu.stream_synchronize(NULL), "cuStreamSynchronize");
	cu_check(cu.pool_destroy(pool), "cuMemPoolDestroy");
	cu_check(cu.context_destroy(context), "cuCtxDestroy");
	return 0;
}

static void step(unsigned i)
{
	(void)i;
	if (session(leaks_chance(25)) != 0)
		leaks_error();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
