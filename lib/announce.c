#include "announce.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

#include "ledger_abi.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND                      0
#define VALGRIND_CREATE_MEMPOOL(pool, zone, set) ((void)(pool))
#define VALGRIND_DESTROY_MEMPOOL(pool)           ((void)(pool))
#define VALGRIND_MEMPOOL_ALLOC(pool, p, n)       ((void)(pool))
#define VALGRIND_MEMPOOL_FREE(pool, p)           ((void)(pool))
#define VALGRIND_MAKE_MEM_NOACCESS(p, n)         ((void)(p))
#define VALGRIND_MAKE_MEM_UNDEFINED(p, n)        ((void)(p))
#define VALGRIND_MAKE_MEM_DEFINED(p, n)          ((void)(p))
#endif

#ifdef ANNOUNCE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#else
int announce_on;
#define ASAN_POISON_MEMORY_REGION(p, n)     ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)   ((void)(p))
#define __lsan_register_root_region(p, n)   ((void)(p))
#define __lsan_unregister_root_region(p, n) ((void)(p), (void)(n))
#endif

static void (*heaptrack_taken)(void *p, size_t n);
static void (*heaptrack_given)(void *p);
static const struct ledger_api *ledger; /* of bitnet-leakcheck */

/* valgrind's search for leaks passes over pools when no block of malloc is left. */
static void *volatile left_for_valgrind;

/* Before the first pool begins. */
__attribute__((constructor(101))) static void look(void)
{
	if (RUNNING_ON_VALGRIND)
		left_for_valgrind = malloc(1);
	*(void **)&heaptrack_taken = dlsym(RTLD_DEFAULT, "heaptrack_malloc");
	*(void **)&heaptrack_given = dlsym(RTLD_DEFAULT, "heaptrack_free");
	if (!heaptrack_given)
		heaptrack_taken = NULL;
	ledger = ledger_api_find();
#ifndef ANNOUNCE_ASAN
	announce_on = ledger || heaptrack_taken || RUNNING_ON_VALGRIND;
#endif
}

void announce_closed(void *p, size_t n)
{
	if (!announce_on)
		return;
	ASAN_POISON_MEMORY_REGION(p, n);
	VALGRIND_MAKE_MEM_NOACCESS(p, n);
}

void announce_open(void *p, size_t n, bool defined)
{
	if (!announce_on)
		return;
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	if (defined)
		VALGRIND_MAKE_MEM_DEFINED(p, n);
	else
		VALGRIND_MAKE_MEM_UNDEFINED(p, n);
}

void announce_mapped(void *p, size_t own, size_t n)
{
	if (!announce_on)
		return;
	__lsan_register_root_region((char *)p + own, n - own);
	announce_closed((char *)p + own, n - own);
	if (ledger)
		ledger->backing(p);
}

void announce_unmapped(void *p, size_t own, size_t n)
{
	if (!announce_on)
		return;
	announce_open((char *)p + own, n - own, true);
	__lsan_unregister_root_region((char *)p + own, n - own);
}

void announce_own(void *p, size_t n)
{
	if (!announce_on)
		return;
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	VALGRIND_MAKE_MEM_DEFINED(p, n);
}

void announce_taken(const void *pool, void *p, size_t n, bool zero)
{
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	VALGRIND_MEMPOOL_ALLOC(pool, p, n);
	if (zero)
		VALGRIND_MAKE_MEM_DEFINED(p, n);
	if (heaptrack_taken)
		heaptrack_taken(p, n);
	if (ledger)
		ledger->born(p, n, LEDGER_POOL);
}

void announce_given(const void *pool, void *p, size_t n)
{
	ASAN_POISON_MEMORY_REGION(p, n);
	VALGRIND_MEMPOOL_FREE(pool, p);
	if (heaptrack_given)
		heaptrack_given(p);
	if (ledger)
		ledger->died(p);
}

void announce_began(const void *pool)
{
	if (announce_on)
		VALGRIND_CREATE_MEMPOOL(pool, 0, 0);
}

void announce_ended(const void *pool)
{
	if (announce_on)
		VALGRIND_DESTROY_MEMPOOL(pool);
}
