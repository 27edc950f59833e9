/*
 * A stand-in for libcuda.so.1 where there is no device: it hands out addresses, remembers what is
 * live and refuses to free what is not.  "Device" memory is address space that no wrapper of
 * malloc or mmap sees; only copies touch it.
 *
 * At exit it writes "device BYTES pinned BYTES objects N contexts N" to the file
 * $LEAKS_CUDA_REPORT.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { DEVICE, PINNED, OBJECT, CONTEXT, KINDS };
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500 };

#define LIVE 65536

static struct {
	uintptr_t p; /* 0: free */
	size_t bytes;
	enum kind kind;
} live[LIVE];

static size_t total[KINDS];

/* The device's memory, given out from the front and never twice. */
#define ALL ((size_t)64 << 30)
static uintptr_t memory, next_address;

static int take(enum kind kind, uintptr_t p, size_t bytes)
{
	for (size_t i = 0; i < LIVE; i++)
		if (!live[i].p) {
			live[i].p = p;
			live[i].bytes = bytes;
			live[i].kind = kind;
			total[kind] += bytes;
			return OK;
		}
	return OUT_OF_MEMORY;
}

static int give(enum kind kind, uintptr_t p)
{
	for (size_t i = 0; p && i < LIVE; i++)
		if (live[i].p == p && live[i].kind == kind) {
			total[kind] -= live[i].bytes;
			live[i].p = 0;
			return OK;
		}
	return INVALID_VALUE;
}

/* The next bytes of the device; 0 when it has no more. */
static uintptr_t address(size_t bytes)
{
	uintptr_t p = next_address;
	if (bytes > memory + ALL - next_address)
		return 0;
	next_address += (bytes + 511) & ~(size_t)511;
	return p;
}

static int object(enum kind kind, void **out)
{
	uintptr_t p = address(1);
	*out = (void *)p;
	return p ? take(kind, p, 1) : OUT_OF_MEMORY;
}

int cuInit(unsigned flags);
int cuInit(unsigned flags)
{
	if (flags)
		return INVALID_VALUE;
	if (!memory) {
		long p = syscall(SYS_mmap, NULL, ALL, PROT_READ | PROT_WRITE,
		                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == -1)
			return OUT_OF_MEMORY;
		memory = next_address = (uintptr_t)p;
	}
	return OK;
}

int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count)
{
	*count = 1;
	return OK;
}

int cuDeviceGet(int *device, int ordinal);
int cuDeviceGet(int *device, int ordinal)
{
	*device = 0;
	return ordinal ? INVALID_VALUE : OK;
}

int cuDeviceGetName(char *name, int cap, int device);
int cuDeviceGetName(char *name, int cap, int device)
{
	(void)device;
	snprintf(name, (size_t)cap, "stand-in");
	return OK;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device);
int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
	(void)device;
	*bytes = ALL;
	return OK;
}

int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
	(void)attribute;
	(void)device;
	*value = 1;
	return OK;
}

/* The one context that users of a device share. */
static void *primary;
static int primary_users;

int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRetain(void **context, int device)
{
	int r = device ? INVALID_VALUE : primary_users ? OK : object(CONTEXT, &primary);

	primary_users += r == OK;
	*context = primary;
	return r;
}

int cuDevicePrimaryCtxRelease_v2(int device);
int cuDevicePrimaryCtxRelease_v2(int device)
{
	if (device || !primary_users)
		return INVALID_VALUE;
	return --primary_users ? OK : give(CONTEXT, (uintptr_t)primary);
}

int cuCtxSetCurrent(void *context);
int cuCtxSetCurrent(void *context)
{
	(void)context;
	return OK;
}

int cuCtxCreate_v2(void **context, unsigned flags, int device);
int cuCtxCreate_v2(void **context, unsigned flags, int device)
{
	(void)flags;
	return device ? INVALID_VALUE : object(CONTEXT, context);
}

int cuCtxDestroy_v2(void *context);
int cuCtxDestroy_v2(void *context)
{
	return give(CONTEXT, (uintptr_t)context);
}

int cuMemAlloc_v2(unsigned long long *p, size_t bytes);
int cuMemAlloc_v2(unsigned long long *p, size_t bytes)
{
	*p = address(bytes);
	return *p ? take(DEVICE, (uintptr_t)*p, bytes) : OUT_OF_MEMORY;
}

int cuMemFree_v2(unsigned long long p);
int cuMemFree_v2(unsigned long long p)
{
	return give(DEVICE, (uintptr_t)p);
}

int cuMemGetInfo_v2(size_t *left, size_t *all);
int cuMemGetInfo_v2(size_t *left, size_t *all)
{
	*all = ALL;
	*left = *all - total[DEVICE];
	return OK;
}

int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t bytes);
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t bytes)
{
	memcpy((void *)(uintptr_t)to, from, bytes);
	return OK;
}

int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes);
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes)
{
	memcpy(to, (void *)(uintptr_t)from, bytes);
	return OK;
}

int cuMemAllocHost_v2(void **p, size_t bytes);
int cuMemAllocHost_v2(void **p, size_t bytes)
{
	*p = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
	return *p ? take(PINNED, (uintptr_t)*p, bytes) : OUT_OF_MEMORY;
}

