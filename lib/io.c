#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t m)
{
	return S_ISDIR(m)    ? "a directory"
	       : S_ISFIFO(m) ? "a FIFO"
	       : S_ISCHR(m)  ? "a character device"
	       : S_ISBLK(m)  ? "a block device"
	       : S_ISSOCK(m) ? "a socket"
	                     : "of an unknown kind";
}

int io_open(const char *path, int *fd, struct err *e)
{
	struct stat st;

	if (!strcmp(path, "-")) {
		*fd = STDIN_FILENO;
		return 0;
	}
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return err_sys(e, "cannot open");
	if (fstat(*fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(*fd);
		*fd = -1;
		return err_set(e, ERR_TROUBLE, "is a directory");
	}
	return 0;
}

int io_open_file(const char *path, int *fd, uint64_t *size, struct err *e)
{
	struct stat st;

	/* Not blocking: opening a FIFO that nobody writes to must not hang. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return err_sys(e, "cannot open");
	if (fstat(*fd, &st))
		err_sys(e, "cannot stat");
	else if (!S_ISREG(st.st_mode))
		err_set(e, ERR_TROUBLE, "is %s, expected a regular file", kind_of(st.st_mode));
	else {
		*size = (uint64_t)st.st_size;
		return 0;
	}
	close(*fd);
	*fd = -1;
	errno = 0;
	return -1;
}

int io_map(struct io_map *m, const char *path, struct err *e)
{
	memset(m, 0, sizeof *m);
	if (io_open_file(path, &m->fd, &m->size, e))
		return -1;
	m->open = 1;
	if (m->size) {
		void *p = mmap(NULL, m->size, PROT_READ, MAP_SHARED, m->fd, 0);
		if (p == MAP_FAILED) {
			err_sys(e, "cannot map %llu bytes", (unsigned long long)m->size);
			io_unmap(m);
			return -1;
		}
		m->data = p;
	}
	return 0;
}

void io_unmap(struct io_map *m)
{
	int saved = errno;

	if (m->data)
		munmap((void *)(uintptr_t)m->data, m->size);
	if (m->open)
		close(m->fd);
	memset(m, 0, sizeof *m);
	errno = saved;
}

int io_read(int fd, void *buf, size_t n, size_t *got, struct err *e)
{
	size_t have = 0;

	while (have < n) {
		ssize_t r = read(fd, (char *)buf + have, n - have);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "cannot read");
		if (r == 0)
			break;
		have += (size_t)r;
	}
	*got = have;
	return 0;
}

int io_pread(int fd, void *buf, size_t n, uint64_t offset, struct err *e)
{
	size_t have = 0;

	while (have < n) {
		ssize_t r = pread(fd, (char *)buf + have, n - have, (off_t)(offset + have));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "cannot read");
		if (r == 0)
			return err_set(e, ERR_SHORT, "ends at byte %llu, expected %llu more",
			               (unsigned long long)(offset + have),
			               (unsigned long long)(n - have));
		have += (size_t)r;
	}
	return 0;
}

int io_write(int fd, const void *buf, size_t n, struct err *e)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, (const char *)buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "cannot write");
		done += (size_t)r;
	}
	return 0;
}

#define BEHIND (8u << 20) /* bytes */

void io_write_behind(int fd, uint64_t *synced, uint64_t at)
{
	int saved = errno;

	if (at - *synced < BEHIND)
		return;
	/* Pipes and some file systems cannot: no harm. */
	sync_file_range(fd, (off_t)*synced, (off_t)(at - *synced), SYNC_FILE_RANGE_WRITE);
	*synced = at;
	errno = saved;
}

/* All that fd has, and closes it. */
static int slurp(int fd, size_t limit, char **buf, size_t *n, struct err *e)
{
	size_t cap = 65536, have = 0;
	char *b = NULL;

	for (;;) {
		size_t got;
		char *grown = realloc(b, cap + 1);
		if (!grown) {
			err_set(e, ERR_TROUBLE, "no memory for %zu bytes of text", cap);
			goto fail;
		}
		b = grown;
		if (io_read(fd, b + have, cap - have, &got, e))
			goto fail;
		have += got;
		if (have > limit) {
			err_set(e, ERR_TROUBLE, "is longer than %zu bytes", limit);
			goto fail;
		}
		if (have < cap)
			break;
		cap *= 2;
	}
	if (fd != STDIN_FILENO)
		close(fd);
	b[have] = 0;
	*buf = b;
	*n = have;
	return 0;
fail:
	if (fd != STDIN_FILENO)
		close(fd);
	free(b);
	return -1;
}

int io_slurp(const char *path, size_t limit, char **buf, size_t *n, struct err *e)
{
	int fd;

	return io_open(path, &fd, e) ? -1 : slurp(fd, limit, buf, n, e);
}

int io_slurp_file(const char *path, size_t limit, char **buf, size_t *n, struct err *e)
{
	uint64_t size;
	int fd;

	return io_open_file(path, &fd, &size, e) ? -1 : slurp(fd, limit, buf, n, e);
}

void *io_grow(void *p, size_t room, size_t more, struct err *e)
{
	void *q = p ? mremap(p, room, more, MREMAP_MAYMOVE)
	            : mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (q == MAP_FAILED) {
		err_set(e, ERR_TROUBLE, "no memory for %zu bytes of input", more);
		return NULL;
	}
	return q;
}

void io_drop(void *p, size_t room)
{
	if (p)
		munmap(p, room);
}

int io_create(struct io_out *o, const char *path, int force, struct err *e)
{
	struct stat st;

	memset(o, 0, sizeof *o);
	if (!strcmp(path, "-")) {
		o->fd = STDOUT_FILENO;
		o->stream = 1;
		return 0;
	}
	if (stat(path, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			return err_set(e, ERR_TROUBLE, "is %s, not overwritten",
			               kind_of(st.st_mode));
		if (!force)
			return err_set(e, ERR_TROUBLE, "exists (use -f to replace it)");
	}
	if (asprintf(&o->part, "%s.part", path) < 0) {
		o->part = NULL;
		return err_set(e, ERR_TROUBLE, "no memory for a file name");
	}
	o->path = strdup(path);
	if (!o->path) {
		io_abort(o);
		return err_set(e, ERR_TROUBLE, "no memory for a file name");
	}
	o->fd = open(o->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (o->fd < 0) {
		err_sys(e, "cannot create %s", o->part);
		free(o->part);
		o->part = NULL;
		io_abort(o);
		return -1;
	}
	return 0;
}

char *io_parent(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char *dir =
	    !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));

	if (!dir)
		err_set(e, ERR_TROUBLE, "no memory for a file name");
	return dir;
}

int io_sync_directory(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	/* Some file systems cannot sync a directory: what they promise holds without. */
	if (fd < 0 || (fsync(fd) && errno != EINVAL))
		r = err_sys(e, "%s", path);
	if (fd >= 0)
		close(fd);
	return r;
}

int io_commit(struct io_out *o, struct err *e)
{
	if (o->stream)
		return 0;
	int failed = fsync(o->fd);
	if (close(o->fd))
		failed = -1;
	o->fd = -1;
	if (failed || rename(o->part, o->path)) {
		err_sys(e, "cannot write");
		io_abort(o);
		return -1;
	}
	char *dir = io_parent(o->path, NULL);
	if (dir)
		io_sync_directory(dir, NULL); /* the file is there, synced, in any case */
	free(dir);
	free(o->part);
	o->part = NULL;
	io_abort(o);
	return 0;
}

void io_abort(struct io_out *o)
{
	int saved = errno;

	if (o->part) {
		if (o->fd >= 0)
			close(o->fd);
		unlink(o->part);
	}
	free(o->part);
	free(o->path);
	memset(o, 0, sizeof *o);
	errno = saved;
}

int io_close_stdout(struct err *e)
{
	int failed = ferror(stdout);

	errno = 0;
	if (fflush(stdout))
		failed = 1;
	if (fclose(stdout))
		failed = 1;
	/* The reason of an earlier failure is gone. */
	if (failed && !errno)
		return err_set(e, ERR_TROUBLE, "standard output: cannot write");
	return failed ? err_sys(e, "standard output") : 0;
}
