/* Running a plan: jobs one after the other, each in pieces, into files or a pipe. */
#include "convert_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "threads.h"

#define COPY_STEP (1 << 20)

/* Where the bytes of the job at hand go: into its file, or, to verify, beside what is there. */
struct sink {
	struct convert *c;
	struct convert_file *file;
	struct progress *progress;
	const volatile sig_atomic_t *stop;
	int failed;       /* to take bytes */
	int hashing;      /* sums of the job and the file are wanted */
	struct hash hash; /* of the job */
	int verifying;
	uint64_t at;     /* in the file */
	uint64_t synced; /* see io_write_behind */
	uint8_t *buffer; /* COPY_STEP bytes: copies, comparisons */
	int differs;
	int by_input; /* the error is about the input, which it names */
};

static int check_stop(const struct sink *s, struct err *e)
{
	return s->stop && *s->stop ? err_set(e, ERR_TROUBLE, "stopped by a signal") : 0;
}

/* --- bytes out ----------------------------------------------------------------------------- */

static int compare(struct sink *s, const uint8_t *p, size_t n, struct err *e)
{
	while (n) {
		size_t part = n < COPY_STEP / 2 ? n : COPY_STEP / 2;
		uint8_t *there = s->buffer + COPY_STEP / 2;
		if (io_pread(s->file->fd, there, part, s->at, e))
			return -1;
		for (size_t i = 0; memcmp(there, p, part) && i < part; i++)
			if (there[i] != p[i]) {
				s->differs = 1;
				return err_set(e, ERR_NO, "byte %llu is %02x, expected %02x",
				               (unsigned long long)(s->at + i), there[i], p[i]);
			}
		s->at += part;
		p += part;
		n -= part;
	}
	return 0;
}

static int put_quiet(void *arg, const void *p, size_t n, struct err *e)
{
	struct sink *s = arg;

	if (s->verifying)
		return compare(s, p, n, e);
	if (s->hashing)
		hash_add(&s->file->hash, p, n);
	s->at += n;
	if (io_write(s->file->fd, p, n, e))
		return -1;
	io_write_behind(s->file->fd, &s->synced, s->at);
	return 0;
}

/* Bytes of a payload. */
static int put(void *arg, const void *p, size_t n, struct err *e)
{
	struct sink *s = arg;

	if (s->hashing && !s->verifying)
		hash_add(&s->hash, p, n);
	s->failed = put_quiet(s, p, n, e) != 0;
	if (s->failed)
		return -1;
	progress_add(s->progress, n);
	return check_stop(s, e);
}

static int put_zeros(struct sink *s, uint64_t n, struct err *e)
{
	static const uint8_t zeros[4096];

	while (n) {
		size_t part = n < sizeof zeros ? (size_t)n : sizeof zeros;
		if (put_quiet(s, zeros, part, e))
			return -1;
		n -= part;
	}
	return 0;
}

int convert_put_header(const struct convert *c, unsigned f, gguf_write_put *to, void *arg,
                       struct err *e)
{
	const struct convert_file *file = &c->files[f];

	if (file->header)
		return to(arg, file->header, file->header_size, e);
	return gguf_write_header(&c->w, f, to, arg, e);
}

/* --- bytes in ------------------------------------------------------------------------------ */

/* Waits until the stream has something to read, or a signal asked to stop. */
static int wait_stream(const struct sink *s, int fd, struct err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	do {
		progress_add(s->progress, 0); /* whoever asks gets an answer though nothing comes */
		if (check_stop(s, e))
			return -1;
	} while (poll(&p, 1, 200) <= 0);
	return 0;
}

/* The next n bytes of the stream. */
static int read_stream(struct sink *s, int fd, void *p, size_t n, struct err *e)
{
	struct convert *c = s->c;
	size_t got = 0;

	while (got < n) {
		if (wait_stream(s, fd, e))
			return -1;
		ssize_t r = read(fd, (char *)p + got, n - got);
		if (r < 0 && errno != EINTR)
			return err_sys(e, "cannot read");
		if (r == 0)
			break;
		got += r > 0 ? (size_t)r : 0;
	}
	c->stream_at += got;
	if (got < n)
		return err_set(e, ERR_SHORT, "the stream ends at byte %llu, %zu more are needed",
		               (unsigned long long)c->stream_at, n - got);
	return 0;
}

static int skip_stream(struct sink *s, const struct convert_job *job, struct err *e)
{
	struct convert *c = s->c;

	while (c->stream_at < job->offset) {
		uint64_t n = job->offset - c->stream_at;
		if (read_stream(s, job->fd, s->buffer, n < COPY_STEP ? (size_t)n : COPY_STEP, e))
			return -1;
	}
	return 0;
}

