/*
 * Memory pressure from files laid out like the kernel's, its hysteresis, and a watcher that a
 * service manager wakes.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "pressure.h"

static char root[] = "/tmp/unit_pressure.XXXXXX";

static void put(const char *path, const char *text)
{
	char name[512];

	snprintf(name, sizeof name, "%s%s", root, path);
	for (char *p = name + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
		*p = 0;
		mkdir(name, 0777);
	}
	FILE *f = fopen(name, "w");
	CHECK(f != NULL);
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static void take_away(void)
{
	char command[64];

	snprintf(command, sizeof command, "rm -rf %s/*", root);
	CHECK(system(command) == 0);
}

static struct pressure_reading read_it(enum pressure_level before, uint64_t hits)
{
	struct pressure_reading r;
	struct err e = {0};

	CHECK(pressure_read(&(struct pressure_options){.root = root}, before, hits, &r, &e) == 0);
	return r;
}

static void system_memory(void)
{
	put("/proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n");
	struct pressure_reading r = read_it(PRESSURE_NONE, 0);
	CHECK_STR(r.source, "system");
	CHECK_INT(r.left, 250 * 1024);
	CHECK_INT(r.level, PRESSURE_LOW);
	CHECK(r.some < 0);
	take_away();
}

static void levels_have_hysteresis(void)
{
	static const struct {
		int left;
		enum pressure_level before, level;
	} c[] = {
	    {310, PRESSURE_NONE, PRESSURE_NONE},        {310, PRESSURE_LOW, PRESSURE_LOW},
	    {340, PRESSURE_LOW, PRESSURE_NONE},         {190, PRESSURE_NONE, PRESSURE_MEDIUM},
	    {210, PRESSURE_MEDIUM, PRESSURE_MEDIUM},    {210, PRESSURE_NONE, PRESSURE_LOW},
	    {90, PRESSURE_NONE, PRESSURE_HIGH},         {49, PRESSURE_NONE, PRESSURE_CRITICAL},
	    {60, PRESSURE_CRITICAL, PRESSURE_CRITICAL}, {90, PRESSURE_CRITICAL, PRESSURE_HIGH},
	    {900, PRESSURE_CRITICAL, PRESSURE_NONE},
	};
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		char text[128];

		snprintf(text, sizeof text, "MemTotal: 1000 kB\nMemAvailable: %d kB\n", c[i].left);
		put("/proc/meminfo", text);
		CHECK_INT(read_it(c[i].before, 0).level, c[i].level);
	}
	take_away();
}

static void group_v2(void)
{
	put("/proc/meminfo", "MemTotal: 100000 kB\nMemAvailable: 90000 kB\n");
	put("/proc/self/cgroup", "0::/a/b\n");
	put("/sys/fs/cgroup/a/b/memory.max", "max\n");
	put("/sys/fs/cgroup/a/b/memory.current", "500\n");
	put("/sys/fs/cgroup/a/memory.max", "1000\n");
	put("/sys/fs/cgroup/a/memory.current", "970\n");
	put("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 50\n");
	put("/sys/fs/cgroup/a/memory.events", "low 0\nhigh 3\nmax 7\noom 0\n");
	struct pressure_reading r = read_it(PRESSURE_NONE, 7);
	CHECK_STR(r.source, "cgroup");
	CHECK_INT(r.left, 80);
	CHECK_INT(r.limit, 1000);
	CHECK_INT(r.hits, 7);
	CHECK_INT(r.level, PRESSURE_HIGH);
	put("/sys/fs/cgroup/a/memory.current", "100\n");
	CHECK_INT(read_it(PRESSURE_NONE, 7).level, PRESSURE_NONE);
	CHECK_INT(read_it(PRESSURE_NONE, 6).level, PRESSURE_HIGH); /* the limit was hit */
	take_away();
}

static void group_v1(void)
{
	put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/x\n0::/\n");
	put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2000\n");
	put("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1980\n");
	put("/sys/fs/cgroup/memory/x/memory.stat", "cache 1\ntotal_inactive_file 10\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1980\n");
	struct pressure_reading r = read_it(PRESSURE_NONE, 0);
	CHECK_STR(r.source, "cgroup");
	CHECK_INT(r.left, 30);
	CHECK_INT(r.level, PRESSURE_CRITICAL);
	take_away();
}

