/*
 * How output appears: written into partial files beside their final names (safetensors: into a
 * partial directory), synced, renamed.  With -k or -r a journal lies beside them: a line that tells
 * plan and inputs apart, then the number and checksum of each payload that was written.  Whoever
 * goes on later hashes what is there and trusts nothing behind the first difference.
 */
#include "convert_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fmt.h"
#include "io.h"
#include "mem.h"

#define JOURNAL "bitnet-convert journal 1"

static int to_stdout(const struct convert *c)
{
	return !strcmp(c->o->output, "-");
}

/* a, b and c in one new string. */
static char *joined(const char *a, const char *b, const char *third, struct err *e)
{
	size_t n = strlen(a) + strlen(b) + strlen(third) + 1;
	char *p = mem_alloc(MEM_IO, n, e);

	if (p)
		snprintf(p, n, "%s%s%s", a, b, third);
	return p;
}

/* --- names --------------------------------------------------------------------------------- */

static int name_gguf(struct convert *c, struct err *e)
{
	for (unsigned f = 0; f < c->n_files; f++) {
		struct convert_file *file = &c->files[f];
		file->path = gguf_write_part_name(c->o->output, f, c->n_files, e);
		if (!file->path)
			return -1;
		if (to_stdout(c))
			continue;
		file->part = joined(file->path, ".part", "", e);
		if (!file->part)
			return -1;
	}
	return 0;
}

static int name_safetensors(struct convert *c, struct err *e)
{
	char name[64] = "model.safetensors";

	c->dir_part = joined(c->o->output, ".part", "", e);
	if (!c->dir_part)
		return -1;
	for (unsigned f = 0; f < c->n_files; f++) {
		struct convert_file *file = &c->files[f];
		if (c->n_files > 1)
			snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", f + 1,
			         c->n_files);
		file->path = joined(c->o->output, "/", name, e);
		file->part = joined(c->dir_part, "/", name, e);
		if (!file->path || !file->part)
			return -1;
	}
	return 0;
}

int convert_name_files(struct convert *c, struct err *e)
{
	if (c->o->to_safetensors ? name_safetensors(c, e) : name_gguf(c, e))
		return -1;
	if (c->o->keep || c->o->resume) {
		c->journal = joined(c->o->output, ".journal", "", e);
		return c->journal ? 0 : -1;
	}
	return 0;
}

/* --- before anything is written ------------------------------------------------------------ */

static int same_file(int fd, const struct stat *st)
{
	struct stat in;

	return fd >= 0 && !fstat(fd, &in) && in.st_dev == st->st_dev && in.st_ino == st->st_ino;
}

static int is_input(const struct convert *c, const struct stat *st)
{
	for (unsigned i = 0; i < c->g.n_parts; i++)
		if (same_file(c->g.parts[i].map.open ? c->g.parts[i].map.fd : c->g.parts[i].fd, st))
			return 1;
	for (unsigned i = 0; i < c->hf.st.n_files; i++)
		if (same_file(c->hf.st.files[i].fd, st))
			return 1;
	return 0;
}

static int check_existing(const struct convert *c, const char *path, int directory, struct err *e)
{
	struct stat st;

	if (stat(path, &st))
		return errno == ENOENT ? 0 : err_sys(e, "%s", path);
	if (c->o->in_place)
		return access(path, W_OK) ? err_sys(e, "%s", path) : 0;
	if (is_input(c, &st))
		return err_set(e, ERR_TROUBLE, "%s: the output is an input", path);
	if (directory ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))
		return err_set(e, ERR_TROUBLE, "%s: is no %s, not overwritten", path,
		               directory ? "directory" : "regular file");
	if (!c->o->force)
		return err_set(e, ERR_TROUBLE, "%s: exists (use -f to replace it)", path);
	return 0;
}

/* Bytes on the disk that an earlier run's partial files hold already. */
static uint64_t bytes_there(const struct convert *c)
{
	uint64_t n = 0;
	struct stat st;

	for (unsigned f = 0; f < c->n_files; f++)
		if (!stat(c->files[f].part, &st))
			n += (uint64_t)st.st_blocks * 512;
	return n;
}

/* Free bytes, and whether files can be made there; /dev/null and its like pass for plans. */
static int check_space(struct convert *c, struct err *e)
{
	char *dir = io_parent(c->o->output, e), need[FMT_SIZE], have[FMT_SIZE];
	struct statvfs v;
	struct stat st;
	int r = 0;

	if (!dir)
		return -1;
	if (stat(dir, &st) || statvfs(dir, &v))
		r = err_sys(e, "%s", dir);
	else if (access(dir, W_OK | X_OK))
		r = err_sys(e, "%s: cannot create files", dir);
	else
		c->space = (uint64_t)v.f_bavail * v.f_frsize;
	uint64_t there = bytes_there(c), more = c->bytes > there ? c->bytes - there : 0;
	if (!r && more > c->space)
		r = err_set(e, ERR_TROUBLE, "%s: %s are needed, %s are free", dir,
		            fmt_size(need, more), fmt_size(have, c->space));
	free(dir);
	return r;
}