/* A payload of the stream into an unlinked file: converting may need to look at it twice. */
static int spool(struct sink *s, const struct convert_job *job, struct err *e)
{
	struct convert *c = s->c;
	const char *dir = getenv("TMPDIR");

	if (c->spool < 0)
		c->spool = open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (c->spool < 0)
		return err_sys(e, "cannot make a temporary file in %s", dir && *dir ? dir : "/tmp");
	if (ftruncate(c->spool, 0) || lseek(c->spool, 0, SEEK_SET))
		return err_sys(e, "temporary file");
	for (uint64_t left = job->in_bytes; left;) {
		size_t n = left < COPY_STEP ? (size_t)left : COPY_STEP;
		if (read_stream(s, job->fd, s->buffer, n, e))
			return -1;
		if (io_write(c->spool, s->buffer, n, e))
			return err_in(e, "temporary file");
		left -= n;
	}
	return 0;
}

/* Within the kernel where nobody needs to see the bytes; *done tells how far that went. */
static int copy_in_kernel(struct sink *s, const struct convert_job *job, uint64_t *done,
                          struct err *e)
{
	off_t from = (off_t)job->offset;

	while (*done < job->bytes) {
		uint64_t left = job->bytes - *done;
		ssize_t n =
		    copy_file_range(job->fd, &from, s->file->fd, NULL,
		                    left < 16 * COPY_STEP ? (size_t)left : 16 * COPY_STEP, 0);
		if (n <= 0)
			return 0; /* not possible here, or the file ended: the plain way tells */
		*done += (uint64_t)n;
		s->at += (uint64_t)n;
		io_write_behind(s->file->fd, &s->synced, s->at);
		progress_add(s->progress, (uint64_t)n);
		if (check_stop(s, e))
			return -1;
	}
	return 0;
}

static int copy(struct sink *s, const struct convert_job *job, struct err *e)
{
	struct convert *c = s->c;
	uint64_t done = 0;

	if (!c->stream && !s->hashing && !s->verifying && copy_in_kernel(s, job, &done, e))
		return -1;
	while (done < job->bytes) {
		uint64_t left = job->bytes - done;
		/* compare() uses the other half. */
		size_t n = left < COPY_STEP / 2 ? (size_t)left : COPY_STEP / 2;
		if (c->stream ? read_stream(s, job->fd, s->buffer, n, e)
		              : io_pread(job->fd, s->buffer, n, job->offset + done, e))
			return -1;
		if (put(s, s->buffer, n, e))
			return -1;
		done += n;
	}
	return 0;
}

/* --- jobs ---------------------------------------------------------------------------------- */

static int retype(struct sink *s, uint64_t i, struct err *e)
{
	struct convert *c = s->c;
	struct convert_job *job = &c->jobs[i];
	struct retype *r;
	const struct retype_source source = {
	    .form = job->from,
	    .rows = job->rows,
	    .cols = job->cols,
	    .fd = c->stream ? c->spool : job->fd,
	    .offset = c->stream ? 0 : job->offset,
	    .factor = job->factor,
	    .swapped = job->swapped,
	    .suspect = c->from_hf,
	    .row = job->order == CONVERT_INTERLEAVE ? retype_interleave
	           : job->order == CONVERT_SEPARATE ? retype_separate
	                                            : NULL,
	    .row_arg = &job->heads,
	};
	/* The report is read for floats that may not have been trained to be ternary. */
	const struct retype_target target = {
	    .form = job->to,
	    .brief = c->masters || job->from.ternary.kind != TERNARY_NONE ||
	             job->to.ternary.kind == TERNARY_NONE,
	    .lossless = c->o->lossless,
	};

	if (retype_open(&r, &source, &target, c->threads, e))
		return -1;
	if (i + 1 < c->n_jobs && c->jobs[i + 1].scale_of_last) {
		float scale = retype_scale(r);
		memcpy(c->jobs[i + 1].made, &scale, sizeof scale);
	}
	int result = retype_write(r, put, s, e);
	if (!result && !s->verifying && !c->masters && quantize_is_untrained(retype_report(r)))
		c->untrained++;
	retype_close(r);
	return result;
}

static int put_job(struct sink *s, uint64_t i, struct err *e)
{
	const struct convert_job *job = &s->c->jobs[i];

	if (s->c->stream && (skip_stream(s, job, e) || (!job->copy && spool(s, job, e))))
		return -1;
	return job->made   ? put(s, job->made, job->bytes, e)
	       : job->copy ? copy(s, job, e)
	                   : retype(s, i, e);
}

static int run_job(struct sink *s, uint64_t i, struct err *e)
{
	struct convert_job *job = &s->c->jobs[i];

	progress_item(s->progress, job->name);
	hash_begin(&s->hash);
	if (put_job(s, i, e)) {
		if (s->stop && *s->stop)
			return -1;
		s->by_input = !s->failed && job->from_file;
		return s->by_input ? err_in(e, "%s: tensor %s", job->from_file, job->from_name)
		                   : err_in(e, "tensor %s", job->name);
	}
	if (s->hashing && !s->verifying)
		job->hash = hash_value(&s->hash);
	return put_zeros(s, job->padding, e);
}

