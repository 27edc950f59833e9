#include "device.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "pool.h"

#define ALIGN 256

/* Of the CUDA driver's interface, what is used here. */
typedef unsigned long long cu_address;
static struct {
	int (*Init)(unsigned flags);
	int (*DeviceGetCount)(int *n);
	int (*DeviceGet)(int *device, int i);
	int (*DeviceGetName)(char *name, int cap, int device);
	int (*DeviceTotalMem)(size_t *bytes, int device);
	int (*DeviceGetAttribute)(int *value, int attribute, int device);
	int (*PrimaryCtxRetain)(void **context, int device);
	int (*PrimaryCtxRelease)(int device);
	int (*CtxSetCurrent)(void *context);
	int (*MemGetInfo)(size_t *free, size_t *all);
	int (*MemAlloc)(cu_address *p, size_t bytes);
	int (*MemFree)(cu_address p);
	int (*MemAllocHost)(void **p, size_t bytes);
	int (*MemFreeHost)(void *p);
	int (*MemcpyHtoD)(cu_address to, const void *from, size_t bytes);
	int (*MemcpyDtoH)(void *to, cu_address from, size_t bytes);
	int devices; /* 0: no driver, or none that works */
} cu;

/* Numbers of CUdevice_attribute. */
enum { MULTIPROCESSORS = 16, COMPUTE_MAJOR = 75, COMPUTE_MINOR = 76 };

static void load(void)
{
	static const struct {
		const char *name;
		void *to;
	} entry[] = {
	    {"cuInit", &cu.Init},
	    {"cuDeviceGetCount", &cu.DeviceGetCount},
	    {"cuDeviceGet", &cu.DeviceGet},
	    {"cuDeviceGetName", &cu.DeviceGetName},
	    {"cuDeviceTotalMem_v2", &cu.DeviceTotalMem},
	    {"cuDeviceGetAttribute", &cu.DeviceGetAttribute},
	    {"cuDevicePrimaryCtxRetain", &cu.PrimaryCtxRetain},
	    {"cuDevicePrimaryCtxRelease_v2", &cu.PrimaryCtxRelease},
	    {"cuCtxSetCurrent", &cu.CtxSetCurrent},
	    {"cuMemGetInfo_v2", &cu.MemGetInfo},
	    {"cuMemAlloc_v2", &cu.MemAlloc},
	    {"cuMemFree_v2", &cu.MemFree},
	    {"cuMemAllocHost_v2", &cu.MemAllocHost},
	    {"cuMemFreeHost", &cu.MemFreeHost},
	    {"cuMemcpyHtoD_v2", &cu.MemcpyHtoD},
	    {"cuMemcpyDtoH_v2", &cu.MemcpyDtoH},
	};
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return;
	for (size_t i = 0; i < sizeof entry / sizeof *entry; i++) {
		void *p = dlsym(lib, entry[i].name);

		if (!p)
			return;
		memcpy(entry[i].to, &p, sizeof p);
	}
	if (cu.Init(0) || cu.DeviceGetCount(&cu.devices))
		cu.devices = 0;
}

static int cuda_devices(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return cu.devices;
}

/* ---- what there is ---- */

