/*
 * A lock for critical sections of nanoseconds: half the atomic operations of a mutex.  It yields
 * the processor when it has to wait for long, so that a holder who was preempted can go on.
 */
#ifndef SPIN_H
#define SPIN_H

#include <sched.h>

/* Between two looks at what another thread will change. */
static inline void spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* 0 is unlocked. */
static inline void spin_lock(int *lock)
{
	int tries = 0;

	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(lock, __ATOMIC_RELAXED))
			if (++tries > 100) {
				sched_yield();
				tries = 0;
			}
}

static inline void spin_unlock(int *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
