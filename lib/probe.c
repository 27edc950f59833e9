#include "probe.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "probe_nvml.h"

#define TREE 512
#define KIB  1024.0

struct probe {
	struct nvml *nvml;
	pid_t cgroup_of; /* whose group path is */
	char path[PATH_MAX];
};

const struct probe_info *probe_info(int s)
{
	static const struct probe_info info[PROBE_COUNT] = {
	    [PROBE_ANON] = {"RssAnon", "bytes", 1024 * KIB, 8 * KIB},
	    [PROBE_FILE] = {"RssFile", "bytes", 1024 * KIB, 8 * KIB},
	    [PROBE_SIZE] = {"VmSize", "bytes", 1024 * KIB, 8 * KIB},
	    [PROBE_DATA] = {"VmData", "bytes", 1024 * KIB, 8 * KIB},
	    [PROBE_SWAP] = {"VmSwap", "bytes", 1024 * KIB, 8 * KIB},
	    [PROBE_THREADS] = {"threads", "threads", 8, 0.1},
	    [PROBE_FDS] = {"descriptors", "descriptors", 8, 0.1},
	    [PROBE_MAPS] = {"maps", "maps", 8, 0.1},
	    [PROBE_CGROUP] = {"cgroup", "bytes", 4096 * KIB, 64 * KIB},
	    [PROBE_DEVICE] = {"device", "bytes", 4096 * KIB, 64 * KIB},
	};
	return &info[s];
}

struct probe *probe_open(int device)
{
	struct probe *p = mem_calloc(MEM_OTHER, 1, sizeof *p, NULL);

	if (p && device)
		p->nvml = nvml_open();
	return p;
}

void probe_close(struct probe *p)
{
	if (!p)
		return;
	nvml_close(p->nvml);
	mem_free(p);
}

/* The whole file, NUL behind it; -1 when it cannot be read. */
static ssize_t slurp(const char *path, char *buf, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (have < cap - 1 && (n = read(fd, buf + have, cap - 1 - have)) > 0)
		have += (size_t)n;
	close(fd);
	buf[have] = 0;
	return (ssize_t)have;
}

static ssize_t slurp_pid(pid_t pid, const char *what, char *buf, size_t cap)
{
	char path[128];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	return slurp(path, buf, cap);
}

/* The number behind "NAME:" at the start of a line; NaN when it is not there. */
static double field(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (!strncmp(p, name, n) && p[n] == ':')
			return strtod(p + n + 1, NULL);
	return NAN;
}

static double count_fds(pid_t pid)
{
	char path[64];
	struct stat st;
	double n = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	/* Since Linux 6.2 the directory's size is the count. */
	if (stat(path, &st) == 0 && st.st_size > 0)
		return (double)st.st_size;
	DIR *d = opendir(path);
	if (!d)
		return NAN;
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static double count_maps(pid_t pid)
{
	char path[64], buf[65536];
	double lines = 0;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NAN;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (const char *p = buf; (p = memchr(p, '\n', (size_t)(buf + n - p))); p++)
			lines++;
	close(fd);
	return lines > 0 ? lines : NAN;
}

static int read_one(pid_t pid, double out[PROBE_COUNT])
{
	char text[4096];

	if (slurp_pid(pid, "status", text, sizeof text) <= 0)
		return 0;
	double size = field(text, "VmSize");
	if (isnan(size)) /* a zombie, or a thread of the kernel */
		return 0;
	out[PROBE_SIZE] = size * KIB;
	out[PROBE_ANON] = field(text, "RssAnon") * KIB;
	out[PROBE_FILE] = field(text, "RssFile") * KIB;
	out[PROBE_DATA] = field(text, "VmData") * KIB;
	out[PROBE_SWAP] = field(text, "VmSwap") * KIB;
	out[PROBE_THREADS] = field(text, "Threads");
	out[PROBE_FDS] = count_fds(pid);
	out[PROBE_MAPS] = count_maps(pid);
	return 1;
}

static int is_among(pid_t one, const pid_t *pid, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pid[i] == one)
			return 1;
	return 0;
}

static size_t add_pid(pid_t *pid, size_t n, pid_t more)
{
	if (n < TREE && !is_among(more, pid, n))
		pid[n++] = more;
	return n;
}

/* Children of the threads of a process; the first thread's only when there are many. */
static size_t add_children(pid_t *pid, size_t n, pid_t of)
{
	char what[64], text[8192], *p = text, *end;

	snprintf(what, sizeof what, "task/%d/children", (int)of);
	if (slurp_pid(of, what, text, sizeof text) <= 0)
		return n;
	for (long v; v = strtol(p, &end, 10), end != p; p = end)
		n = add_pid(pid, n, (pid_t)v);
	return n;
}

/* Path of the process's version 2 group below the mount; 0 when there is none. */
static int cgroup_path(pid_t pid, char *out, size_t cap)
{
	char text[4096];

	if (slurp_pid(pid, "cgroup", text, sizeof text) <= 0)
		return 0;
	char *p = strstr(text, "0::/");
	if (!p || (p != text && p[-1] != '\n'))
		return 0;
	p[strcspn(p, "\n")] = 0;
	return snprintf(out, cap, "/sys/fs/cgroup%s", p + 3) < (int)cap;
}

