/*
 * The CUDA driver as the programs of the catalogue see it: opened at run time, its entries fetched
 * by cuGetProcAddress, as programs with a static CUDA runtime do.  Types are those of the driver's
 * published interface.
 */
#ifndef LEAKS_CUDA_H
#define LEAKS_CUDA_H

#include <dlfcn.h>

#include "leaks.h"

typedef unsigned long long cu_pointer;
typedef int (*cu_get_entry)(const char *name, void **entry, int version, uint64_t flags,
                            int *status);

struct cu_pool_props {
	int type;        /* 1: pinned device memory */
	int handle_type; /* 0: none */
	struct {
		int type; /* 1: device */
		int id;
	} location;
	void *security;
	size_t max_size;
	unsigned char reserved[54];
};

static struct {
	int (*init)(unsigned flags);
	int (*device_get)(int *device, int ordinal);
	int (*context_create)(void **context, unsigned flags, int device);
	int (*context_destroy)(void *context);
	int (*alloc)(cu_pointer *p, size_t bytes);
	int (*free)(cu_pointer p);
	int (*alloc_host)(void **p, size_t bytes);
	int (*free_host)(void *p);
	int (*stream_create)(void **stream, unsigned flags);
	int (*stream_destroy)(void *stream);
	int (*stream_synchronize)(void *stream);
	int (*event_create)(void **event, unsigned flags);
	int (*event_destroy)(void *event);
	int (*graph_create)(void **graph, unsigned flags);
	int (*graph_destroy)(void *graph);
	int (*pool_create)(void **pool, const struct cu_pool_props *props);
	int (*pool_destroy)(void *pool);
	int (*alloc_from_pool)(cu_pointer *p, size_t bytes, void *pool, void *stream);
	int (*free_async)(cu_pointer p, void *stream);
} cu;

static const struct {
	const char *name;
	int version; /* of the interface that is asked for */
	void *to;
} cu_entries[] = {
    {"cuInit", 12000, &cu.init},
    {"cuDeviceGet", 12000, &cu.device_get},
    {"cuCtxCreate", 12000, &cu.context_create},
    {"cuCtxDestroy", 12000, &cu.context_destroy},
    {"cuMemAlloc", 12000, &cu.alloc},
    {"cuMemFree", 12000, &cu.free},
    {"cuMemAllocHost", 12000, &cu.alloc_host},
    {"cuMemFreeHost", 12000, &cu.free_host},
    {"cuStreamCreate", 12000, &cu.stream_create},
    {"cuStreamDestroy", 12000, &cu.stream_destroy},
    {"cuStreamSynchronize", 12000, &cu.stream_synchronize},
    {"cuEventCreate", 12000, &cu.event_create},
    {"cuEventDestroy", 12000, &cu.event_destroy},
    {"cuGraphCreate", 12000, &cu.graph_create},
    {"cuGraphDestroy", 12000, &cu.graph_destroy},
    {"cuMemPoolCreate", 12000, &cu.pool_create},
    {"cuMemPoolDestroy", 12000, &cu.pool_destroy},
    {"cuMemAllocFromPoolAsync", 12000, &cu.alloc_from_pool},
    {"cuMemFreeAsync", 12000, &cu.free_async},
};

static inline void cu_check(int result, const char *what)
{
	if (result) {
		fprintf(stderr, "%s: CUDA error %d\n", what, result);
		exit(LEAKS_TROUBLE);
	}
}

/* Opens the driver and a device, without a context. */
static inline int cu_open(void)
{
	int device = 0, status = 0;
	cu_get_entry get = NULL;
	void *lib = dlopen("libcuda.so.1", RTLD_NOW);
	if (lib)
		*(void **)&get = dlsym(lib, "cuGetProcAddress_v2");
	if (!get)
		leaks_skip("no CUDA driver");
	for (size_t i = 0; i < sizeof(cu_entries) / sizeof(*cu_entries); i++)
		if (get(cu_entries[i].name, cu_entries[i].to, cu_entries[i].version, 0, &status) ||
		    !*(void **)cu_entries[i].to)
			leaks_skip(cu_entries[i].name);
	if (cu.init(0) || cu.device_get(&device, 0))
		leaks_skip("no CUDA device");
	return device;
}

/* The same with a context that stays. */
static inline void cu_begin(void)
{
	void *context;
	int device = cu_open();
	cu_check(cu.context_create(&context, 0, device), "cuCtxCreate");
}

#endif
