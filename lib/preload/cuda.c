/*
 * CUDA through the driver's entry points.  Programs with a static CUDA runtime fetch them by
 * dlsym("cuGetProcAddress") and then by name, so both are stood in for: what they return is a
 * small function of ours (a slot) that calls the entry and records what it gave.
 *
 * All entries of interest take at most six whole numbers or pointers, so one kind of slot serves
 * them all, whatever version of an entry the program asked for.
 */
#include "preload.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

enum what {
	BORN,     /* *arg0 = address; bytes = arg1 */
	BORN_ROW, /* *arg0 = address; bytes = *arg1 * arg3 (pitch and height) */
	MADE,     /* *arg0 = handle of an object */
	DIED,     /* arg0 = address or handle */
	DIED_CONTEXT,
	LOOKUP, /* cuGetProcAddress itself */
};

static const struct entry {
	const char *name; /* without the suffix of its version */
	enum what what;
	enum ledger_kind kind;
} entry[] = {
    {"cuGetProcAddress", LOOKUP, LEDGER_OBJECT},
    {"cuMemAlloc", BORN, LEDGER_DEVICE},
    {"cuMemAllocManaged", BORN, LEDGER_DEVICE},
    {"cuMemAllocAsync", BORN, LEDGER_DEVICE},
    {"cuMemAllocFromPoolAsync", BORN, LEDGER_DEVICE},
    {"cuMemAllocPitch", BORN_ROW, LEDGER_DEVICE},
    {"cuMemCreate", BORN, LEDGER_DEVICE},
    {"cuMemFree", DIED, LEDGER_DEVICE},
    {"cuMemFreeAsync", DIED, LEDGER_DEVICE},
    {"cuMemRelease", DIED, LEDGER_DEVICE},
    {"cuMemAllocHost", BORN, LEDGER_PINNED},
    {"cuMemHostAlloc", BORN, LEDGER_PINNED},
    {"cuMemFreeHost", DIED, LEDGER_PINNED},
    {"cuStreamCreate", MADE, LEDGER_OBJECT},
    {"cuStreamCreateWithPriority", MADE, LEDGER_OBJECT},
    {"cuStreamDestroy", DIED, LEDGER_OBJECT},
    {"cuEventCreate", MADE, LEDGER_OBJECT},
    {"cuEventDestroy", DIED, LEDGER_OBJECT},
    {"cuGraphCreate", MADE, LEDGER_OBJECT},
    {"cuGraphDestroy", DIED, LEDGER_OBJECT},
    {"cuGraphInstantiate", MADE, LEDGER_OBJECT},
    {"cuGraphInstantiateWithFlags", MADE, LEDGER_OBJECT},
    {"cuGraphInstantiateWithParams", MADE, LEDGER_OBJECT},
    {"cuGraphExecDestroy", DIED, LEDGER_OBJECT},
    {"cuModuleLoad", MADE, LEDGER_OBJECT},
    {"cuModuleLoadData", MADE, LEDGER_OBJECT},
    {"cuModuleLoadDataEx", MADE, LEDGER_OBJECT},
    {"cuModuleUnload", DIED, LEDGER_OBJECT},
    {"cuLibraryLoadData", MADE, LEDGER_OBJECT},
    {"cuLibraryUnload", DIED, LEDGER_OBJECT},
    {"cuMemPoolCreate", MADE, LEDGER_OBJECT},
    {"cuMemPoolDestroy", DIED, LEDGER_OBJECT},
    {"cuCtxCreate", MADE, LEDGER_OBJECT},
    {"cuCtxDestroy", DIED_CONTEXT, LEDGER_OBJECT},
};
#define ENTRIES (sizeof entry / sizeof *entry)

typedef int (*driver_fn)(long, long, long, long, long, long);

#define SLOTS 64
static struct slot {
	driver_fn real;
	const struct entry *entry;
} slot[SLOTS];
static unsigned slots;

/* Which context a block belongs to: destroying the context ends it. */
#define OWNED (1u << 16)
static struct owned {
	uint64_t key; /* 0: never used; 1: was used */
	void *context;
} * owned;
static int (*context_current)(void **context);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Handles and device addresses may equal addresses of host blocks: they get keys above all of
 * user space. */
static uintptr_t key_of(long value, enum ledger_kind kind)
{
	uint64_t h = ((uint64_t)value + ((uint64_t)kind << 56)) * 0x9e3779b97f4a7c15u;

	return (1ull << 47) | (h >> 21 << 4 & ((1ull << 47) - 1));
}

static struct owned *owned_place(uint64_t key, int free_too)
{
	uint32_t i = (uint32_t)(key >> 8) & (OWNED - 1);

	for (unsigned n = 0; n < OWNED; n++, i = (i + 1) & (OWNED - 1)) {
		if (owned[i].key == key || (free_too && owned[i].key < 2))
			return &owned[i];
		if (!owned[i].key)
			return NULL;
	}
	return NULL;
}

