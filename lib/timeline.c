#include "timeline.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "spin.h"

#define RECORD sizeof(struct timeline_event)
_Static_assert(RECORD == 24, "the file's record");

struct head {
	char magic[8];
	uint64_t version;
	uint64_t text; /* bytes, whole records */
};
_Static_assert(sizeof(struct head) == RECORD, "the file is records from its start");
static const struct head head_now = {"bitnetTL", 1, 0};

/* Return addresses that a site may have. */
#define DEPTH 64

/* ---- writing ---- */

/* Made once and never ended, because a thread may be at it when the program ends. */
static struct writer {
	int fd; /* -1: no file */
	int lock;
	pid_t pid; /* who began it */
	size_t n;
	uint32_t start;
	struct timeline_event event[4096];
} * writer;

static uint32_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/* A disk that is full ends the file early, and nothing else. */
static void flush(struct writer *w)
{
	if (w->pid == getpid())
		io_write(w->fd, w->event, w->n * RECORD, NULL);
	w->n = 0;
}

static struct timeline_event *next(struct writer *w)
{
	if (w->n == sizeof w->event / RECORD)
		flush(w);
	return &w->event[w->n++];
}

bool timeline_on(void)
{
	return writer && writer->fd >= 0;
}

void timeline_put(const struct timeline_event *event)
{
	struct writer *w = writer;

	if (!w)
		return;
	spin_lock(&w->lock);
	if (w->fd >= 0) {
		struct timeline_event *to = next(w);

		*to = *event;
		to->ms = now_ms() - w->start;
	}
	spin_unlock(&w->lock);
}

void timeline_site(uint32_t id, const uint64_t *pc, unsigned n)
{
	struct writer *w = writer;

	if (!w)
		return;
	spin_lock(&w->lock);
	if (w->fd >= 0)
		*next(w) = (struct timeline_event){.site = (uint16_t)id, .bytes = n};
	for (unsigned i = 0; i < n && w->fd >= 0; i += 3) {
		uint64_t three[3] = {pc[i], i + 1 < n ? pc[i + 1] : 0, i + 2 < n ? pc[i + 2] : 0};

		memcpy(next(w), three, sizeof three);
	}
	spin_unlock(&w->lock);
}

/* The modules' text; cut where it is full. */
struct text {
	size_t n;
	char s[65536 - 65536 % sizeof(struct timeline_event)];
};

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct text *t = arg;
	uint64_t lo = UINT64_MAX, hi = 0;
	char self[4096] = "";

	(void)size;
	for (unsigned k = 0; k < info->dlpi_phnum; k++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[k];
		uint64_t at = info->dlpi_addr + h->p_vaddr;

		if (h->p_type != PT_LOAD)
			continue;
		lo = at < lo ? at : lo;
		hi = at + h->p_memsz > hi ? at + h->p_memsz : hi;
	}
	if (!info->dlpi_name[0] && readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		self[0] = 0;
	int n = snprintf(t->s + t->n, sizeof t->s - t->n, "%llx %llx %llx %s\n",
	                 (unsigned long long)lo, (unsigned long long)hi,
	                 (unsigned long long)info->dlpi_addr, self[0] ? self : info->dlpi_name);
	if (n < 0 || (size_t)n >= sizeof t->s - t->n)
		return 1;
	t->n += (size_t)n;
	return 0;
}

static int write_head(int fd, struct err *e)
{
	struct text t = {0};
	struct head h = head_now;

	dl_iterate_phdr(add_module, &t);
	memset(t.s + t.n, 0, sizeof t.s - t.n);
	h.text = (t.n + RECORD - 1) / RECORD * RECORD;
	return io_write(fd, &h, sizeof h, e) || io_write(fd, t.s, h.text, e) ? -1 : 0;
}

/* path with the process's number for "%p". */
static void expand(char *out, size_t cap, const char *path)
{
	const char *p = strstr(path, "%p");

	if (p)
		snprintf(out, cap, "%.*s%d%s", (int)(p - path), path, (int)getpid(), p + 2);
	else
		snprintf(out, cap, "%s", path);
}

static bool writer_ready(void)
{
	if (writer)
		return true;
	struct writer *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE,
	                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w == MAP_FAILED)
		return false;
	w->fd = -1;
	writer = w;
	return true;
}