static int is_device(const char *path)
{
	struct stat st;

	return !stat(path, &st) && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode));
}

int convert_check_output(struct convert *c, struct err *e)
{
	if (to_stdout(c) || is_device(c->o->output))
		return 0;
	if (c->o->to_safetensors) {
		if (check_existing(c, c->o->output, 1, e))
			return -1;
	} else {
		for (unsigned f = 0; f < c->n_files; f++)
			if (check_existing(c, c->files[f].path, 0, e))
				return -1;
	}
	return c->patch ? 0 : check_space(c, e);
}

/* --- going on with a partial output -------------------------------------------------------- */

struct entry {
	uint64_t job, hash;
};

/* Reads the journal: how many jobs it says are complete, from the first on; 0 when it is of another
 * plan or there is none. */
static uint64_t read_journal(struct convert *c)
{
	FILE *f = fopen(c->journal, "re");
	uint64_t n = 0, job, hash, fingerprint;

	if (!f)
		return 0;
	if (fscanf(f, JOURNAL " %" SCNx64, &fingerprint) == 1 && fingerprint == c->fingerprint)
		while (n < c->n_jobs && fscanf(f, "%" SCNu64 " %" SCNx64, &job, &hash) == 2 &&
		       job == n)
			c->jobs[n++].hash = hash;
	fclose(f);
	return n;
}

/* Whether the first bytes of a partial file are the header that belongs there. */
struct compare {
	int fd;
	uint64_t at;
	int differs;
};

static int compare_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct compare *x = arg;
	const uint8_t *bytes = p;
	uint8_t buffer[4096];

	(void)e;
	while (n && !x->differs) {
		size_t part = n < sizeof buffer ? n : sizeof buffer;
		if (io_pread(x->fd, buffer, part, x->at, NULL) || memcmp(buffer, bytes, part))
			x->differs = 1;
		x->at += part;
		bytes += part;
		n -= part;
	}
	return 0;
}

static int header_is_there(const struct convert *c, unsigned f)
{
	struct compare x = {.fd = c->files[f].fd};

	return !convert_put_header(c, f, compare_put, &x, NULL) && !x.differs;
}

/* Counts the jobs whose bytes are there and right. */
static uint64_t count_complete(struct convert *c, uint64_t claimed)
{
	for (unsigned f = 0; f < c->n_files; f++) {
		const struct convert_file *file = &c->files[f];
		if (file->first >= claimed)
			break;
		if (!header_is_there(c, f))
			return file->first;
		for (uint64_t i = file->first; i < file->first + file->n && i < claimed; i++) {
			const struct convert_job *job = &c->jobs[i];
			struct hash h;
			hash_begin(&h);
			if (hash_add_fd(&h, file->fd, job->out_offset, job->bytes, NULL) ||
			    hash_value(&h) != job->hash)
				return i;
		}
	}
	return claimed;
}

/* --- files --------------------------------------------------------------------------------- */

/* What is replaced keeps its mode, and its owner where that is allowed. */
static void take_mode(int fd, const struct stat *old)
{
	if (fchown(fd, old->st_uid, old->st_gid))
		errno = 0;
	fchmod(fd, old->st_mode & 0777);
}

static int is_tmpfs(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC;
}

static int open_part(const struct convert *c, struct convert_file *f, struct err *e)
{
	struct stat old;
	int replaces = !stat(f->path, &old);

	/* Until then nobody else reads it. */
	f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, replaces ? 0600 : 0666);
	if (f->fd < 0)
		return err_sys(e, "cannot create %s", f->part);
	if (flock(f->fd, LOCK_EX | LOCK_NB)) {
		/* Not ours to remove. */
		close(f->fd);
		f->fd = -1;
		return err_set(e, ERR_TROUBLE, "%s: another program writes it", f->part);
	}
	if (!c->o->resume && ftruncate(f->fd, 0))
		return err_sys(e, "%s", f->part);
	if (replaces)
		take_mode(f->fd, &old);
	/* Reserved now, so that a full disk is found before the first byte; not every file system
	 * can, and tmpfs would make every page now, while all wait. */
	if (f->size && !is_tmpfs(f->fd) && fallocate(f->fd, 0, 0, (off_t)f->size) &&
	    errno == ENOSPC)
		return err_sys(e, "%s", f->part);
	return 0;
}

