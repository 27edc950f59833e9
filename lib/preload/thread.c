/*
 * Threads: live until they have ended and were joined or detached.  Their blocks are keyed by the
 * thread's id, which is an address on its stack.
 */
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Lies on the creator's stack: the creator waits until the thread has read it. */
struct start {
	void *(*run)(void *);
	void *arg;
	size_t stack;
	uint32_t state; /* 0, then 1: recorded, then 2: read */
};

static void futex(uint32_t *word, int op, uint32_t value)
{
	int saved = errno;

	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
	errno = saved;
}

static void wait_for(uint32_t *word, uint32_t value)
{
	uint32_t now;

	while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < value)
		futex(word, FUTEX_WAIT, now);
}

static void tell(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, INT_MAX);
}

static void ended(void *unused)
{
	(void)unused;
	record_thread_flag((uintptr_t)pthread_self(), LEDGER_THREAD_ENDED);
	state_thread_end();
}

static void *run(void *arg)
{
	struct start *s = arg;
	void *(*fn)(void *) = s->run;
	void *fn_arg = s->arg, *r;

	state_thread_begin(s->stack);
	/* Recorded before it runs, or its end could come before its beginning. */
	wait_for(&s->state, 1);
	tell(&s->state, 2);
	pthread_cleanup_push(ended, NULL);
	r = fn(fn_arg);
	pthread_cleanup_pop(1);
	return r;
}

static size_t stack_of(const pthread_attr_t *attr, int *detached)
{
	pthread_attr_t fresh;
	size_t n = 0;

	if (!attr) {
		if (pthread_getattr_default_np(&fresh) == 0) {
			pthread_attr_getstacksize(&fresh, &n);
			pthread_attr_destroy(&fresh);
		}
		return n;
	}
	int state = PTHREAD_CREATE_JOINABLE;
	pthread_attr_getstacksize(attr, &n);
	pthread_attr_getdetachstate(attr, &state);
	*detached = state == PTHREAD_CREATE_DETACHED;
	return n;
}

EXPORT int pthread_create(pthread_t *restrict id, const pthread_attr_t *restrict attr,
                          void *(*fn)(void *), void *restrict arg)
{
	int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
	    REAL(pthread_create);
	struct start s = {.run = fn, .arg = arg};
	int detached = 0;

	if (!ledger->ready)
		return next(id, attr, fn, arg);
	ledger->threads = 1;
	s.stack = stack_of(attr, &detached);
	int r = next(id, attr, run, &s);
	if (r)
		return r;
	record_thread((uintptr_t)*id, s.stack, detached, HERE);
	tell(&s.state, 1);
	wait_for(&s.state, 2);
	return 0;
}

EXPORT int pthread_join(pthread_t id, void **result)
{
	/* Before, as in pthread_detach: afterwards the id may belong to another thread. */
	record_thread_flag((uintptr_t)id, LEDGER_DETACHED);
	return REAL(pthread_join)(id, result);
}

static int joined(int r, pthread_t id)
{
	if (r == 0)
		record_thread_flag((uintptr_t)id, LEDGER_DETACHED | LEDGER_THREAD_ENDED);
	return r;
}

EXPORT int pthread_tryjoin_np(pthread_t id, void **result)
{
	return joined(REAL(pthread_tryjoin_np)(id, result), id);
}

EXPORT int pthread_timedjoin_np(pthread_t id, void **result, const struct timespec *until)
{
	return joined(REAL(pthread_timedjoin_np)(id, result, until), id);
}

EXPORT int pthread_detach(pthread_t id)
{
	record_thread_flag((uintptr_t)id, LEDGER_DETACHED);
	return REAL(pthread_detach)(id);
}
