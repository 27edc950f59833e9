/*
 * Steps and requests.  A line written to the step descriptor stops its writer until the tool has
 * taken its sample, so that the sample belongs to the end of that step; never longer than
 * LEDGER_WAIT_MS, and never again after the tool was late once.
 */
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void trim(struct ledger_process *p)
{
	uint64_t begin = now_ns();

	malloc_trim(0);
	p->trim_ns = now_ns() - begin;
}

void request_run(void)
{
	struct ledger_process *p = ledger->process;
	uint32_t ask = __atomic_load_n(&p->request, __ATOMIC_ACQUIRE), done = p->request_done;
	int saved = errno;

	/* One thread acts. */
	if (self.busy || ask == done ||
	    !__atomic_compare_exchange_n(&p->request_done, &done, ask, 0, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_RELAXED))
		return;
	self.busy = 1;
	if ((ask & 0xff) == LEDGER_ASK_REACH)
		reach_start(ask >> 8);
	else if ((ask & 0xff) == LEDGER_ASK_TRIM)
		trim(p);
	self.busy = 0;
	errno = saved;
}

static void pending(void)
{
	if (ledger->ready && ledger->process->request != ledger->process->request_done)
		request_run();
}

/* Until the tool has dealt with line number target. */
static void wait_sample(uint32_t target)
{
	uint64_t end = now_ns() + LEDGER_WAIT_MS * 1000000ull;

	for (;;) {
		uint32_t acked = __atomic_load_n(&control->acked, __ATOMIC_ACQUIRE);
		struct timespec t = {0, 20000000};
		pending();
		if ((int32_t)(acked - target) >= 0)
			return;
		if (!__atomic_load_n(&control->wait, __ATOMIC_ACQUIRE))
			return;
		if (now_ns() > end) {
			control->wait = 0;
			return;
		}
		syscall(SYS_futex, &control->acked, FUTEX_WAIT, acked, &t, NULL, 0);
	}
}

static uint32_t lines_in(const void *buf, size_t n)
{
	uint32_t lines = 0;

	for (const char *p = buf, *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	return lines;
}

/* Waits for the sample of lines that were just written: target counts them in advance, so that
 * the tool cannot have dealt with them before. */
static void written(uint32_t target)
{
	int saved = errno;

	deepbind_look();
	/* A process that a shell forked to say "step" has no slot, and needs none to wait. */
	if (control->wait)
		wait_sample(target);
	errno = saved;
}

/* The number may have been given to another file since. */
static RARELY int is_step_pipe(int fd)
{
	int saved = errno;
	struct stat st;
	int same = fstat(fd, &st) == 0 && st.st_ino == control->step_pipe;

	errno = saved;
	return same;
}

static inline int is_step(int fd)
{
	return control && control->step_fd && fd == (int)control->step_fd && !self.busy &&
	       is_step_pipe(fd);
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	if (LIKELY(!is_step(fd)))
		return REAL(write)(fd, buf, n);
	uint32_t lines = lines_in(buf, n);
	uint32_t target = __atomic_add_fetch(&control->written, lines, __ATOMIC_ACQ_REL);
	ssize_t r = REAL(write)(fd, buf, n);
	if (r == (ssize_t)n && lines)
		written(target);
	else if (lines)
		__atomic_sub_fetch(&control->written, lines, __ATOMIC_ACQ_REL);
	return r;
}

EXPORT int vdprintf(int fd, const char *format, va_list ap)
{
	if (LIKELY(!is_step(fd)))
		return REAL(vdprintf)(fd, format, ap);
	char line[512];
	int n = vsnprintf(line, sizeof line, format, ap);
	return n < 0 ? n
	             : (int)write(fd, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

EXPORT int dprintf(int fd, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int r = vdprintf(fd, format, ap);
	va_end(ap);
	return r;
}

static void say(const char *line)
{
	if (control && is_step((int)control->step_fd))
		write((int)control->step_fd, line, strlen(line));
}

static void api_step(void)
{
	say("step\n");
}

static void api_error(void)
{
	say("error\n");
}

static void api_mark(const char *name)
{
	char line[256];

	snprintf(line, sizeof line, "mark %.200s\n", name);
	say(line);
}

static void api_born(const void *p, size_t bytes, enum ledger_kind kind)
{
	record_birth(p, bytes, kind, HERE);
}

EXPORT const struct ledger_api bitnet_ledger_api = {
    .version = LEDGER_VERSION,
    .born = api_born,
    .died = record_death,
    .backing = record_backing,
    .step = api_step,
    .mark = api_mark,
    .error = api_error,
};
