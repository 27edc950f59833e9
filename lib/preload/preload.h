/*
 * Inside of libbitnet-ledger.so, which bitnet-leakcheck preloads into the command that it watches.
 * It records who holds what in shared memory (../ledger_abi.h) and must never be noticed: no
 * allocation of its own after start, no lock held over foreign code, errno kept, and every
 * function does what the one behind it does.
 *
 *	heap.c map.c fd.c thread.c cuda.c    the functions that are stood in for
 *	record.c  block.c  stack.c           births and deaths, live blocks, call stacks
 *	state.c  step.c  reach.c  deepbind.c the slot of this process, steps and requests, snapshots
 */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <stdint.h>
#include <sys/types.h>

#include "ledger_abi.h"

#define EXPORT    __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define RARELY    __attribute__((noinline, cold))

/* What this process records into.  Lies in memory that fork() gives to the child as zeros, so
 * that a child never writes into its parent's tables. */
struct state {
	uint32_t ready;   /* the pointers below are valid */
	uint32_t refused; /* there is no slot for this process: nothing is recorded */
	uint32_t threads; /* there was a second thread: tables need atomic operations */
	uint32_t events;  /* of a child that has no slot yet */
	int32_t pid;
	uint32_t level;
	uint64_t period;
	struct ledger_process *process;
	struct ledger_module *modules;
	struct ledger_site *sites;
	uint32_t *index;
	struct ledger_count *counts;
	struct ledger_cached *caches;
	struct ledger_map *maps;
	struct ledger_fd *fds;
	struct ledger_block *blocks;
	uint8_t *spilled, *used;
	uint64_t buckets; /* a power of two */
};
extern struct state *ledger;
extern struct ledger_control *control; /* NULL: not watched */

/* What one thread needs; zero until its first event. */
struct thread {
	int32_t pid;  /* whose slot stripe and cache belong to; 0: none yet */
	uint8_t turn; /* which cached stack is replaced next */
	uint8_t busy; /* inside the ledger: events are passed through */
	uint8_t ended;
	uint8_t shared;          /* counts is used by other threads too */
	int8_t stripe, cache_id; /* -1: none */
	struct ledger_count *counts;
	struct ledger_cached *cache; /* NULL: stacks are not cached */
	uintptr_t lo, hi;            /* its stack */
	int64_t until;               /* bytes to the next sample */
};
extern __thread struct thread self __attribute__((tls_model("initial-exec")));

/* Where an event happens: the return address of the function stood in for, and its frame. */
struct place {
	uintptr_t pc, frame;
};
#define HERE                                                                                       \
	((struct place){(uintptr_t)__builtin_return_address(0),                                    \
	                (uintptr_t)__builtin_frame_address(0)})

/* state.c */
int state_enter(
    int patient); /* 1: record, and self.busy is set; patient: a child need not claim yet */
static inline void state_leave(void)
{
	self.busy = 0;
}
void state_thread_begin(size_t stack); /* bytes of the calling thread's stack */
void state_thread_end(void);
int state_foreign(void); /* running in the memory of another process (vfork) */
void *real_find(const char *name);

/* The function behind ours, looked up once. */
#define REAL(name)                                                                                 \
	({                                                                                         \
		static __typeof__(&name) real_;                                                    \
		if (!real_)                                                                        \
			real_ = (__typeof__(&name))real_find(#name);                               \
		real_;                                                                             \
	})

/* stack.c: the site of a place; 0 when the table is full. */
uint32_t stack_site(enum ledger_kind kind, struct place at);
uint32_t stack_store(enum ledger_kind kind, const uint64_t *pc, uint32_t n);

/* block.c: live blocks by address. */
int block_put(uintptr_t p, uint64_t key_step, uint64_t value); /* 0: no room */
int block_take(uintptr_t p, struct ledger_block *was);         /* 0: not there */
int block_flag(uintptr_t p, uint64_t flag, uint64_t *before);  /* 0: not there */

/* record.c */
void record_birth(const void *p, size_t bytes, enum ledger_kind kind, struct place at);
void record_death(const void *p);
int record_take(const void *p, struct ledger_block *was); /* ends p, which may come back ... */
void record_back(const void *p, const struct ledger_block *was); /* ... as it was */
void record_backing(const void *p);
void record_thread(uintptr_t id, size_t stack, int detached, struct place at);
void record_thread_flag(uintptr_t id, uint64_t flag);
void count_birth(uint32_t site, uint64_t births, uint64_t bytes); /* inside state_enter */
void count_death(uint32_t site, uint64_t deaths, uint64_t bytes);

/* map.c: for the API and the snapshot. */
void map_backing(const void *p);

/* step.c */
void request_run(void); /* acts on the tool's request; outside of state_enter */
extern const struct ledger_api bitnet_ledger_api;

/* deepbind.c: looks at libraries that were loaded since the last time. */
void deepbind_look(void);

/* reach.c: forks a snapshot that marks and writes its result into the sites. */
void reach_start(uint32_t seq);

#endif
