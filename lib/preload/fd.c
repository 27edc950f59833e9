/*
 * Descriptors: who made each that is open.  A number that is given again without a close that we
 * saw (by an entry inside the C library) ends the old one.
 */
#include "preload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int enter(int fd)
{
	return fd >= 0 && fd < LEDGER_FDS && ledger->ready && !state_foreign() && state_enter(0);
}

static void gone(int fd)
{
	uint32_t site = __atomic_exchange_n(&ledger->fds[fd].site, 0, __ATOMIC_ACQ_REL);

	if (site)
		count_death(site, 1, 1);
}

static int born(int fd, struct place at)
{
	int saved = errno;

	if (!enter(fd))
		return fd;
	uint32_t site = stack_site(LEDGER_FD, at);
	gone(fd);
	count_birth(site, 1, 1);
	ledger->fds[fd].step = control->step;
	__atomic_store_n(&ledger->fds[fd].site, site, __ATOMIC_RELEASE);
	state_leave();
	errno = saved;
	return fd;
}

static void died(int fd)
{
	int saved = errno;

	if (enter(fd)) {
		gone(fd);
		state_leave();
	}
	errno = saved;
}

static int pair_born(int r, const int *fd, struct place at)
{
	if (r == 0) {
		born(fd[0], at);
		born(fd[1], at);
	}
	return r;
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(ap, int) : 0;
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return born(REAL(open)(path, flags, mode), HERE);
}

EXPORT int open64(const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return born(REAL(open64)(path, flags, mode), HERE);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return born(REAL(openat)(dir, path, flags, mode), HERE);
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return born(REAL(openat64)(dir, path, flags, mode), HERE);
}

EXPORT int fcntl(int fd, int what, ...)
{
	va_list ap;

	va_start(ap, what);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	int r = REAL(fcntl)(fd, what, arg);
	if (what == F_DUPFD || what == F_DUPFD_CLOEXEC)
		born(r, HERE);
	return r;
}

EXPORT int fcntl64(int fd, int what, ...)
{
	va_list ap;

	va_start(ap, what);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	int r = REAL(fcntl64)(fd, what, arg);
	if (what == F_DUPFD || what == F_DUPFD_CLOEXEC)
		born(r, HERE);
	return r;
}

EXPORT int creat(const char *path, mode_t mode)
{
	return born(REAL(creat)(path, mode), HERE);
}

EXPORT int creat64(const char *path, mode_t mode)
{
	return born(REAL(creat64)(path, mode), HERE);
}

EXPORT int dup(int fd)
{
	return born(REAL(dup)(fd), HERE);
}

EXPORT int dup2(int fd, int to)
{
	int r = REAL(dup2)(fd, to);

	return fd == to ? r : born(r, HERE);
}

EXPORT int dup3(int fd, int to, int flags)
{
	return born(REAL(dup3)(fd, to, flags), HERE);
}

EXPORT int socket(int family, int type, int protocol)
{
	return born(REAL(socket)(family, type, protocol), HERE);
}

EXPORT int accept(int fd, struct sockaddr *restrict a, socklen_t *restrict n)
{
	return born(REAL(accept)(fd, a, n), HERE);
}

EXPORT int accept4(int fd, struct sockaddr *restrict a, socklen_t *restrict n, int flags)
{
	return born(REAL(accept4)(fd, a, n, flags), HERE);
}

EXPORT int eventfd(unsigned value, int flags)
{
	return born(REAL(eventfd)(value, flags), HERE);
}

EXPORT int epoll_create(int size)
{
	return born(REAL(epoll_create)(size), HERE);
}

EXPORT int epoll_create1(int flags)
{
	return born(REAL(epoll_create1)(flags), HERE);
}

EXPORT int timerfd_create(clockid_t clock, int flags)
{
	return born(REAL(timerfd_create)(clock, flags), HERE);
}

EXPORT int signalfd(int fd, const sigset_t *mask, int flags)
{
	int r = REAL(signalfd)(fd, mask, flags);

	return fd == -1 ? born(r, HERE) : r;
}

EXPORT int inotify_init(void)
{
	return born(REAL(inotify_init)(), HERE);
}

EXPORT int inotify_init1(int flags)
{
	return born(REAL(inotify_init1)(flags), HERE);
}

EXPORT int memfd_create(const char *name, unsigned flags)
{
	return born(REAL(memfd_create)(name, flags), HERE);
}

EXPORT int mkstemp(char *path)
{
	return born(REAL(mkstemp)(path), HERE);
}

EXPORT int mkostemp(char *path, int flags)
{
	return born(REAL(mkostemp)(path, flags), HERE);
}

EXPORT int socketpair(int family, int type, int protocol, int fd[2])
{
	return pair_born(REAL(socketpair)(family, type, protocol, fd), fd, HERE);
}

EXPORT int pipe(int fd[2])
{
	return pair_born(REAL(pipe)(fd), fd, HERE);
}

EXPORT int pipe2(int fd[2], int flags)
{
	return pair_born(REAL(pipe2)(fd, flags), fd, HERE);
}

EXPORT FILE *fopen(const char *restrict path, const char *restrict mode)
{
	FILE *f = REAL(fopen)(path, mode);

	if (f)
		born(fileno(f), HERE);
	return f;
}

EXPORT FILE *fopen64(const char *restrict path, const char *restrict mode)
{
	FILE *f = REAL(fopen64)(path, mode);

	if (f)
		born(fileno(f), HERE);
	return f;
}

EXPORT FILE *tmpfile(void)
{
	FILE *f = REAL(tmpfile)();

	if (f)
		born(fileno(f), HERE);
	return f;
}

EXPORT FILE *popen(const char *command, const char *mode)
{
	FILE *f = REAL(popen)(command, mode);

	if (f)
		born(fileno(f), HERE);
	return f;
}

EXPORT DIR *opendir(const char *path)
{
	DIR *f = REAL(opendir)(path);

	if (f)
		born(dirfd(f), HERE);
	return f;
}

EXPORT int close(int fd)
{
	/* Before, because the number may be given to another thread at once. */
	died(fd);
	return REAL(close)(fd);
}

EXPORT int fclose(FILE *f)
{
	died(fileno(f));
	return REAL(fclose)(f);
}

EXPORT int pclose(FILE *f)
{
	died(fileno(f));
	return REAL(pclose)(f);
}

EXPORT int closedir(DIR *f)
{
	died(dirfd(f));
	return REAL(closedir)(f);
}
