#include "pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mem.h"
#include "pool_impl.h"

const char *pressure_name(enum pressure_level l)
{
	static const char *const name[] = {"none", "low", "medium", "high", "critical"};
	return name[l];
}

/* ---- small files of the kernel ---- */

/* The text of root/path (both may be long; a name that is cut does not exist); false: not there. */
static bool slurp(const char *root, const char *path, char *text, size_t cap)
{
	char name[1024];

	snprintf(name, sizeof name, "%s%s", root ? root : "", path);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, cap - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = 0;
	return true;
}

/* The number behind key at the start of a line. */
static bool number_of(const char *text, const char *key, uint64_t *n)
{
	size_t len = strlen(key);

	for (const char *l = text; l; l = strchr(l, '\n'), l += l != NULL)
		if (strncmp(l, key, len) == 0) {
			*n = strtoull(l + len, NULL, 10);
			return true;
		}
	return false;
}

static double percent_of(const char *text, const char *key)
{
	const char *l = strstr(text, key);

	return l ? strtod(l + strlen(key), NULL) : -1;
}

/* ---- sources ---- */

static void offer(struct pressure_reading *r, const char *source, uint64_t left, uint64_t limit)
{
	if (!limit)
		return;
	if (left > limit)
		left = limit;
	if (r->source && (double)left / (double)limit >= (double)r->left / (double)r->limit)
		return;
	r->source = source;
	r->left = left;
	r->limit = limit;
}

static void read_pool(const struct pressure_options *o, struct pressure_reading *r)
{
	if (!o->pool)
		return;
	size_t limit = o->pool->chunks.options.limit;
	size_t used = __atomic_load_n(&o->pool->chunks.used, __ATOMIC_RELAXED);
	offer(r, "pool", used < limit ? limit - used : 0, limit);
}

static void read_system(const char *root, struct pressure_reading *r)
{
	char text[4096];
	uint64_t all, left;

	if (slurp(root, "/proc/meminfo", text, sizeof text) && number_of(text, "MemTotal:", &all) &&
	    number_of(text, "MemAvailable:", &left))
		offer(r, "system", left * 1024, all * 1024);
}

/* Where a cgroup's numbers lie, by version. */
static const struct layout {
	const char *mount, *limit, *usage, *droppable, *hits_file, *hits_key;
} layout_v2 = {"/sys/fs/cgroup", "memory.max",    "memory.current",
               "inactive_file ", "memory.events", "max "},
  layout_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
               "total_inactive_file ",  "memory.failcnt",        ""};

static bool group_number(const char *root, const struct layout *l, const char *group,
                         const char *file, const char *key, uint64_t *n)
{
	char path[1024], text[8192];

	snprintf(path, sizeof path, "%s%s/%s", l->mount, group, file);
	if (!slurp(root, path, text, sizeof text) || text[0] == 'm')
		return false; /* absent, or "max" */
	return number_of(text, key, n);
}

/* One group.  A limit of more than 2^62 bytes is how v1 says that there is none. */
static void read_group(const char *root, const struct layout *l, const char *group,
                       struct pressure_reading *r)
{
	uint64_t limit, usage, droppable = 0, hits = 0;

	if (!group_number(root, l, group, l->limit, "", &limit) || limit > (uint64_t)1 << 62 ||
	    !group_number(root, l, group, l->usage, "", &usage))
		return;
	group_number(root, l, group, "memory.stat", l->droppable, &droppable);
	usage -= droppable < usage ? droppable : usage;
	offer(r, "cgroup", usage < limit ? limit - usage : 0, limit);
	if (group_number(root, l, group, l->hits_file, l->hits_key, &hits))
		r->hits += hits;
}

/* The group, and all above it; group is cut on the way. */
static void read_upwards(const char *root, const struct layout *l, char *group,
                         struct pressure_reading *r)
{
	size_t n = strcmp(group, "/") ? strlen(group) : 0;

