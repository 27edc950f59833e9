/*
 * Workers wait at gates: a number that counts up, watched for a short time, then slept on.
 */
#include "threads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem.h"
#include "spin.h"

/* How often a waiter looks before it sleeps: some 20 to 100 microseconds, more than two parts of
 * equal work differ, less than anybody misses. */
#define SPINS 2000

/* A number that one side changes and others wait for. */
struct gate {
	_Atomic uint32_t value;
	_Atomic uint32_t sleepers;
	char apart[56]; /* what is written often lies in cache lines of its own */
};

struct threads {
	int count;
	int spins;
	void (*fn)(void *arg, int i, int count);
	void *arg;
	int stop;
	struct gate start;   /* counts the calls of threads_run */
	struct gate meeting; /* counts the barriers that were passed */
	struct gate turn;    /* whose turn it is */
	_Atomic uint32_t arrived;
	char apart[60];
	_Atomic long claimed;
	_Atomic uint32_t dry; /* threads that were told that nothing is left */
	int workers;          /* that really run */
	cpu_set_t *unpinned;  /* the caller's cores before threads_pin; NULL: it was not called */
	struct worker {
		struct threads *pool;
		int i;
		pthread_t id;
	} worker[];
};

/* CPUs of one quota: quota microseconds in every period; 0: none. */
static double cpus(double quota, double period)
{
	return quota > 0 && period > 0 ? quota / period : 0;
}

/* Room for a path below the root of the cgroup tree. */
#define FILE_MAX (2 * PATH_MAX)

/* cpu.max of version 2: "max 100000" or "150000 100000". */
static double quota_v2(const char *dir)
{
	char path[FILE_MAX + 64];
	double quota = 0, period = 0;

	snprintf(path, sizeof path, "%s/cpu.max", dir);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lf %lf", &quota, &period) != 2)
		quota = 0;
	fclose(f);
	return cpus(quota, period);
}

static double number_in(const char *dir, const char *file)
{
	char path[FILE_MAX + 64];
	double v = 0;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lf", &v) != 1)
		v = 0;
	fclose(f);
	return v;
}

static double quota_v1(const char *dir)
{
	return cpus(number_in(dir, "cpu.cfs_quota_us"), number_in(dir, "cpu.cfs_period_us"));
}

/* The smallest quota on the way from base/path up to base. */
static double quota_upwards(const char *base, const char *path, double (*read)(const char *dir))
{
	char dir[FILE_MAX];
	double least = 0;
	size_t stop = strlen(base);

	if ((size_t)snprintf(dir, sizeof dir, "%s%s", base, path) >= sizeof dir)
		return 0;
	for (;;) {
		double q = read(dir);

		if (q > 0 && (least == 0 || q < least))
			least = q;
		char *slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < stop)
			return least;
		*slash = '\0';
	}
}

/* Whether name is one of the words of a list that is separated by commas. */
static int lists(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; (p = strstr(p, name)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return 1;
	return 0;
}

/* One line of /proc/self/cgroup: "4:cpu,cpuacct:/path", in version 2 "0::/path". */
static double quota_of_line(char *line, const char *root)
{
	char *list = strchr(line, ':'), base[FILE_MAX];
	char *path = list ? strchr(list + 1, ':') : NULL;

	if (!path)
		return 0;
	*list++ = '\0';
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	if (!*list)
		return quota_upwards(root, path, quota_v2);
	if (!lists(list, "cpu"))
		return 0;
	snprintf(base, sizeof base, "%s/%s", root, list);
	if (access(base, F_OK))
		snprintf(base, sizeof base, "%s/cpu", root);
	return quota_upwards(base, path, quota_v1);
}

double threads_quota(const char *self, const char *root)
{
	char line[PATH_MAX];
	double least = 0;

	FILE *f = fopen(self, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof line, f)) {
		double q = quota_of_line(line, root);

		if (q > 0 && (least == 0 || q < least))
			least = q;
	}
	fclose(f);
	return least;
}

/* Room for more cores than any system has. */
#define CORES_MAX 16384
static const size_t mask_bytes = CORES_MAX / 8;

static int affinity(cpu_set_t *mask)
{
	memset(mask, 0, mask_bytes);
	return sched_getaffinity(0, mask_bytes, mask);
}

int threads_available(void)
{
	cpu_set_t mask[CORES_MAX / 8 / sizeof(cpu_set_t)];
	long n = affinity(mask) ? sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT_S(mask_bytes, mask);
	double quota = threads_quota("/proc/self/cgroup", "/sys/fs/cgroup");

	if (quota > 0 && ceil(quota) < (double)n)
		n = (long)ceil(quota);
	return n < 1 ? 1 : (int)n;
}

/* The core that is the i-th of the mask, counted around. */
static int core_of(const cpu_set_t *mask, int i)
{
	int n = CPU_COUNT_S(mask_bytes, mask), core = 0;

	for (i %= n;; core++)
		if (CPU_ISSET_S((size_t)core, mask_bytes, mask) && i-- == 0)
			return core;
}

static int pin(pthread_t id, int core)
{
	cpu_set_t one[CORES_MAX / 8 / sizeof(cpu_set_t)];

	memset(one, 0, sizeof one);
	CPU_SET_S((size_t)core, mask_bytes, one);
	return pthread_setaffinity_np(id, mask_bytes, one);
}