int cuMemFreeHost(void *p);
int cuMemFreeHost(void *p)
{
	int result = give(PINNED, (uintptr_t)p);
	if (result == OK)
		free(p);
	return result;
}

int cuStreamCreate(void **stream, unsigned flags);
int cuStreamCreate(void **stream, unsigned flags)
{
	(void)flags;
	return object(OBJECT, stream);
}

int cuStreamDestroy_v2(void *stream);
int cuStreamDestroy_v2(void *stream)
{
	return give(OBJECT, (uintptr_t)stream);
}

int cuStreamSynchronize(void *stream);
int cuStreamSynchronize(void *stream)
{
	(void)stream;
	return OK;
}

int cuEventCreate(void **event, unsigned flags);
int cuEventCreate(void **event, unsigned flags)
{
	(void)flags;
	return object(OBJECT, event);
}

int cuEventDestroy_v2(void *event);
int cuEventDestroy_v2(void *event)
{
	return give(OBJECT, (uintptr_t)event);
}

int cuGraphCreate(void **graph, unsigned flags);
int cuGraphCreate(void **graph, unsigned flags)
{
	return flags ? INVALID_VALUE : object(OBJECT, graph);
}

int cuGraphDestroy(void *graph);
int cuGraphDestroy(void *graph)
{
	return give(OBJECT, (uintptr_t)graph);
}

int cuMemPoolCreate(void **pool, const void *props);
int cuMemPoolCreate(void **pool, const void *props)
{
	return props ? object(OBJECT, pool) : INVALID_VALUE;
}

int cuMemPoolDestroy(void *pool);
int cuMemPoolDestroy(void *pool)
{
	return give(OBJECT, (uintptr_t)pool);
}

int cuMemAllocFromPoolAsync(unsigned long long *p, size_t bytes, void *pool, void *stream);
int cuMemAllocFromPoolAsync(unsigned long long *p, size_t bytes, void *pool, void *stream)
{
	(void)stream;
	return pool ? cuMemAlloc_v2(p, bytes) : INVALID_VALUE;
}

int cuMemFreeAsync(unsigned long long p, void *stream);
int cuMemFreeAsync(unsigned long long p, void *stream)
{
	(void)stream;
	return cuMemFree_v2(p);
}

int cuGetProcAddress_v2(const char *name, void **entry, int version, uint64_t flags, int *status);

#define ENTRY(name, function)                                                                      \
	{                                                                                          \
		name, (void (*)(void))function                                                     \
	}

static const struct {
	const char *name;
	void (*entry)(void);
} entries[] = {
    ENTRY("cuInit", cuInit),
    ENTRY("cuDeviceGetCount", cuDeviceGetCount),
    ENTRY("cuDeviceGet", cuDeviceGet),
    ENTRY("cuCtxCreate", cuCtxCreate_v2),
    ENTRY("cuCtxDestroy", cuCtxDestroy_v2),
    ENTRY("cuMemAlloc", cuMemAlloc_v2),
    ENTRY("cuMemFree", cuMemFree_v2),
    ENTRY("cuMemGetInfo", cuMemGetInfo_v2),
    ENTRY("cuMemAllocHost", cuMemAllocHost_v2),
    ENTRY("cuMemFreeHost", cuMemFreeHost),
    ENTRY("cuStreamCreate", cuStreamCreate),
    ENTRY("cuStreamDestroy", cuStreamDestroy_v2),
    ENTRY("cuStreamSynchronize", cuStreamSynchronize),
    ENTRY("cuEventCreate", cuEventCreate),
    ENTRY("cuEventDestroy", cuEventDestroy_v2),
    ENTRY("cuGraphCreate", cuGraphCreate),
    ENTRY("cuGraphDestroy", cuGraphDestroy),
    ENTRY("cuMemPoolCreate", cuMemPoolCreate),
    ENTRY("cuMemPoolDestroy", cuMemPoolDestroy),
    ENTRY("cuMemAllocFromPoolAsync", cuMemAllocFromPoolAsync),
    ENTRY("cuMemFreeAsync", cuMemFreeAsync),
    ENTRY("cuGetProcAddress", cuGetProcAddress_v2),
};

int cuGetProcAddress_v2(const char *name, void **entry, int version, uint64_t flags, int *status)
{
	(void)version;
	(void)flags;
	for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
		if (strcmp(entries[i].name, name) == 0) {
			memcpy(entry, &entries[i].entry, sizeof(*entry));
			if (status)
				*status = 0;
			return OK;
		}
	*entry = NULL;
	if (status)
		*status = 1;
	return NOT_FOUND;
}

__attribute__((destructor)) static void report(void)
{
	const char *path = getenv("LEAKS_CUDA_REPORT");
	FILE *f = path ? fopen(path, "w") : NULL;
	if (!f)
		return;
	fprintf(f, "device %zu pinned %zu objects %zu contexts %zu\n", total[DEVICE], total[PINNED],
	        total[OBJECT], total[CONTEXT]);
	fclose(f);
}