	for (;;) {
		group[n] = 0;
		read_group(root, l, group, r);
		if (!n)
			return;
		while (n && group[--n] != '/')
			;
	}
}

/* Lines "ID:CONTROLLERS:/PATH": v2 has no controllers there. */
static void read_groups(const char *root, struct pressure_reading *r)
{
	char text[8192], *save = NULL;

	if (!slurp(root, "/proc/self/cgroup", text, sizeof text))
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;

		if (!group)
			continue;
		*group++ = 0;
		const struct layout *l = !names[1]                          ? &layout_v2
		                         : strcmp(names + 1, "memory") == 0 ? &layout_v1
		                                                            : NULL;
		if (l)
			read_upwards(root, l, group, r);
	}
}

static void read_stall(const char *root, struct pressure_reading *r)
{
	char text[512];

	r->some = r->full = -1;
	if (!slurp(root, "/proc/pressure/memory", text, sizeof text))
		return;
	r->some = percent_of(text, "some avg10=");
	r->full = percent_of(text, "full avg10=");
}

static enum pressure_level level_of(const struct pressure_reading *r, enum pressure_level before,
                                    bool hit)
{
	static const double below[] = {1.0, 0.30, 0.20, 0.10, 0.05};
	double share = (double)r->left / (double)r->limit;
	enum pressure_level l = PRESSURE_CRITICAL, stall = PRESSURE_NONE;

	while (l > PRESSURE_NONE && share >= below[l] + (l <= before ? PRESSURE_HYSTERESIS : 0))
		l--;
	if (r->some >= 10)
		stall = PRESSURE_MEDIUM;
	if (r->full >= 10 || hit)
		stall = PRESSURE_HIGH;
	return l > stall ? l : stall;
}

int pressure_read(const struct pressure_options *o, enum pressure_level before,
                  uint64_t hits_before, struct pressure_reading *r, struct err *e)
{
	memset(r, 0, sizeof *r);
	read_pool(o, r);
	read_groups(o->root, r);
	read_system(o->root, r);
	read_stall(o->root, r);
	if (!r->source)
		return err_set(e, ERR_TROUBLE, "no source of memory pressure can be read");
	r->level = level_of(r, before, r->hits > hits_before);
	return 0;
}

/* ---- the watcher ---- */

struct pressure {
	struct pressure_options o;
	pthread_t thread;
	int stop, wake;    /* descriptors; wake -1: none */
	short wake_events; /* what to wait for on it */
	const char *wake_name;
	int level; /* enum pressure_level, atomic */
	uint64_t hits;
};

