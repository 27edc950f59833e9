/* A device context and workspaces that are made on first use and stay. */
#include "leaks_cuda.h"

enum { WORKSPACES = 4 };

static int device;

static void begin(void)
{
	device = cu_open();
}

SITE static void workspace_new(void)
{
	cu_pointer p;
	cu_check(cu.alloc(&p, 8 << 20), "cuMemAlloc");
}

static void step(unsigned i)
{
	static unsigned made;
	void *context;
	cu_pointer p;
	if (i == 0)
		cu_check(cu.context_create(&context, 0, device), "cuCtxCreate");
	if (made < WORKSPACES && leaks_chance(30)) {
		workspace_new();
		made++;
	}
	cu_check(cu.alloc(&p, leaks_vary(1 << 20)), "cuMemAlloc");
	cu_check(cu.free(p), "cuMemFree");
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