/* Takes up where a partial file ends: position, sum of the file so far. */
static int skip_done(struct sink *s, uint64_t *first, struct err *e)
{
	struct convert *c = s->c;
	struct convert_file *f = s->file;

	*first = f->first;
	if (c->done <= f->first)
		return 0;
	*first = c->done < f->first + f->n ? c->done : f->first + f->n;
	s->at = *first < f->first + f->n ? c->jobs[*first].out_offset : f->size;
	progress_add(s->progress, s->at - f->header_size);
	s->progress->skipped += s->at - f->header_size;
	if (lseek(f->fd, (off_t)s->at, SEEK_SET) < 0)
		return err_sys(e, "%s", f->part);
	return s->hashing ? hash_add_fd(&f->hash, f->fd, 0, s->at, e) : 0;
}

static int run_file(struct sink *s, unsigned f, struct err *e)
{
	struct convert *c = s->c;
	struct convert_file *file = &c->files[f];
	uint64_t first;

	s->file = file;
	s->at = 0;
	hash_begin(&file->hash);
	if (s->verifying)
		first = file->first;
	else if (skip_done(s, &first, e))
		return -1;
	s->synced = s->at;
	if (!s->at && convert_put_header(c, f, put_quiet, s, e))
		return err_in(e, "header");
	for (uint64_t i = first; i < file->first + file->n; i++) {
		if (run_job(s, i, e) || (!s->verifying && convert_finish_job(c, i, e)))
			return -1;
	}
	if (!s->verifying)
		file->value = hash_value(&file->hash);
	return 0;
}

static uint64_t payload_bytes(const struct convert *c)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < c->n_jobs; i++)
		n += c->jobs[i].bytes;
	return n;
}

static int run_all(struct sink *s, struct err *e)
{
	struct convert *c = s->c;

	for (unsigned f = 0; f < c->n_files; f++)
		if (run_file(s, f, e)) {
			if (s->differs || s->by_input || (s->stop && *s->stop))
				return -1;
			return c->files[f].path ? err_in(e, "%s", c->files[f].path) : -1;
		}
	return 0;
}

static int start(struct convert *c, struct sink *s, struct progress *p,
                 const volatile sig_atomic_t *stop, struct err *e)
{
	*s = (struct sink){.c = c, .progress = p, .stop = stop};
	s->hashing = c->o->checksums || c->journal;
	s->buffer = mem_alloc(MEM_IO, COPY_STEP, e);
	if (!s->buffer)
		return -1;
	if (!c->threads && c->o->threads > 1 && threads_start(&c->threads, c->o->threads, e))
		return -1;
	return 0;
}

/* The sums of a file that was edited where it lies. */
static int hash_output(struct convert *c, struct err *e)
{
	struct convert_file *f = &c->files[0];
	int fd = c->g.parts[0].map.fd;

	for (uint64_t i = 0; i < c->n_jobs; i++) {
		struct convert_job *job = &c->jobs[i];
		struct hash h;
		hash_begin(&h);
		if (hash_add_fd(&h, fd, job->out_offset, job->bytes, e))
			return err_in(e, "%s: tensor %s", f->path, job->name);
		job->hash = hash_value(&h);
	}
	hash_begin(&f->hash);
	if (hash_add_fd(&f->hash, fd, 0, c->g.parts[0].size, e))
		return err_in(e, "%s", f->path);
	f->value = hash_value(&f->hash);
	return 0;
}

int convert_run(struct convert *c, struct progress *p, const volatile sig_atomic_t *stop,
                struct err *e)
{
	struct sink s;
	int r;

	if (c->patch)
		return convert_patch(c, e) || (c->o->checksums && hash_output(c, e)) ? -1 : 0;
	r = start(c, &s, p, stop, e) || convert_begin_output(c, e);
	p->total = payload_bytes(c);
	r = r || run_all(&s, e) || check_stop(&s, e) || convert_commit(c, e) ? -1 : 0;
	if (r)
		convert_abandon(c);
	if (!r && c->untrained)
		convert_add_note(
		    c,
		    "%llu matrices lose more than 10 %% of their energy: weights that were "
		    "not trained to be ternary make a useless model",
		    (unsigned long long)c->untrained);
	mem_free(s.buffer);
	return r;
}

/* The output is opened again under its final name. */
static int reopen(struct convert *c, struct err *e)
{
	for (unsigned f = 0; f < c->n_files; f++) {
		struct convert_file *file = &c->files[f];
		if (file->fd > STDERR_FILENO)
			close(file->fd);
		file->fd = -1;
		if (io_open(file->path, &file->fd, e))
			return err_in(e, "%s", file->path);
	}
	return 0;
}

int convert_verify(struct convert *c, struct progress *p, const volatile sig_atomic_t *stop,
                   struct err *e)
{
	struct sink s;
	int r;

	if (c->stream || !strcmp(c->o->output, "-"))
		return err_set(e, ERR_TROUBLE, "--verify needs files to read again");
	r = start(c, &s, p, stop, e) || reopen(c, e) ? -1 : 0;
	s.verifying = 1;
	p->total = payload_bytes(c);
	if (!r && run_all(&s, e))
		r = s.differs ? 1 : -1;
	mem_free(s.buffer);
	return r;
}