static double number_in(const char *dir, const char *file)
{
	char path[PATH_MAX + 64], text[64], *end;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	if (slurp(path, text, sizeof text) <= 0)
		return NAN;
	double v = strtod(text, &end);
	return end == text ? NAN : v;
}

/* The group counts only when it is not the root's: that one holds the whole machine. */
static double cgroup_used(struct probe *p, pid_t pid)
{
	if (p->cgroup_of != pid) {
		p->cgroup_of = pid;
		if (!cgroup_path(pid, p->path, sizeof p->path))
			p->path[0] = 0;
	}
	return p->path[0] ? number_in(p->path, "memory.current") : NAN;
}

/* Into all: pid, its descendants, and what else belongs to it; how many. */
static size_t family(pid_t pid, struct probe_pids more, pid_t all[TREE])
{
	size_t n = 1, kept = 0;

	all[0] = pid;
	for (size_t i = 0; i < more.n_also; i++)
		n = add_pid(all, n, more.also[i]);
	for (size_t i = 0; i < n; i++)
		if (!is_among(all[i], more.not, more.n_not))
			n = add_children(all, n, all[i]);
	for (size_t i = 0; i < n; i++)
		if (!is_among(all[i], more.not, more.n_not))
			all[kept++] = all[i];
	return kept;
}

size_t probe_take(struct probe *p, pid_t pid, struct probe_pids more, double out[PROBE_COUNT])
{
	pid_t all[TREE];
	size_t pids = family(pid, more, all), read = 0;

	for (int s = 0; s < PROBE_COUNT; s++)
		out[s] = NAN;
	for (size_t i = 0; i < pids; i++) {
		double one[PROBE_COUNT];
		for (int s = 0; s < PROBE_COUNT; s++)
			one[s] = NAN;
		if (!read_one(all[i], one))
			continue;
		for (int s = 0; s < PROBE_COUNT; s++)
			out[s] = isnan(out[s]) ? one[s] : isnan(one[s]) ? out[s] : out[s] + one[s];
		read++;
	}
	if (read) {
		out[PROBE_CGROUP] = cgroup_used(p, pid);
		if (p->nvml)
			out[PROBE_DEVICE] = nvml_used(p->nvml, all, pids);
	}
	return read;
}

struct probe_rollup probe_rollup(pid_t pid, struct probe_pids more)
{
	pid_t all[TREE];
	size_t pids = family(pid, more, all);
	struct probe_rollup sum = {NAN, NAN};
	char text[4096];

	for (size_t i = 0; i < pids; i++) {
		if (slurp_pid(all[i], "smaps_rollup", text, sizeof text) <= 0)
			continue;
		double pss = field(text, "Pss") * KIB, dirty = field(text, "Private_Dirty") * KIB;
		sum.pss = isnan(sum.pss) ? pss : sum.pss + pss;
		sum.dirty = isnan(sum.dirty) ? dirty : sum.dirty + dirty;
	}
	return sum;
}

int probe_may(pid_t pid)
{
	char path[64], text[64];

	/* What a foreign user's process refuses. */
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	return slurp(path, text, sizeof text) >= 0;
}

int probe_catches(pid_t pid, int signal)
{
	char text[4096];
	char *set =
	    slurp_pid(pid, "status", text, sizeof text) > 0 ? strstr(text, "\nSigCgt:") : NULL;

	return set && (strtoull(set + strlen("\nSigCgt:"), NULL, 16) >> (signal - 1) & 1);
}

double probe_limit(pid_t pid)
{
	char text[8192], path[PATH_MAX];
	double least =
	    slurp("/proc/meminfo", text, sizeof text) > 0 ? field(text, "MemTotal") * KIB : NAN;

	if (!cgroup_path(pid, path, sizeof path))
		return least;
	for (char *slash; strlen(path) >= strlen("/sys/fs/cgroup"); *slash = 0) {
		double max = number_in(path, "memory.max");
		if (!isnan(max) && max > 0 && (isnan(least) || max < least))
			least = max;
		slash = strrchr(path, '/');
	}
	return least;
}

int probe_is_static(const char *path)
{
	Elf64_Ehdr h;
	Elf64_Phdr ph;
	int fd = open(path, O_RDONLY | O_CLOEXEC), is = -1;

	if (fd < 0)
		return -1;
	if (pread(fd, &h, sizeof h, 0) == (ssize_t)sizeof h &&
	    !memcmp(h.e_ident, ELFMAG, SELFMAG) && h.e_ident[EI_CLASS] == ELFCLASS64) {
		is = 1;
		for (int i = 0; i < h.e_phnum; i++)
			if (pread(fd, &ph, sizeof ph,
			          (off_t)(h.e_phoff + (uint64_t)i * h.e_phentsize)) ==
			        (ssize_t)sizeof ph &&
			    ph.p_type == PT_INTERP)
				is = 0;
	}
	close(fd);
	return is;
}
