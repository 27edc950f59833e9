/*
 * Reachability: a forked copy of the process looks, in its own time, which blocks a pointer still
 * leads to.  Roots are writable data segments, thread-local memory and the live part of stacks;
 * from there through the ledger's blocks, any word that points into a block holding it.  Free
 * memory of the allocator is never read: stale pointers there would hide what is lost.
 *
 * The process itself stands still only for the fork.  The copy is made by clone without a signal
 * at its end, so that the process's own wait() never meets it; it closes all descriptors at once,
 * and takes no lock and no memory but by mmap.
 */
#include "preload.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reach_mark.h"

#define THREADS_MAX 4096 /* stack pointers kept; the stacks of further threads are read whole */

#define STOP_NS 100000000u /* the process never stands still for longer */

static uint64_t sp_of[THREADS_MAX];
static uint32_t n_sp;
static pid_t last_copy;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void tell(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void wait_for(uint32_t *word, uint32_t value, uint64_t end)
{
	struct timespec t = {0, 1000000};
	uint32_t now;

	while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != value && now_ns() < end)
		syscall(SYS_futex, word, FUTEX_WAIT, now, &t, NULL, 0);
}

static int64_t raw(long n, long a, long b, long c, long d)
{
	return syscall(n, a, b, c, d, 0, 0);
}

/* The stack pointer of a waiting thread: the last but one number of "task/TID/syscall". */
static uint64_t sp_from(char *text)
{
	char *last = strrchr(text, ' ');

	if (!last)
		return 0; /* "running" */
	*last = 0;
	char *before = strrchr(text, ' ');
	return before ? strtoull(before + 1, NULL, 16) : 0;
}

struct entry { /* as getdents64 gives it */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static void one_thread(const char *tid)
{
	char path[64] = "/proc/self/task/", text[256];

	strcat(strcat(path, tid), "/syscall");
	int fd = (int)raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? 0 : raw(SYS_read, fd, (long)text, sizeof text - 1, 0);
	if (fd >= 0)
		raw(SYS_close, fd, 0, 0, 0);
	text[n > 0 ? n : 0] = 0;
	uint64_t sp = sp_from(text);
	if (sp && n_sp < THREADS_MAX)
		sp_of[n_sp++] = sp;
}

/* Where the other threads' stacks end.  A copy has only the thread that made it. */
static void learn_stacks(void)
{
	static char buf[8192] __attribute__((aligned(8)));
	long me = syscall(SYS_gettid), n;

	n_sp = 0;
	int fd = (int)raw(SYS_openat, AT_FDCWD, (long)"/proc/self/task", O_RDONLY | O_DIRECTORY, 0);
	while (fd >= 0 && (n = raw(SYS_getdents64, fd, (long)buf, sizeof buf, 0)) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(const void *)(buf + at);
			if (e->name[0] != '.' && atol(e->name) != me)
				one_thread(e->name);
			at += e->reclen;
		}
	if (fd >= 0)
		raw(SYS_close, fd, 0, 0, 0);
}

/* In the copy.  The state's own page is empty here, as in any forked child. */
static __attribute__((noinline)) void mark(struct state *s, uint32_t seq, uint32_t step)
{
	struct ledger_process *p = s->process;

	sp_of[n_sp++] = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	int gathered = reach_gather(s);
	tell(&p->reach_gathered, seq);
	p->reach_failed = !gathered || !reach_mark(s, step, sp_of, n_sp);
	__atomic_store_n(&p->reach_done, seq, __ATOMIC_RELEASE);
	_exit(0);
}

static __attribute__((noinline)) void copy_runs(struct state *s, uint32_t seq, uint32_t step)
{
	/* Pointers that live only in registers are put on the stack, above mark()'s frame. */
	__builtin_unwind_init();
	raw(SYS_close_range, 0, ~0u, 0, 0);
	mark(s, seq, step);
}

void reach_start(uint32_t seq)
{
	struct ledger_process *p = ledger->process;
	static struct state copy;
	uint32_t step = control->step;
	sigset_t all, before;
	int status;

	if (last_copy > 0)
		waitpid(last_copy, &status, (int)__WCLONE | WNOHANG);
	p->reach_begun = seq;
	uint64_t begin = now_ns();
	learn_stacks();
	if (n_sp == THREADS_MAX)
		n_sp--;
	copy = *ledger;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		copy_runs(&copy, seq, step);
	/* The table of blocks is shared with the copy: it must be read before it changes. */
	if (pid > 0) {
		p->reach_pid = pid;
		wait_for(&p->reach_gathered, seq, begin + STOP_NS);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	p->reach_stop_ns = now_ns() - begin;
	last_copy = pid;
	if (pid < 0) {
		p->reach_failed = 1;
		__atomic_store_n(&p->reach_done, seq, __ATOMIC_RELEASE);
	}
}