int threads_pin(struct threads *t, struct err *e)
{
	cpu_set_t *mask = t->unpinned ? t->unpinned : mem_calloc(MEM_OTHER, 1, mask_bytes, e);

	if (!mask)
		return -1;
	if (!t->unpinned && affinity(mask)) {
		mem_free(mask);
		return err_sys(e, "affinity");
	}
	t->unpinned = mask;
	for (int i = 0; i < t->count; i++) {
		int core = core_of(mask, i);

		errno = pin(i ? t->worker[i - 1].id : pthread_self(), core);
		if (errno)
			return err_sys(e, "thread %d to core %d", i, core);
	}
	return 0;
}

/* Waits until the value is no longer old. */
static void gate_wait(struct gate *g, uint32_t old, int spins)
{
	for (int i = 0; i < spins; i++) {
		if (atomic_load_explicit(&g->value, memory_order_acquire) != old)
			return;
		spin_pause();
	}
	atomic_fetch_add(&g->sleepers, 1);
	while (atomic_load(&g->value) == old)
		syscall(SYS_futex, &g->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
	atomic_fetch_sub(&g->sleepers, 1);
}

static void gate_pass(struct gate *g)
{
	atomic_fetch_add(&g->value, 1);
	if (atomic_load(&g->sleepers))
		syscall(SYS_futex, &g->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void threads_meet(struct threads *t, void (*step)(void *arg), void *arg)
{
	uint32_t now = atomic_load(&t->meeting.value);

	if (atomic_fetch_add(&t->arrived, 1) + 1 == (uint32_t)t->count) {
		atomic_store(&t->arrived, 0);
		if (step)
			step(arg);
		gate_pass(&t->meeting);
	} else {
		gate_wait(&t->meeting, now, t->spins);
	}
}

void threads_barrier(struct threads *t)
{
	if (t->count > 1)
		threads_meet(t, NULL, NULL);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct threads *t = w->pool;

	for (uint32_t seen = 0;; seen++) {
		gate_wait(&t->start, seen, t->spins);
		if (t->stop)
			return NULL;
		t->fn(t->arg, w->i, t->count);
		threads_barrier(t);
	}
}

void threads_run(struct threads *t, void (*fn)(void *arg, int i, int count), void *arg)
{
	t->fn = fn;
	t->arg = arg;
	atomic_store(&t->turn.value, 0);
	if (t->count > 1)
		gate_pass(&t->start);
	fn(arg, 0, t->count);
	threads_barrier(t);
}

long threads_claim(struct threads *t, long n)
{
	long i = atomic_fetch_add(&t->claimed, 1);

	if (i < n)
		return i;
	/* the last one to be told resets the counter, before it passes the barrier */
	if (atomic_fetch_add(&t->dry, 1) + 1 == (uint32_t)t->count) {
		atomic_store(&t->dry, 0);
		atomic_store(&t->claimed, 0);
	}
	return -1;
}

void threads_turn(struct threads *t, uint32_t i)
{
	uint32_t now;

	while ((now = atomic_load_explicit(&t->turn.value, memory_order_acquire)) != i)
		gate_wait(&t->turn, now, t->spins);
}

void threads_turn_end(struct threads *t)
{
	gate_pass(&t->turn);
}

void threads_split(size_t n, size_t step, int i, int count, size_t *first, size_t *last)
{
	size_t units = (n + step - 1) / step, k = (size_t)i, parts = (size_t)count;
	size_t each = units / parts, more = units % parts;

	*first = (each * k + (k < more ? k : more)) * step;
	*last = *first + (each + (k < more)) * step;
	*first = *first < n ? *first : n;
	*last = *last < n ? *last : n;
}

int threads_count(const struct threads *t)
{
	return t->count;
}

void threads_stop(struct threads *t)
{
	if (!t)
		return;
	t->stop = 1;
	gate_pass(&t->start);
	for (int i = 0; i < t->workers; i++)
		pthread_join(t->worker[i].id, NULL);
	if (t->unpinned)
		pthread_setaffinity_np(pthread_self(), mask_bytes, t->unpinned);
	mem_free(t->unpinned);
	mem_free(t);
}

static int start_workers(struct threads *t, struct err *e)
{
	pthread_attr_t attr;
	int rc = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREADS_STACK);
	for (int i = 0; i < t->count - 1 && !rc; i++) {
		struct worker *w = &t->worker[i];

		w->pool = t;
		w->i = i + 1;
		rc = pthread_create(&w->id, &attr, work, w);
		t->workers += !rc;
	}
	pthread_attr_destroy(&attr);
	errno = rc;
	return rc ? err_sys(e, "thread %d of %d", t->workers + 2, t->count) : 0;
}

int threads_start(struct threads **t, int count, struct err *e)
{
	size_t bytes = sizeof **t + (size_t)(count - 1) * sizeof(struct worker);

	*t = NULL;
	struct threads *p = mem_calloc(MEM_OTHER, 1, bytes, e);
	if (!p)
		return -1;
	p->count = count;
	p->spins = count <= threads_available() ? SPINS : 0;
	if (start_workers(p, e)) {
		threads_stop(p);
		return -1;
	}
	*t = p;
	return 0;
}
