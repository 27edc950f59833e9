/*
 * The CUDA kernels on a device, against kernels/scalar: the checks of unit_cuda, where they really
 * run.
 *
 *	cuda_kernels [cuda:N]
 *
 * Prints "SKIP: reason" with status 0 where there is no device or no kernels were built.
 */
#include "checks.h"

#include <stdlib.h>

#include "cuda_driver.h"
#include "device.h"

static struct device *device;
static void *module, *stream;

static void give_up(const struct err *e)
{
	printf("# %s\n", e->text);
	exit(2);
}

static void *device_new(size_t bytes)
{
	struct err e = {0};
	void *p = device_take(device, bytes, &e);

	if (!p)
		give_up(&e);
	return p;
}

static void device_end(void *p)
{
	device_give(device, p);
}

static void to_device(void *to, const void *from, size_t bytes)
{
	struct err e = {0};

	if (device_write(device, to, from, bytes, &e))
		give_up(&e);
}

static void from_device(void *to, const void *from, size_t bytes)
{
	struct err e = {0};

	if (device_read(device, to, from, bytes, &e))
		give_up(&e);
}

static int run(const char *name, const struct cuda_shape *s, const void *args, size_t bytes)
{
	struct err e = {0};
	void *function, *parameters[1] = {(void *)(uintptr_t)args};
	/* as a graph has them: each kernel may start before those in front of it end */
	struct cuda_launch_attribute early = {CUDA_LAUNCH_EARLY, 0, {1}};
	struct cuda_launch l = {
	    {s->grid[0], s->grid[1], s->grid[2]}, {s->block, 1, 1}, s->shared, stream, &early, 1};

	(void)bytes;
	if (CUDA_CALL(&e, ModuleGetFunction, &function, module, name) ||
	    (s->shared > 48u << 10 &&
	     CUDA_CALL(&e, FuncSetAttribute, function, CUDA_FUNCTION_SHARED, (int)s->shared)) ||
	    CUDA_CALL(&e, LaunchKernelEx, &l, function, parameters, NULL) ||
	    CUDA_CALL(&e, StreamSynchronize, stream)) {
		printf("# %s: %s\n", name, e.text);
		return -1;
	}
	return 0;
}

static const struct machine on_device = {device_new, device_end, to_device, from_device, run};

#define KERNELS(what)                                                                              \
	static void what##_are_those_of_scalar(void)                                               \
	{                                                                                          \
		CHECK_INT(check_##what(), 0);                                                      \
	}
KERNELS(products)
KERNELS(tokens)
KERNELS(dense)
KERNELS(attention)
KERNELS(prompts)
KERNELS(head)
KERNELS(probes)

/* Why nothing can run here, or NULL. */
static const char *why_not(const char *name, struct err *e)
{
	size_t bytes;
	const void *image = cuda_image(&bytes);

	if (!image)
		return "built without nvcc";
	if (!cuda_driver_devices())
		return "no CUDA device, or no driver of it";
	if (device_open(&device, name, e) || device_enter(device, e) ||
	    CUDA_CALL(e, StreamCreate, &stream, CUDA_STREAM_NON_BLOCKING) ||
	    CUDA_CALL(e, ModuleLoadData, &module, image))
		give_up(e);
	return NULL;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	const char *why = why_not(argc > 1 ? argv[1] : "cuda:0", &e);

	if (why) {
		printf("SKIP: %s\n", why);
		return 0;
	}
	printf("# %s\n", device_info(device)->model);
	machine = &on_device;
	RUN(products_are_those_of_scalar);
	RUN(tokens_are_those_of_scalar);
	RUN(dense_are_those_of_scalar);
	RUN(attention_are_those_of_scalar);
	RUN(prompts_are_those_of_scalar);
	RUN(head_are_those_of_scalar);
	RUN(probes_are_those_of_scalar);
	CHECK_INT(CUDA_CALL(&e, ModuleUnload, module) | CUDA_CALL(&e, StreamDestroy, stream), 0);
	device_close(device, NULL);
	return unit_end();
}