/* Decodes base64 in place; the bytes. */
static size_t decode64(char *s)
{
	static const char digit[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0, n = 0;
	size_t out = 0;

	for (const char *p = s; *p && *p != '='; p++) {
		const char *d = strchr(digit, *p);

		if (!d)
			continue;
		bits = bits << 6 | (uint32_t)(d - digit);
		if (++n % 4 != 1)
			s[out++] = (char)(bits >> (6 - 2 * ((n - 1) % 4)));
	}
	return out;
}

/* Opens a file or pipe, connects to a socket. */
static int open_any(const char *path, int flags)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	if (stat(path, &st) || !S_ISSOCK(st.st_mode))
		return open(path, flags | O_NONBLOCK | O_CLOEXEC);
	if (strlen(path) >= sizeof a.sun_path)
		return -1;
	memcpy(a.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* What a service manager gave: a file, pipe or socket to wait on, and what to write to it first. */
static bool wake_by_manager(struct pressure *p)
{
	const char *path = getenv("MEMORY_PRESSURE_WATCH"), *text = getenv("MEMORY_PRESSURE_WRITE");
	struct stat st;

	if (!path || strcmp(path, "/dev/null") == 0)
		return false;
	int fd = open_any(path, text ? O_RDWR : O_RDONLY);
	if (fd < 0 || fstat(fd, &st)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (text) {
		char data[512];
		size_t n;

		snprintf(data, sizeof data, "%s", text);
		n = decode64(data);
		if (write(fd, data, n) != (ssize_t)n) {
			close(fd);
			return false;
		}
	}
	p->wake = fd;
	p->wake_events = S_ISREG(st.st_mode) ? POLLPRI : POLLIN;
	p->wake_name = "$MEMORY_PRESSURE_WATCH";
	return true;
}

/* 100 ms of stall in 2 s; without privilege windows must be multiples of 2 s. */
static void wake_by_psi(struct pressure *p)
{
	static const char trigger[] = "some 100000 2000000";
	int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, trigger, sizeof trigger) < 0) {
		close(fd);
		return;
	}
	p->wake = fd;
	p->wake_events = POLLPRI;
	p->wake_name = "psi";
}

/* woken: by who says that memory is short. */
static void look(struct pressure *p, bool woken)
{
	struct pressure_reading r;
	enum pressure_level before = pressure_level(p);

	if (pressure_read(&p->o, before, p->hits, &r, NULL))
		return;
	if (woken && r.level < PRESSURE_MEDIUM)
		r.level = PRESSURE_MEDIUM;
	p->hits = r.hits;
	__atomic_store_n(&p->level, (int)r.level, __ATOMIC_RELAXED);
	if (r.level != before && p->o.changed)
		p->o.changed(p->o.arg, &r);
}

static void *watch(void *arg)
{
	struct pressure *p = arg;
	char drop[256];
	bool woken = false;

	for (;;) {
		struct pollfd fd[2] = {{p->stop, POLLIN, 0}, {p->wake, p->wake_events, 0}};

		look(p, woken);
		woken = false;
		if (poll(fd, 2, (int)p->o.interval_ms) < 0 && errno != EINTR)
			return NULL;
		if (fd[0].revents)
			return NULL;
		if (fd[1].revents & (POLLERR | POLLHUP | POLLNVAL)) {
			close(p->wake); /* its source is gone: time alone wakes us from here on */
			p->wake = -1;
			continue;
		}
		woken = fd[1].revents != 0;
		while (fd[1].revents & POLLIN && read(p->wake, drop, sizeof drop) > 0)
			;
	}
}

int pressure_start(struct pressure **out, const struct pressure_options *o, struct err *e)
{
	struct pressure *p = mem_calloc(MEM_OTHER, 1, sizeof *p, e);

	if (!p)
		return -1;
	p->o = *o;
	if (!p->o.interval_ms)
		p->o.interval_ms = 1000;
	p->wake = -1;
	p->stop = eventfd(0, EFD_CLOEXEC);
	if (!wake_by_manager(p))
		wake_by_psi(p);
	struct pressure_reading first;
	int rc = p->stop < 0 ? err_sys(e, "watching memory pressure") : 0;
	if (!rc)
		rc = pressure_read(&p->o, PRESSURE_NONE, UINT64_MAX, &first, e);
	if (!rc) {
		p->hits = first.hits;
		errno = pthread_create(&p->thread, NULL, watch, p);
		rc = errno ? err_sys(e, "watching memory pressure") : 0;
	}
	if (rc) {
		if (p->stop >= 0)
			close(p->stop);
		if (p->wake >= 0)
			close(p->wake);
		mem_free(p);
		return -1;
	}
	*out = p;
	return 0;
}

void pressure_stop(struct pressure *p)
{
	uint64_t one = 1;

	if (!p)
		return;
	if (write(p->stop, &one, sizeof one) == sizeof one)
		pthread_join(p->thread, NULL);
	close(p->stop);
	if (p->wake >= 0)
		close(p->wake);
	mem_free(p);
}

enum pressure_level pressure_level(const struct pressure *p)
{
	return (enum pressure_level)__atomic_load_n(&p->level, __ATOMIC_RELAXED);
}

const char *pressure_woken_by(const struct pressure *p)
{
	return p->wake_name;
}
