#include "device.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda_driver.h"
#include "mem.h"
#include "pool.h"
#include "track.h"

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

/* Free bytes of the device whose context this is. */
static int free_memory(void *context, uint64_t *bytes, struct err *e)
{
	size_t left, all;

	if (CUDA_CALL(e, CtxSetCurrent, context) || CUDA_CALL(e, MemGetInfo, &left, &all))
		return -1;
	*bytes = left;
	return 0;
}

/* What the i-th device is, without a context of it: free is not known yet. */
static int cuda_info(struct device_info *d, int i, int *number, struct err *e)
{
	int units;
	size_t bytes;

	*d = (struct device_info){.kind = DEVICE_CUDA};
	snprintf(d->name, sizeof d->name, "cuda:%d", i);
	if (CUDA_CALL(e, DeviceGet, number, i) ||
	    CUDA_CALL(e, DeviceGetName, d->model, sizeof d->model, *number) ||
	    CUDA_CALL(e, DeviceTotalMem, &bytes, *number) ||
	    CUDA_CALL(e, DeviceGetAttribute, &units, CUDA_MULTIPROCESSORS, *number) ||
	    CUDA_CALL(e, DeviceGetAttribute, &d->major, CUDA_COMPUTE_MAJOR, *number) ||
	    CUDA_CALL(e, DeviceGetAttribute, &d->minor, CUDA_COMPUTE_MINOR, *number))
		return -1;
	d->bytes = bytes;
	d->units = (unsigned)units;
	return 0;
}

/* A device for the list; one that does not answer says so where its model would stand. */
static void list_cuda(struct device_info *d, int i)
{
	struct err e = {0};
	void *context;
	int number;

	if (cuda_info(d, i, &number, &e) || CUDA_CALL(&e, PrimaryCtxRetain, &context, number)) {
		snprintf(d->model, sizeof d->model, "%.95s", e.text);
		return;
	}
	if (free_memory(context, &d->free, &e) | CUDA_CALL(&e, PrimaryCtxRelease, number))
		snprintf(d->model, sizeof d->model, "%.95s", e.text);
}