static void host_info(struct device_info *d, enum device_kind kind)
{
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "r");
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	*d = (struct device_info){.kind = kind, .units = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
	snprintf(d->name, sizeof d->name, "%s", kind == DEVICE_HOST ? "host" : "pinned");
	snprintf(d->model, sizeof d->model, "processor");
	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		colon[strcspn(colon, "\n")] = 0;
		snprintf(d->model, sizeof d->model, "%.95s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
	d->bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * page;
	d->free = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * page;
}

static void cuda_info(struct device_info *d, int i)
{
	int device, units = 0;
	size_t bytes = 0, free_bytes = 0, all;
	void *context;

	*d = (struct device_info){.kind = DEVICE_CUDA};
	snprintf(d->name, sizeof d->name, "cuda:%d", i);
	if (cu.DeviceGet(&device, i))
		return;
	cu.DeviceGetName(d->model, sizeof d->model, device);
	cu.DeviceTotalMem(&bytes, device);
	cu.DeviceGetAttribute(&units, MULTIPROCESSORS, device);
	cu.DeviceGetAttribute(&d->major, COMPUTE_MAJOR, device);
	cu.DeviceGetAttribute(&d->minor, COMPUTE_MINOR, device);
	if (cu.PrimaryCtxRetain(&context, device) == 0) {
		if (cu.CtxSetCurrent(context) == 0)
			cu.MemGetInfo(&free_bytes, &all);
		cu.PrimaryCtxRelease(device);
	}
	d->bytes = bytes;
	d->free = free_bytes;
	d->units = (unsigned)units;
}

size_t device_list(struct device_info *list, size_t max)
{
	int cuda = cuda_devices();
	size_t n = 0;

	if (n < max)
		host_info(&list[n], DEVICE_HOST);
	n++;
	if (!cuda)
		return n;
	if (n < max)
		host_info(&list[n], DEVICE_PINNED);
	n++;
	for (int i = 0; i < cuda; i++, n++)
		if (n < max)
			cuda_info(&list[n], i);
	return n;
}

void device_print(FILE *out)
{
	struct device_info d[32];
	size_t n = device_list(d, 32);

	fprintf(out, "%-8s %10s %10s %6s %8s  %s\n", "name", "MiB", "free", "units", "compute",
	        "model");
	for (size_t i = 0; i < n && i < 32; i++) {
		char compute[16] = "-";

		if (d[i].major)
			snprintf(compute, sizeof compute, "%d.%d", d[i].major, d[i].minor);
		fprintf(out, "%-8s %10llu %10llu %6u %8s  %s\n", d[i].name,
		        (unsigned long long)(d[i].bytes >> 20),
		        (unsigned long long)(d[i].free >> 20), d[i].units, compute, d[i].model);
	}
}

/* ---- a device that is used ---- */

/* A block of a device; those of the host are the pool's. */
struct piece {
	void *p;
	size_t bytes; /* taken from the system */
	size_t asked; /* 0: kept for later */
};

struct device {
	struct device_info info;
	struct pool *pool; /* of the host */
	int number;        /* of CUDA */
	void *context;
	struct piece *piece;
	size_t count, room;
	struct device_stats stats;
	pthread_mutex_t lock;
};

static int find(const char *name, struct device_info *d, struct err *e)
{
	struct device_info all[32];
	size_t n = device_list(all, 32);

	for (size_t i = 0; i < n && i < 32; i++)
		if (strcmp(all[i].name, name) == 0) {
			*d = all[i];
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "%s: no such device%s", name,
	               cuda_devices() ? "" : "; no CUDA driver is found here");
}

/* Pinned memory belongs to the first device's context. */
static int open_cuda(struct device *d, struct err *e)
{
	int i = 0;

	if (d->info.kind == DEVICE_CUDA)
		sscanf(d->info.name, "cuda:%d", &i);
	if (cu.DeviceGet(&d->number, i) || cu.PrimaryCtxRetain(&d->context, d->number))
		return err_set(e, ERR_TROUBLE, "%s: the driver gives no context", d->info.name);
	return 0;
}

int device_open(struct device **out, const char *name, struct err *e)
{
	struct device *d = mem_calloc(MEM_OTHER, 1, sizeof *d, e);

	if (!d)
		return -1;
	pthread_mutex_init(&d->lock, NULL);
	int rc = find(name, &d->info, e);
	if (!rc && d->info.kind == DEVICE_HOST)
		rc = pool_init(&d->pool, &(struct pool_options){.name = "host", .keep = POOL_KEEP},
		               e);
	else if (!rc)
		rc = open_cuda(d, e);
	if (rc) {
		pthread_mutex_destroy(&d->lock);
		mem_free(d);
		return -1;
	}
	*out = d;
	return 0;
}

const struct device_info *device_info(const struct device *d)
{
	return &d->info;
}

/* The driver's context belongs to a thread. */
static bool enter(const struct device *d)
{
	return cu.CtxSetCurrent(d->context) == 0;
}

static void *system_take(struct device *d, size_t bytes)
{
	cu_address a = 0;
	void *p = NULL;

	if (!enter(d))
		return NULL;
	if (d->info.kind == DEVICE_PINNED)
		return cu.MemAllocHost(&p, bytes) ? NULL : p;
	return cu.MemAlloc(&a, bytes) ? NULL : (void *)(uintptr_t)a;
}

static void system_give(struct device *d, void *p)
{
	if (!enter(d))
		return;
	if (d->info.kind == DEVICE_PINNED)
		cu.MemFreeHost(p);
	else
		cu.MemFree((uintptr_t)p);
}

/* Returns what is kept; the lock is held. */
static size_t trim(struct device *d)
{
	size_t bytes = 0, n = 0;

	for (size_t i = 0; i < d->count; i++) {
		if (d->piece[i].asked) {
			d->piece[n++] = d->piece[i];
			continue;
		}
		system_give(d, d->piece[i].p);
		bytes += d->piece[i].bytes;
	}
	d->count = n;
	d->stats.reserved -= bytes;
	return bytes;
}

/* The smallest kept piece that serves bytes without wasting a quarter. */
static struct piece *kept(struct device *d, size_t bytes)
{
	struct piece *best = NULL;

	for (struct piece *k = d->piece; k < d->piece + d->count; k++)
		if (!k->asked && k->bytes >= bytes && k->bytes - bytes <= k->bytes / 4 &&
		    (!best || k->bytes < best->bytes))
			best = k;
	return best;
}

static struct piece *piece_new(struct device *d, size_t bytes, struct err *e)
{
	if (d->count == d->room) {
		size_t room = d->room ? d->room * 2 : 64;
		struct piece *n = mem_realloc(MEM_OTHER, d->piece, room, sizeof *n, e);

		if (!n)
			return NULL;
		d->piece = n;
		d->room = room;
	}
	void *p = system_take(d, bytes);
	if (!p && trim(d))
		p = system_take(d, bytes);
	if (!p) {
		err_set(e, ERR_TROUBLE, "%s: no memory for %zu bytes, %llu in use", d->info.name,
		        bytes, (unsigned long long)d->stats.used);
		return NULL;
	}
	d->stats.reserved += bytes;
	d->piece[d->count] = (struct piece){p, bytes, 0};
	return &d->piece[d->count++];
}

void *device_take(struct device *d, size_t bytes, struct err *e)
{
	if (d->pool)
		return pool_take_as(d->pool, bytes, ALIGN, false, e);
	if (bytes > PTRDIFF_MAX) {
		err_set(e, ERR_TROUBLE, "%s: no memory for %zu bytes", d->info.name, bytes);
		return NULL;
	}
	size_t need = bytes ? (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
	pthread_mutex_lock(&d->lock);
	struct piece *k = mem_fails() ? NULL : kept(d, need);
	if (!k)
		k = piece_new(d, need, e);
	if (k) {
		k->asked = need;
		d->stats.used += need;
		d->stats.blocks++;
		if (d->stats.used > d->stats.peak)
			d->stats.peak = d->stats.used;
	}
	pthread_mutex_unlock(&d->lock);
	return k ? k->p : NULL;
}

void device_give(struct device *d, void *p)
{
	if (d->pool || !p) {
		pool_give(p);
		return;
	}
	pthread_mutex_lock(&d->lock);
	for (struct piece *k = d->piece; k < d->piece + d->count; k++)
		if (k->p == p && k->asked) {
			d->stats.used -= k->asked;
			d->stats.blocks--;
			k->asked = 0;
		}
	pthread_mutex_unlock(&d->lock);
}

int device_write(struct device *d, void *to, const void *from, size_t bytes, struct err *e)
{
	if (d->info.kind != DEVICE_CUDA)
		memcpy(to, from, bytes);
	else if (!enter(d) || cu.MemcpyHtoD((uintptr_t)to, from, bytes))
		return err_set(e, ERR_TROUBLE, "%s: copying %zu bytes to it failed", d->info.name,
		               bytes);
	return 0;
}

int device_read(struct device *d, void *to, const void *from, size_t bytes, struct err *e)
{
	if (d->info.kind != DEVICE_CUDA)
		memcpy(to, from, bytes);
	else if (!enter(d) || cu.MemcpyDtoH(to, (uintptr_t)from, bytes))
		return err_set(e, ERR_TROUBLE, "%s: copying %zu bytes from it failed", d->info.name,
		               bytes);
	return 0;
}

size_t device_trim(struct device *d)
{
	if (d->pool)
		return pool_trim(d->pool);
	pthread_mutex_lock(&d->lock);
	size_t bytes = trim(d);
	pthread_mutex_unlock(&d->lock);
	return bytes;
}

void device_stats(const struct device *d, struct device_stats *s)
{
	struct pool_stats p;

	*s = d->stats;
	if (!d->pool)
		return;
	pool_stats(d->pool, &p);
	*s = (struct device_stats){p.asked, p.used + p.kept, p.peak, p.blocks};
}

void device_close(struct device *d)
{
	if (!d)
		return;
	pool_fini(d->pool);
	for (size_t i = 0; i < d->count; i++)
		system_give(d, d->piece[i].p);
	if (d->context)
		cu.PrimaryCtxRelease(d->number);
	pthread_mutex_destroy(&d->lock);
	mem_free(d->piece);
	mem_free(d);
}
