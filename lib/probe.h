/*
 * Memory of a process and its descendants as the kernel tells it, read from outside.
 * What could not be measured is NaN, never zero.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>
#include <sys/types.h>

enum probe_series {
	PROBE_ANON = 0, /* bytes, RssAnon */
	PROBE_FILE,     /* bytes, RssFile */
	PROBE_SIZE,     /* bytes, VmSize */
	PROBE_DATA,     /* bytes, VmData */
	PROBE_SWAP,     /* bytes, VmSwap */
	PROBE_THREADS,
	PROBE_FDS,
	PROBE_MAPS,
	PROBE_CGROUP, /* bytes, of the control group: page cache and kernel memory included */
	PROBE_DEVICE, /* bytes, NVML by process */
	PROBE_COUNT
};

struct probe_info {
	const char *name, *unit; /* "RssAnon", "bytes" */
	double floor;            /* total growth that counts */
	double rate;             /* growth per step that does not matter */
};
const struct probe_info *probe_info(int s);

struct probe; /* private */

/* device: also ask NVML, when its library is there. */
struct probe *probe_open(int device);
void probe_close(struct probe *p);

/* Processes that belong to pid without being its descendants, and descendants that do not. */
struct probe_pids {
	const pid_t *also, *not ;
	size_t n_also, n_not;
};

/* The sums over pid and its descendants (at most 512).  Returns how many processes were read: 0
 * when pid has ended. */
size_t probe_take(struct probe *p, pid_t pid, struct probe_pids more, double out[PROBE_COUNT]);

/* What the kernel must walk all pages for, up to 10 ms for each GiB: memory with what is shared
 * divided among its holders, and what no other process has.  The same processes; NaN: not told. */
struct probe_rollup {
	double pss, dirty; /* bytes */
};
struct probe_rollup probe_rollup(pid_t pid, struct probe_pids more);

/* Whether /proc lets us read pid at all. */
int probe_may(pid_t pid);

/* Whether pid has a handler for the signal. */
int probe_catches(pid_t pid, int signal);

/* The least limit on memory that applies to pid: its control groups and the machine, bytes. */
double probe_limit(pid_t pid);

/* Whether the file of the process is linked without a loader (1), with one (0), unknown (-1). */
int probe_is_static(const char *path);

#endif