size_t device_list(struct device_info *list, size_t max)
{
	int cuda = cuda_driver_devices();
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
			list_cuda(&list[n], i);
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

static int no_such(const char *name, struct err *e)
{
	struct err why = {0};

	cuda_driver(&why);
	return err_set(e, ERR_TROUBLE, "%s: no such device%s%s", name, why.status ? "; " : "",
	               why.text);
}

/* The number behind "cuda:" or "pinned:"; -1 when it is not the name of a device. */
static long device_number(const char *name, int pinned)
{
	const char *number = name + (pinned ? 7 : 5);
	char *end;

	if (pinned && !name[6])
		return 0;
	if (strncmp(name, pinned ? "pinned:" : "cuda:", pinned ? 7 : 5) != 0 || !*number)
		return -1;
	long i = strtol(number, &end, 10);
	return *end ? -1 : i;
}

/* Pinned memory belongs to a device's context. */
static int open_cuda(struct device *d, const char *name, struct err *e)
{
	int pinned = !strncmp(name, "pinned", 6);
	long i = device_number(name, pinned);

	if (i < 0 || i >= cuda_driver_devices())
		return no_such(name, e);
	if (cuda_info(&d->info, (int)i, &d->number, e) ||
	    CUDA_CALL(e, PrimaryCtxRetain, &d->context, d->number))
		return err_in(e, "%s", name);
	if (pinned) {
		host_info(&d->info, DEVICE_PINNED);
		snprintf(d->info.name, sizeof d->info.name, "%.15s", name);
	} else if (free_memory(d->context, &d->info.free, e)) {
		return err_in(e, "%s", name);
	}
	return 0;
}

int device_open(struct device **out, const char *name, struct err *e)
{
	struct device *d = mem_calloc(MEM_OTHER, 1, sizeof *d, e);

	if (!d)
		return -1;
	pthread_mutex_init(&d->lock, NULL);
	if (!strcmp(name, "host"))
		host_info(&d->info, DEVICE_HOST);
	int rc =
	    strcmp(name, "host")
		? open_cuda(d, name, e)
		: pool_init(&d->pool, &(struct pool_options){.name = "host", .keep = POOL_KEEP}, e);
	if (rc) {
		device_close(d, NULL);
		return -1;
	}
	*out = d;
	return 0;
}

const struct device_info *device_info(const struct device *d)
{
	return &d->info;
}

int device_enter(const struct device *d, struct err *e)
{
	if (d->context && CUDA_CALL(e, CtxSetCurrent, d->context))
		return err_in(e, "%s", d->info.name);
	return 0;
}

int device_free(const struct device *d, uint64_t *bytes, struct err *e)
{
	struct device_info host;

	if (d->info.kind == DEVICE_CUDA)
		return free_memory(d->context, bytes, e) ? err_in(e, "%s", d->info.name) : 0;
	host_info(&host, DEVICE_HOST);
	*bytes = host.free;
	return 0;
}

static int system_take(struct device *d, size_t bytes, void **p, struct err *e)
{
	cuda_address a = 0;

	if (CUDA_CALL(e, CtxSetCurrent, d->context))
		return -1;
	if (d->info.kind == DEVICE_PINNED)
		return CUDA_CALL(e, MemAllocHost, p, bytes);
	if (CUDA_CALL(e, MemAlloc, &a, bytes))
		return -1;
	*p = (void *)(uintptr_t)a;
	return 0;
}

static int system_give(struct device *d, void *p, struct err *e)
{
	/* Also when the context cannot be entered: it may be the one at hand. */
	int failed = CUDA_CALL(e, CtxSetCurrent, d->context);

	if (failed)
		e = NULL;
	failed |= d->info.kind == DEVICE_PINNED ? CUDA_CALL(e, MemFreeHost, p)
	                                        : CUDA_CALL(e, MemFree, (uintptr_t)p);
	return failed ? -1 : 0;
}

/* Returns what is kept; the lock is held.  What the driver does not take back is lost with the
 * context. */
static size_t trim(struct device *d)
{
	size_t bytes = 0, n = 0;

	for (size_t i = 0; i < d->count; i++) {
		if (d->piece[i].asked) {
			d->piece[n++] = d->piece[i];
			continue;
		}
		if (system_give(d, d->piece[i].p, NULL) == 0)
			bytes += d->piece[i].bytes;
		d->stats.reserved -= d->piece[i].bytes;
	}
	d->count = n;
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
	struct err why = {0};
	void *p = NULL;
	if (system_take(d, bytes, &p, &why) && (!trim(d) || system_take(d, bytes, &p, &why))) {
		err_set(e, ERR_TROUBLE, "%s: no memory for %zu bytes, %llu in use (%.200s)",
		        d->info.name, bytes, (unsigned long long)d->stats.used, why.text);
		return NULL;
	}
	d->stats.reserved += bytes;
	d->piece[d->count] = (struct piece){p, bytes, 0};
	return &d->piece[d->count++];
}

/* Its place in device_list: what a timeline calls it. */
static unsigned place(const struct device *d)
{
	return d->info.kind == DEVICE_CUDA ? 2 + (unsigned)d->number : (unsigned)d->info.kind;
}

static void *take(struct device *d, size_t bytes, struct err *e)
{
	if (d->pool)
		return pool_take_as(d->pool, bytes, DEVICE_ALIGN, false, e);
	if (bytes > PTRDIFF_MAX) {
		err_set(e, ERR_TROUBLE, "%s: no memory for %zu bytes", d->info.name, bytes);
		return NULL;
	}
	size_t need =
	    bytes ? (bytes + DEVICE_ALIGN - 1) & ~(size_t)(DEVICE_ALIGN - 1) : DEVICE_ALIGN;
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

void *device_take(struct device *d, size_t bytes, struct err *e)
{
	void *p = take(d, bytes, e);

	if (p)
		track_outside(place(d), p, bytes ? bytes : 1, __builtin_frame_address(0));
	return p;
}

void device_give(struct device *d, void *p)
{
	if (p)
		track_outside(place(d), p, 0, __builtin_frame_address(0));
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
	else if (CUDA_CALL(e, CtxSetCurrent, d->context) ||
	         CUDA_CALL(e, MemcpyHtoD, (uintptr_t)to, from, bytes))
		return err_in(e, "%s: copying %zu bytes to it", d->info.name, bytes);
	return 0;
}

int device_read(struct device *d, void *to, const void *from, size_t bytes, struct err *e)
{
	if (d->info.kind != DEVICE_CUDA)
		memcpy(to, from, bytes);
	else if (CUDA_CALL(e, CtxSetCurrent, d->context) ||
	         CUDA_CALL(e, MemcpyDtoH, to, (uintptr_t)from, bytes))
		return err_in(e, "%s: copying %zu bytes from it", d->info.name, bytes);
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

int device_close(struct device *d, struct err *e)
{
	struct err first = {0};

	if (!d)
		return 0;
	pool_fini(d->pool);
	for (size_t i = 0; i < d->count; i++)
		system_give(d, d->piece[i].p, first.status ? NULL : &first);
	if (d->context)
		CUDA_CALL(first.status ? NULL : &first, PrimaryCtxRelease, d->number);
	if (first.status)
		err_set(e, first.status, "%s: %.400s", d->info.name, first.text);
	pthread_mutex_destroy(&d->lock);
	mem_free(d->piece);
	mem_free(d);
	return first.status ? -1 : 0;
}
