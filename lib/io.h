/*
 * Files: opening, mapping, reading and writing in full, and output that appears
 * whole or not at all.  A path of "-" is standard input or output where stated.
 * Errors name what failed without the path; callers put the path in front.
 */
#ifndef IO_H
#define IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

/* Opens path for reading ("-" is standard input, *fd 0).  Directories are refused. */
int io_open(const char *path, int *fd, struct err *e);

/* The same for a regular file alone, and its size: a directory, FIFO or device is refused with a
 * message that says what it is.  errno is 0 when the path itself could be opened. */
int io_open_file(const char *path, int *fd, uint64_t *size, struct err *e);

/* A regular file mapped read-only.  All-zero is closed. */
struct io_map {
	const uint8_t *data; /* size bytes; NULL when size is 0 */
	uint64_t size;       /* bytes */
	int fd;              /* kept open (close-on-exec); valid when data or size is set */
	int open;
};

/* Maps path, which must be a regular file (see io_open_file).  io_unmap frees; a zeroed map is
 * allowed. */
int io_map(struct io_map *m, const char *path, struct err *e);
void io_unmap(struct io_map *m);

/* Reads up to n bytes; *got < n only at the end of input.  Restarts after signals. */
int io_read(int fd, void *buf, size_t n, size_t *got, struct err *e);

/* Reads exactly n bytes at offset; status ERR_SHORT when the file ends before. */
int io_pread(int fd, void *buf, size_t n, uint64_t offset, struct err *e);

/* Writes all n bytes. */
int io_write(int fd, const void *buf, size_t n, struct err *e);

/* Starts to bring what was written to a file in [*synced, at) to the disk, and sets *synced, once
 * that is enough to be worth a call: the sync at the end then finds little left to wait for. */
void io_write_behind(int fd, uint64_t *synced, uint64_t at);

/* Reads a whole file or stream of at most limit bytes into a new buffer with a NUL
 * behind it; the caller frees *buf with free(). */
int io_slurp(const char *path, size_t limit, char **buf, size_t *n, struct err *e);

/* The same of a regular file alone. */
int io_slurp_file(const char *path, size_t limit, char **buf, size_t *n, struct err *e);

/* A buffer that grows without being copied, for streams of unknown length: p (NULL: none yet) of
 * room bytes becomes one of more bytes, maybe elsewhere.  NULL when there is no memory; p stays.
 * io_drop ends it; NULL is allowed. */
void *io_grow(void *p, size_t room, size_t more, struct err *e);
void io_drop(void *p, size_t room);

/* The directory that path lies in, as a new string, which the caller ends with free(). */
char *io_parent(const char *path, struct err *e);

/* Syncs a directory, so that new names in it survive a crash. */
int io_sync_directory(const char *path, struct err *e);

/* Output that appears whole or not at all: written to a partial file beside path, then
 * synced and renamed by io_commit.  "-" writes to standard output, committed as it goes. */
struct io_out {
	int fd;
	int stream; /* standard output: nothing to rename */
	char *path; /* final name, owned */
	char *part; /* name of the partial file, owned */
};

/* Refuses an existing path unless force, and anything that is not a regular file. */
int io_create(struct io_out *o, const char *path, int force, struct err *e);
int io_commit(struct io_out *o, struct err *e); /* fsync, rename, fsync of the directory */
void io_abort(struct io_out *o);                /* removes the partial file; safe on zeroed */

/* Flushes and closes stdout; a failed write, now or earlier, is an error (status 2). */
int io_close_stdout(struct err *e);

#endif