int timeline_begin(const char *path, struct err *e)
{
	char name[4096];

	timeline_end();
	expand(name, sizeof name, path);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_sys(e, "%s: cannot write", name);
	if (!writer_ready() || write_head(fd, e)) {
		close(fd);
		return writer ? err_in(e, "%s", name)
		              : err_set(e, ERR_TROUBLE, "%s: no memory for a trace", name);
	}
	writer->pid = getpid();
	writer->start = now_ms();
	writer->fd = fd;
	return 0;
}

void timeline_end(void)
{
	struct writer *w = writer;

	if (!w)
		return;
	spin_lock(&w->lock);
	if (w->fd >= 0) {
		flush(w);
		close(w->fd);
	}
	w->fd = -1;
	spin_unlock(&w->lock);
}

/* ---- reading ---- */

/* The text's lines as modules. */
static int read_modules(struct timeline *t, const char *text, size_t n, struct err *e)
{
	char *copy = mem_strndup(MEM_IO, text, n, e), *save = NULL;
	int rc = copy ? 0 : -1;

	for (char *l = copy ? strtok_r(copy, "\n", &save) : NULL; l && !rc;
	     l = strtok_r(NULL, "\n", &save)) {
		struct timeline_module m = {0};
		char *p = l;

		m.lo = strtoull(p, &p, 16);
		m.hi = strtoull(p, &p, 16);
		m.base = strtoull(p, &p, 16);
		m.path = mem_strndup(MEM_IO, p + (*p == ' '), strlen(p + (*p == ' ')), e);
		void *grown = mem_realloc(MEM_IO, t->module, t->modules + 1, sizeof m, e);
		if (grown) {
			t->module = grown;
			t->module[t->modules++] = m;
		} else {
			mem_free(m.path);
		}
		rc = grown && m.path ? 0 : -1;
	}
	mem_free(copy);
	return rc;
}

/* The site that stands at record r: the records behind it that it takes; negative: it is cut, or no
 * site. */
static long read_site(struct timeline *t, const struct timeline_event *r, size_t left)
{
	size_t records = (r->bytes + 2) / 3;

	if (r->bytes > DEPTH || records > left)
		return -1;
	t->site[r->site] = (struct timeline_site){(uint32_t)r->bytes, (const uint64_t *)(r + 1)};
	return (long)records;
}

static int read_records(struct timeline *t, const struct timeline_event *r, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (r[i].address) {
			t->event[t->n++] = r[i];
			continue;
		}
		long more = read_site(t, &r[i], n - i - 1);
		if (more < 0)
			return err_set(e, ERR_SHORT, "the site at record %zu is cut", i);
		i += (size_t)more;
	}
	return 0;
}

int timeline_open(struct timeline *t, const char *path, struct err *e)
{
	memset(t, 0, sizeof *t);
	if (io_map(&t->file, path, e))
		return -1;
	const struct head *h = (const struct head *)(const void *)t->file.data;
	uint64_t size = t->file.size;
	if (size < sizeof *h || memcmp(h->magic, head_now.magic, sizeof h->magic) != 0)
		return err_set(e, ERR_TROUBLE, "not a timeline of $BITNET_MEM_TRACE");
	if (h->version != head_now.version || h->text % RECORD)
		return err_set(e, ERR_TROUBLE, "timeline of version %llu, expected %llu",
		               (unsigned long long)h->version,
		               (unsigned long long)head_now.version);
	if (h->text > size - sizeof *h)
		return err_set(e, ERR_SHORT, "the list of modules is cut");
	uint64_t at = sizeof *h + h->text;
	size_t n = (size_t)((size - at) / RECORD);
	t->event = mem_calloc(MEM_IO, n ? n : 1, RECORD, e);
	t->site = t->event ? mem_calloc(MEM_IO, TIMELINE_SITES, sizeof *t->site, e) : NULL;
	if (!t->site || read_modules(t, (const char *)(h + 1), (size_t)h->text, e) ||
	    read_records(t, (const void *)(t->file.data + at), n, e))
		return -1;
	if ((size - at) % RECORD)
		return err_set(e, ERR_SHORT, "ends within record %zu", n);
	return 0;
}

void timeline_close(struct timeline *t)
{
	for (size_t i = 0; i < t->modules; i++)
		mem_free(t->module[i].path);
	mem_free(t->module);
	mem_free(t->site);
	mem_free(t->event);
	io_unmap(&t->file);
	memset(t, 0, sizeof *t);
}

const struct timeline_module *timeline_module(const struct timeline *t, uint64_t pc)
{
	for (size_t i = 0; i < t->modules; i++)
		if (pc >= t->module[i].lo && pc < t->module[i].hi)
			return &t->module[i];
	return NULL;
}