static int open_journal(struct convert *c, struct err *e)
{
	c->journal_out = fopen(c->journal, "we");
	if (!c->journal_out)
		return err_sys(e, "cannot create %s", c->journal);
	fprintf(c->journal_out, JOURNAL " %016" PRIx64 "\n", c->fingerprint);
	for (uint64_t i = 0; i < c->done; i++)
		fprintf(c->journal_out, "%" PRIu64 " %016" PRIx64 "\n", i, c->jobs[i].hash);
	return fflush(c->journal_out) ? err_sys(e, "%s", c->journal) : 0;
}

static void empty_directory(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
}

static void remove_directory(const char *path)
{
	empty_directory(path);
	rmdir(path);
}

/* The directory of partial files, locked; emptied when nothing in it will be used. */
static int open_directory(struct convert *c, int use, struct err *e)
{
	if (mkdir(c->dir_part, 0777) && errno != EEXIST)
		return err_sys(e, "cannot create %s", c->dir_part);
	c->dir_fd = open(c->dir_part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		return err_sys(e, "%s", c->dir_part);
	if (flock(c->dir_fd, LOCK_EX | LOCK_NB)) {
		close(c->dir_fd);
		c->dir_fd = -1;
		return err_set(e, ERR_TROUBLE, "%s: another program writes it", c->dir_part);
	}
	if (!use)
		empty_directory(c->dir_part);
	return 0;
}

static int open_files(struct convert *c, uint64_t claimed, struct err *e)
{
	if (c->dir_part && open_directory(c, claimed > 0, e))
		return -1;
	for (unsigned f = 0; f < c->n_files; f++)
		if (open_part(c, &c->files[f], e))
			return -1;
	return 0;
}

int convert_begin_output(struct convert *c, struct err *e)
{
	if (to_stdout(c)) {
		c->files[0].fd = STDOUT_FILENO;
		return 0;
	}
	if (is_device(c->o->output))
		return err_set(e, ERR_TROUBLE, "%s: is no regular file", c->o->output);
	uint64_t claimed = c->o->resume ? read_journal(c) : 0;
	if (open_files(c, claimed, e))
		return -1;
	c->done = count_complete(c, claimed);
	/* A weight scale is known when its matrix was converted: they are done together. */
	if (c->done < c->n_jobs && c->done && c->jobs[c->done].scale_of_last)
		c->done--;
	return c->journal ? open_journal(c, e) : 0;
}

int convert_finish_job(struct convert *c, uint64_t i, struct err *e)
{
	if (!c->journal_out)
		return 0;
	fprintf(c->journal_out, "%" PRIu64 " %016" PRIx64 "\n", i, c->jobs[i].hash);
	return fflush(c->journal_out) ? err_sys(e, "%s", c->journal) : 0;
}

/* --- the end ------------------------------------------------------------------------------- */

/* Gives the finished directory its name; one that is replaced changes places with it first. */
static int commit_directory(const struct convert *c, struct err *e)
{
	const char *out = c->o->output;

	if (io_sync_directory(c->dir_part, e))
		return -1;
	if (!rename(c->dir_part, out))
		return 0;
	if ((errno != EEXIST && errno != ENOTEMPTY) || !c->o->force ||
	    renameat2(AT_FDCWD, c->dir_part, AT_FDCWD, out, RENAME_EXCHANGE))
		return err_sys(e, "cannot rename %s", c->dir_part);
	remove_directory(c->dir_part);
	return 0;
}

static int commit_files(const struct convert *c, struct err *e)
{
	for (unsigned f = 0; f < c->n_files; f++)
		if (rename(c->files[f].part, c->files[f].path))
			return err_sys(e, "cannot rename %s", c->files[f].part);
	return 0;
}

int convert_commit(struct convert *c, struct err *e)
{
	char *dir;
	int r;

	if (to_stdout(c))
		return 0;
	for (unsigned f = 0; f < c->n_files; f++)
		if (ftruncate(c->files[f].fd, (off_t)c->files[f].size) || fsync(c->files[f].fd))
			return err_sys(e, "%s", c->files[f].part);
	if (c->o->to_safetensors && convert_write_config(c, c->dir_part, e))
		return -1;
	if (c->o->to_safetensors ? commit_directory(c, e) : commit_files(c, e))
		return -1;
	dir = io_parent(c->o->output, e);
	r = dir ? io_sync_directory(dir, e) : -1;
	free(dir);
	if (c->journal)
		unlink(c->journal);
	return r;
}

void convert_abandon(struct convert *c)
{
	int saved = errno;

	if (!to_stdout(c) && !c->journal) {
		for (unsigned f = 0; f < c->n_files; f++)
			if (c->files[f].fd >= 0 && c->files[f].part)
				unlink(c->files[f].part);
		if (c->dir_fd >= 0)
			remove_directory(c->dir_part);
	}
	errno = saved;
}
