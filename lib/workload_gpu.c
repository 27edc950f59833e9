/*
 * Device memory through the CUDA driver, which is opened at run time: tensors taken, written, read
 * back and given back; a context that is destroyed after an error; a request for more than there
 * is. Skipped where there is no driver or no device.
 */
#include "workload_kind.h"

#include <dlfcn.h>
#include <string.h>

#include "mem.h"

enum { TENSORS = 10 };

#define TENSOR_BYTES ((size_t)4 << 20)

/* The driver's published interface; each returns 0 or an error's number. */
struct driver {
	int (*init)(unsigned flags);
	int (*device_get)(int *device, int ordinal);
	int (*context_create)(void **context, unsigned flags, int device);
	int (*context_destroy)(void *context);
	int (*alloc)(unsigned long long *p, size_t bytes);
	int (*free)(unsigned long long p);
	int (*info)(size_t *left, size_t *all);
	int (*to_device)(unsigned long long to, const void *from, size_t bytes);
	int (*to_host)(void *to, unsigned long long from, size_t bytes);
};

struct gpu {
	void *library;
	struct driver cu;
	int device;
	uint8_t *host, *back; /* TENSOR_BYTES each */
};

static int skip(struct err *e, const char *why)
{
	err_set(e, ERR_OK, "%s", why);
	return WORKLOAD_SKIP;
}

static int driver_find(void *library, struct driver *cu)
{
	const struct {
		const char *name;
		void *to;
	} entry[] = {
	    {"cuInit", &cu->init},
	    {"cuDeviceGet", &cu->device_get},
	    {"cuCtxCreate_v2", &cu->context_create},
	    {"cuCtxDestroy_v2", &cu->context_destroy},
	    {"cuMemAlloc_v2", &cu->alloc},
	    {"cuMemFree_v2", &cu->free},
	    {"cuMemGetInfo_v2", &cu->info},
	    {"cuMemcpyHtoD_v2", &cu->to_device},
	    {"cuMemcpyDtoH_v2", &cu->to_host},
	};

	for (size_t i = 0; i < sizeof(entry) / sizeof(*entry); i++) {
		void *p = dlsym(library, entry[i].name);
		if (!p)
			return -1;
		memcpy(entry[i].to, &p, sizeof(p));
	}
	return 0;
}

static void fini(void *state)
{
	struct gpu *s = state;

	mem_free(s->host);
	mem_free(s->back);
	if (s->library)
		dlclose(s->library);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct gpu *s = state;
	uint64_t seed = o->seed;

	s->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!s->library)
		return skip(e, "there is no CUDA driver");
	if (driver_find(s->library, &s->cu) != 0)
		return skip(e, "the CUDA driver is too old");
	if (s->cu.init(0) != 0 || s->cu.device_get(&s->device, 0) != 0)
		return skip(e, "there is no CUDA device");
	s->host = mem_alloc(MEM_IO, TENSOR_BYTES, e);
	s->back = mem_alloc(MEM_IO, TENSOR_BYTES, e);
	if (!s->host || !s->back)
		return -1;
	for (size_t i = 0; i < TENSOR_BYTES; i++)
		s->host[i] = (uint8_t)workload_random(&seed, 256);
	return 0;
}

static int failed(struct err *e, const char *what, int number)
{
	return err_set(e, ERR_TROUBLE, "%s: CUDA error %d", what, number);
}

/* Writes a tensor, reads it back and compares. */
static int transfer(struct gpu *s, unsigned long long tensor, struct err *e)
{
	int r = s->cu.to_device(tensor, s->host, TENSOR_BYTES);

	if (r == 0)
		r = s->cu.to_host(s->back, tensor, TENSOR_BYTES);
	if (r != 0)
		return failed(e, "copying a tensor", r);
	if (memcmp(s->host, s->back, TENSOR_BYTES) != 0)
		return err_set(e, ERR_TROUBLE, "a tensor came back changed from the device");
	return 0;
}

static int tensors(struct gpu *s, struct err *e)
{
	unsigned long long tensor[TENSORS];
	int n = 0, r = 0, number;

	for (; n < TENSORS && r == 0; n++) {
		number = s->cu.alloc(&tensor[n], TENSOR_BYTES);
		if (number != 0) {
			r = failed(e, "taking a tensor", number);
			break;
		}
		r = transfer(s, tensor[n], e);
	}
	while (n-- > 0) {
		number = s->cu.free(tensor[n]);
		if (number != 0)
			r = failed(e, "giving a tensor back", number);
	}
	return r;
}

/* More than the device has is refused, and afterwards it works as before. */
static int exhaust(struct gpu *s, unsigned *failures, struct err *e)
{
	unsigned long long p;
	size_t left, all;
	int number = s->cu.info(&left, &all);

	if (number != 0)
		return failed(e, "asking for free memory", number);
	if (s->cu.alloc(&p, 2 * all) == 0) {
		s->cu.free(p);
		return err_set(e, ERR_TROUBLE, "the device gave more memory than it has");
	}
	(*failures)++;
	return tensors(s, e);
}

static int step(void *state, unsigned *failures, struct err *e)
{
	struct gpu *s = state;
	void *context;
	int number = s->cu.context_create(&context, 0, s->device), r;

	if (number != 0)
		return failed(e, "making a context", number);
	r = tensors(s, e);
	if (r == 0)
		r = exhaust(s, failures, e);
	number = s->cu.context_destroy(context);
	return number != 0 ? failed(e, "destroying a context", number) : r;
}

const struct workload_kind workload_gpu = {
    {"gpu", "device memory taken, copied to and from, refused and given back", 20},
    sizeof(struct gpu),
    init,
    step,
    fini,
};