static void own(uint64_t key)
{
	void *context = NULL;

	if (!context_current || context_current(&context) || !context)
		return;
	pthread_mutex_lock(&lock);
	if (!owned) {
		void *p = mmap(NULL, OWNED * sizeof *owned, PROT_READ | PROT_WRITE,
		               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		owned = p == MAP_FAILED ? NULL : p;
	}
	struct owned *o = owned ? owned_place(key, 1) : NULL;
	if (o)
		*o = (struct owned){key, context};
	pthread_mutex_unlock(&lock);
}

static void disown(uint64_t key)
{
	pthread_mutex_lock(&lock);
	struct owned *o = owned ? owned_place(key, 0) : NULL;
	if (o)
		o->key = 1;
	pthread_mutex_unlock(&lock);
}

static void context_died(void *context)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; owned && i < OWNED; i++)
		if (owned[i].key > 1 && owned[i].context == context) {
			record_death((void *)owned[i].key);
			owned[i].key = 1;
		}
	pthread_mutex_unlock(&lock);
}

static void born(long value, size_t bytes, enum ledger_kind kind, struct place at)
{
	uintptr_t key = key_of(value, kind);

	record_birth((void *)key, bytes, kind, at);
	own(key);
}

static void died(long value, enum ledger_kind kind)
{
	uintptr_t key = key_of(value, kind);

	record_death((void *)key);
	disown(key);
}

static void *stand_in(const char *name, void *real);

static int call(struct slot *s, const long a[6], struct place at)
{
	const struct entry *e = s->entry;

	/* Before: the driver may give the value to another thread at once. */
	if (e->what == DIED || e->what == DIED_CONTEXT)
		died(a[0], e->kind);
	int r = s->real(a[0], a[1], a[2], a[3], a[4], a[5]);
	if (r)
		return r;
	if (e->what == BORN)
		born(*(long *)a[0], (size_t)a[1], e->kind, at);
	else if (e->what == BORN_ROW)
		born(*(long *)a[0], *(size_t *)a[1] * (size_t)a[3], e->kind, at);
	else if (e->what == MADE)
		born(*(long *)a[0], 1, e->kind, at);
	else if (e->what == DIED_CONTEXT)
		context_died((void *)a[0]);
	else if (e->what == LOOKUP && a[1] && *(void **)a[1])
		*(void **)a[1] = stand_in((const char *)a[0], *(void **)a[1]);
	return 0;
}

#define SLOT(n)                                                                                    \
	static int slot_##n(long a, long b, long c, long d, long e, long f)                        \
	{                                                                                          \
		return call(&slot[n], (const long[]){a, b, c, d, e, f}, HERE);                     \
	}
#define EIGHT(m, n) m(n##0) m(n##1) m(n##2) m(n##3) m(n##4) m(n##5) m(n##6) m(n##7)
#define ALL(m)                                                                                     \
	EIGHT(m, 00)                                                                               \
	EIGHT(m, 01) EIGHT(m, 02) EIGHT(m, 03) EIGHT(m, 04) EIGHT(m, 05) EIGHT(m, 06) EIGHT(m, 07)
ALL(SLOT)
#define NAME(n) slot_##n,
static const driver_fn slot_fn[SLOTS] = {ALL(NAME)};

static const struct entry *find_entry(const char *name)
{
	for (size_t i = 0; i < ENTRIES; i++) {
		size_t n = strlen(entry[i].name);
		const char *rest = name + n;
		if (!strncmp(name, entry[i].name, n) &&
		    (!*rest || (rest[0] == '_' && (rest[1] == 'v' || rest[1] == 'p'))))
			return &entry[i];
	}
	return NULL;
}

/* The slot for an entry of this name that is really at real; real itself when the name is of no
 * interest or the slots are used up. */
static void *stand_in(const char *name, void *real)
{
	if (!strcmp(name, "cuCtxGetCurrent"))
		*(void **)&context_current = real;
	const struct entry *e = find_entry(name);
	if (!e)
		return real;
	void *found = real;
	pthread_mutex_lock(&lock);
	unsigned i = 0;
	while (i < slots && (void *)(uintptr_t)slot[i].real != real)
		i++;
	if (i < SLOTS) {
		if (i == slots) {
			slot[i] = (struct slot){(driver_fn)(uintptr_t)real, e};
			slots++;
		}
		found = (void *)(uintptr_t)slot_fn[i];
	}
	pthread_mutex_unlock(&lock);
	return found;
}

__attribute__((visibility("hidden"))) void *dlsym_next; /* for dlsym_*.S */

/* Below every function of ours that stands in for another. */
void *real_find(const char *name)
{
	/* The symbol's version differs by architecture and age of the C library. */
	static const char *const version[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"};

	for (size_t i = 0; i < sizeof version / sizeof *version && !dlsym_next; i++)
		dlsym_next = dlvsym(RTLD_NEXT, "dlsym", version[i]);
	return ((void *(*)(void *, const char *))(uintptr_t)dlsym_next)(RTLD_NEXT, name);
}

/* The dynamic loader looks at who called dlsym, so ours ends by jumping to it with everything as
 * it was; only names of the driver are answered here. */
void *ledger_dlsym(void *handle, const char *name);
__attribute__((visibility("hidden"))) void *ledger_dlsym(void *handle, const char *name)
{
	if (!dlsym_next)
		real_find("dlsym");
	if (LIKELY(name[0] != 'c' || name[1] != 'u') || !ledger->ready || handle == RTLD_NEXT ||
	    !(find_entry(name) || !strcmp(name, "cuCtxGetCurrent")))
		return NULL;
	void *(*next)(void *, const char *) =
	    (void *(*)(void *, const char *))(uintptr_t)dlsym_next;
	void *real = next(handle, name);
	if (!context_current && real)
		*(void **)&context_current = next(handle, "cuCtxGetCurrent");
	return real ? stand_in(name, real) : NULL;
}