static void stall(void)
{
	put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n");
	put("/proc/pressure/memory", "some avg10=12.50 avg60=0.00 avg300=0.00 total=0\n"
	                             "full avg10=0.75 avg60=0.00 avg300=0.00 total=0\n");
	struct pressure_reading r = read_it(PRESSURE_NONE, 0);
	CHECK_INT(r.level, PRESSURE_MEDIUM);
	CHECK(r.some == 12.5 && r.full == 0.75);
	take_away();
}

static void no_source(void)
{
	struct pressure_reading r;
	struct err e = {0};

	CHECK(pressure_read(&(struct pressure_options){.root = root}, 0, 0, &r, &e) == -1);
	CHECK_STR(e.text, "no source of memory pressure can be read");
}

static void pool_limit(void)
{
	struct pool *p = NULL;
	struct pressure_reading r;

	put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n");
	CHECK(pool_init(&p, &(struct pool_options){.name = "p", .limit = 10 << 20}, NULL) == 0);
	void *b = pool_take(p, 9 << 20, NULL);
	CHECK(pressure_read(&(struct pressure_options){.root = root, .pool = p}, 0, 0, &r, NULL) ==
	      0);
	CHECK_STR(r.source, "pool");
	CHECK_INT(r.left, 1 << 20);
	pool_give(b);
	pool_fini(p);
	take_away();
}

static int seen = -1;

static void saw(void *arg, const struct pressure_reading *r)
{
	(void)arg;
	__atomic_store_n(&seen, (int)r->level, __ATOMIC_RELEASE);
}

static void wake_until(int fd, enum pressure_level level)
{
	for (int i = 0; i < 500 && __atomic_load_n(&seen, __ATOMIC_ACQUIRE) != (int)level; i++) {
		CHECK(write(fd, "x", 1) == 1);
		usleep(10000);
	}
	CHECK_INT(seen, level);
}

/* A watcher that sleeps for a minute but for what the environment names, woken by writes to fd, or
 * to what connects to the socket -fd. */
static void watch_by(int fd)
{
	struct pressure_options o = {.root = root, .interval_ms = 60000, .changed = saw};
	struct pressure *p = NULL;

	seen = -1;
	CHECK(pressure_start(&p, &o, NULL) == 0);
	CHECK_STR(pressure_woken_by(p), "$MEMORY_PRESSURE_WATCH");
	CHECK_INT(pressure_level(p), PRESSURE_NONE);
	if (fd < 0) {
		fd = accept(-fd, NULL, NULL);
		char got[16] = "";
		CHECK(read(fd, got, 5) == 5 && strcmp(got, "hello") == 0);
	}
	wake_until(fd, PRESSURE_MEDIUM); /* its word is enough */
	put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 20 kB\n");
	wake_until(fd, PRESSURE_CRITICAL);
	CHECK_INT(pressure_level(p), PRESSURE_CRITICAL);
	pressure_stop(p);
	close(fd);
}

static void woken_by_the_managers_pipe(void)
{
	char path[512];

	put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n");
	snprintf(path, sizeof path, "%s/pipe", root);
	CHECK(mkfifo(path, 0600) == 0);
	setenv("MEMORY_PRESSURE_WATCH", path, 1);
	watch_by(open(path, O_RDWR | O_NONBLOCK));
	unsetenv("MEMORY_PRESSURE_WATCH");
	pressure_stop(NULL);
	take_away();
}

static void woken_by_the_managers_socket(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n");
	snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", root);
	CHECK(bind(fd, (const struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0);
	setenv("MEMORY_PRESSURE_WATCH", a.sun_path, 1);
	setenv("MEMORY_PRESSURE_WRITE", "aGVsbG8=", 1);
	watch_by(-fd);
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	close(fd);
	take_away();
}

/* The machine at hand has some source. */
static void this_machine(void)
{
	struct pressure_reading r;

	CHECK(pressure_read(&(struct pressure_options){0}, 0, 0, &r, NULL) == 0);
	CHECK(r.limit > 0 && r.left <= r.limit);
	CHECK_STR(pressure_name(PRESSURE_MEDIUM), "medium");
}

int main(void)
{
	if (!mkdtemp(root))
		return 2;
	RUN(system_memory);
	RUN(levels_have_hysteresis);
	RUN(group_v2);
	RUN(group_v1);
	RUN(stall);
	RUN(no_source);
	RUN(pool_limit);
	RUN(woken_by_the_managers_pipe);
	RUN(woken_by_the_managers_socket);
	RUN(this_machine);
	rmdir(root);
	return unit_end();
}
