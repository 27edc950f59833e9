/*
 * A stand-in for libcuda.so.1 where there is no device: it hands out addresses, remembers what is
 * live and refuses to free what is not.  "Device" memory is address space that no wrapper of
 * malloc or mmap sees.  What runs on a device is in cuda_run.c.
 *
 * Environment:
 *	LEAKS_CUDA_REPORT=FILE  at exit "device BYTES pinned BYTES objects N contexts N" goes there
 *	LEAKS_CUDA_MEMORY=MIB   what the device has (default 65536)
 *	LEAKS_CUDA_FAIL=N       the Nth call fails (standin_fail_at does the same)
 */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers of CUdevice_attribute. */
enum { MULTIPROCESSORS = 16, COMPUTE_MAJOR = 75 };

#define LIVE 65536

static struct {
	uintptr_t p; /* 0: free */
	size_t bytes;
	enum kind kind;
} live[LIVE];

static size_t total[KINDS];

/* The device's memory: addresses are given out from the front and never twice. */
#define ADDRESSES ((size_t)256 << 30)
static uintptr_t memory, next_address;
static size_t all_bytes;

/* ---- failing on purpose ---- */

static uint64_t fail_at, calls;
static const char *failed;
static int asked; /* the environment */

void standin_fail_at(uint64_t n)
{
	asked = 1;
	fail_at = n;
	calls = 0;
	failed = NULL;
}

uint64_t standin_calls(void)
{
	return calls;
}

const char *standin_failed(void)
{
	return failed;
}

uint64_t standin_live(enum kind kind)
{
	return total[kind];
}

int standin_enter(const char *call)
{
	if (!asked) {
		const char *n = getenv("LEAKS_CUDA_FAIL");

		asked = 1;
		fail_at = n ? strtoull(n, NULL, 10) : 0;
	}
	if (++calls != fail_at)
		return OK;
	failed = call;
	return UNKNOWN;
}

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

int standin_give(enum kind kind, uintptr_t p)
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
	if (bytes > memory + ADDRESSES - next_address)
		return 0;
	next_address += (bytes + 511) & ~(size_t)511;
	return p;
}

int standin_object(enum kind kind, void **out)
{
	uintptr_t p = address(1);
	*out = (void *)p;
	return p ? take(kind, p, 1) : OUT_OF_MEMORY;
}

int cuInit(unsigned flags)
{
	ENTER();
	if (flags)
		return INVALID_VALUE;
	if (!memory) {
		const char *mib = getenv("LEAKS_CUDA_MEMORY");
		long p = syscall(SYS_mmap, NULL, ADDRESSES, PROT_READ | PROT_WRITE,
		                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == -1)
			return OUT_OF_MEMORY;
		memory = next_address = (uintptr_t)p;
		all_bytes = (size_t)(mib ? atol(mib) : 65536) << 20;
	}
	return OK;
}

int cuDeviceGetCount(int *count)
{
	ENTER();
	*count = 1;
	return OK;
}

int cuDeviceGet(int *device, int ordinal)
{
	ENTER();
	*device = 0;
	return ordinal ? INVALID_VALUE : OK;
}

int cuDeviceGetName(char *name, int cap, int device)
{
	ENTER();
	(void)device;
	snprintf(name, (size_t)cap, "stand-in");
	return OK;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
	ENTER();
	(void)device;
	*bytes = all_bytes;
	return OK;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
	ENTER();
	(void)device;
	*value = attribute != COMPUTE_MAJOR ? 0 : standin_runs() ? 9 : 1;
	if (attribute == MULTIPROCESSORS)
		*value = 4;
	return OK;
}

/* The one context that users of a device share. */
static void *primary;
static int primary_users;

int cuDevicePrimaryCtxRetain(void **context, int device)
{
	ENTER();
	int r = device ? INVALID_VALUE : primary_users ? OK : standin_object(CONTEXT, &primary);

	primary_users += r == OK;
	*context = primary;
	return r;
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
	if (device || !primary_users)
		return INVALID_VALUE;
	END(--primary_users ? OK : standin_give(CONTEXT, (uintptr_t)primary));
}

int cuCtxSetCurrent(void *context)
{
	ENTER();
	(void)context;
	return OK;
}

int cuCtxCreate_v2(void **context, unsigned flags, int device)
{
	ENTER();
	(void)flags;
	return device ? INVALID_VALUE : standin_object(CONTEXT, context);
}

int cuCtxDestroy_v2(void *context)
{
	END(standin_give(CONTEXT, (uintptr_t)context));
}

int cuMemAlloc_v2(unsigned long long *p, size_t bytes)
{
	ENTER();
	*p = total[DEVICE] + bytes > all_bytes ? 0 : address(bytes);
	return *p ? take(DEVICE, (uintptr_t)*p, bytes) : OUT_OF_MEMORY;
}

/* Its pages go back to the system: the addresses are not used again. */
static int free_device(uintptr_t p)
{
	for (size_t i = 0; i < LIVE; i++)
		if (live[i].p == p && live[i].kind == DEVICE)
			syscall(SYS_madvise, (p + 4095) & ~(uintptr_t)4095,
			        live[i].bytes & ~(size_t)4095, MADV_DONTNEED);
	return standin_give(DEVICE, p);
}

int cuMemFree_v2(unsigned long long p)
{
	END(free_device((uintptr_t)p));
}

int cuMemGetInfo_v2(size_t *left, size_t *all)
{
	ENTER();
	*all = all_bytes;
	*left = *all - total[DEVICE];
	return OK;
}

int cuMemAllocHost_v2(void **p, size_t bytes)
{
	ENTER();
	*p = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
	return *p ? take(PINNED, (uintptr_t)*p, bytes) : OUT_OF_MEMORY;
}

int cuMemFreeHost(void *p)
{
	int result = standin_give(PINNED, (uintptr_t)p);

	if (result == OK)
		free(p);
	END(result);
}

int cuStreamCreate(void **stream, unsigned flags)
{
	ENTER();
	(void)flags;
	return standin_object(OBJECT, stream);
}

int cuStreamDestroy_v2(void *stream)
{
	END(standin_give(OBJECT, (uintptr_t)stream));
}

int cuEventCreate(void **event, unsigned flags)
{
	ENTER();
	(void)flags;
	return standin_object(OBJECT, event);
}

int cuEventDestroy_v2(void *event)
{
	END(standin_give(OBJECT, (uintptr_t)event));
}

int cuMemPoolCreate(void **pool, const void *props)
{
	ENTER();
	return props ? standin_object(OBJECT, pool) : INVALID_VALUE;
}

int cuMemPoolDestroy(void *pool)
{
	END(standin_give(OBJECT, (uintptr_t)pool));
}

int cuMemAllocFromPoolAsync(unsigned long long *p, size_t bytes, void *pool, void *stream)
{
	ENTER();
	(void)stream;
	return pool ? cuMemAlloc_v2(p, bytes) : INVALID_VALUE;
}

int cuMemFreeAsync(unsigned long long p, void *stream)
{
	(void)stream;
	END(free_device((uintptr_t)p));
}

int cuStreamSynchronize(void *stream);
int cuGraphCreate(void **graph, unsigned flags);
int cuGraphDestroy(void *graph);
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
