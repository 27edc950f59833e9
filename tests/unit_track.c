/*
 * The ledger: every live block under the site that took it, at each level; what it costs in memory;
 * and blocks ended twice or never taken, reported with both sites.
 */
#include "unit.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "announce.h"
#include "timeline.h"
#include "track.h"

#define NOINLINE __attribute__((noinline))

static NOINLINE void *take_here(size_t n)
{
	void *p = mem_alloc(MEM_VOCAB, n, NULL);

	__asm__ volatile("" : : "r"(p) : "memory"); /* no tail call: the site stays in here */
	return p;
}

static NOINLINE void *take_there(size_t n)
{
	void *p = mem_calloc(MEM_KV, n, 1, NULL);

	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

struct found {
	struct track_site here, there;
	unsigned sites;
};

/* A function may hold several sites. */
static void join(struct track_site *sum, const struct track_site *s)
{
	uint64_t blocks = sum->blocks, bytes = sum->bytes;

	*sum = *s;
	sum->blocks += blocks;
	sum->bytes += bytes;
}

static void find(void *arg, const struct track_site *s)
{
	struct found *f = arg;
	char name[256];

	f->sites++;
	callsite_name(name, sizeof name, s->depth ? s->pc[0] : 0);
	if (s->id && strstr(name, "take_here"))
		join(&f->here, s);
	if (s->id && strstr(name, "take_there"))
		join(&f->there, s);
}

static void ledger_at(enum track_level level)
{
	struct found f = {0};
	void *p[300];

	track_start(level);
	for (unsigned i = 0; i < 300; i++)
		p[i] = i % 3 ? take_here(100 + i) : take_there(5000);
	for (unsigned i = 0; i < 150; i++)
		mem_free(p[i]);
	CHECK(track_sites(false, find, &f, NULL) == 0);
	CHECK_INT(f.here.blocks, 100);
	CHECK_INT(f.there.blocks, 50);
	CHECK_INT(f.there.bytes, 50 * 5000);
	CHECK_INT(f.here.least, 251);
	CHECK_INT(f.here.most, 399);
	CHECK_STR(mem_tag_name(f.here.tag), "vocab");
	CHECK_STR(mem_tag_name(f.there.tag), "kv");
	if (level == TRACK_DETAILED) {
		CHECK_INT(f.here.births, 200);
		CHECK_INT(f.here.deaths, 100);
		CHECK(f.here.depth >= 3);
	}
	for (unsigned i = 150; i < 300; i++)
		mem_free(p[i]);
	f = (struct found){0};
	track_sites(false, find, &f, NULL);
	CHECK_INT(f.here.blocks, 0);
	CHECK_INT(f.there.blocks, 0);
	track_start(TRACK_BASIC);
}

static void ledger_standard(void)
{
	ledger_at(TRACK_STANDARD);
}

static void ledger_detailed(void)
{
	ledger_at(TRACK_DETAILED);
}

static void report_names_the_site(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	track_start(TRACK_DETAILED);
	void *p = take_here(12345);
	CHECK(track_report(f, 1, NULL) == 1);
	fclose(f);
	CHECK(strstr(text, "12345 bytes in 1 block (vocab), ") != NULL);
	CHECK(strstr(text, "take_here (unit_track.c:") != NULL);
	free(text);
	mem_free(p);
	track_start(TRACK_BASIC);
}

/* The C library sorts without frame pointers: the stack goes on behind it by libunwind. */
static void *last;

static int take_and_compare(const void *a, const void *b)
{
	mem_free(last);
	last = take_here(3);
	return *(const int *)a - *(const int *)b;
}

static NOINLINE void sort_here(void)
{
	int v[5] = {5, 3, 4, 1, 2};

	qsort(v, 5, sizeof *v, take_and_compare);
	__asm__ volatile("" : : "r"(v) : "memory");
}

static void has_sort_here(void *arg, const struct track_site *s)
{
	int *found = arg;
	char name[256];

	for (unsigned i = 0; i < s->depth; i++)
		*found += strstr(callsite_name(name, sizeof name, s->pc[i]), "sort_here") != NULL;
}

static void stacks_go_through_code_without_frames(void)
{
	int found = 0;

	track_start(TRACK_DETAILED);
	sort_here();
	CHECK(track_sites(false, has_sort_here, &found, NULL) == 0);
#ifndef __SANITIZE_THREAD__ /* there the tables are not asked */
	CHECK_INT(found, 1);
#endif
	mem_free(last);
	track_start(TRACK_BASIC);
}

/* 24 bytes per live block, and 100 per distinct stack. */
static void tables_are_small(void)
{
	CHECK(sizeof(uint64_t[2]) <= 24);
	track_start(TRACK_DETAILED);
	size_t before = track_bytes();
	void *p = take_here(1);
	CHECK(track_bytes() - before <= 100 + 16);
	mem_free(p);
	track_start(TRACK_BASIC);
}

/* ---- misuse: in a child, whose standard error is read ---- */

static void free_twice(void)
{
	void *p = take_here(40);
	void *keep = take_here(40);

	mem_free(p);
	mem_free(p);
	mem_free(keep);
}

static void free_foreign(void)
{
	static char not_ours[64];

	mem_free(not_ours + 16);
	__asm__ volatile("" : : : "memory");
}

static void free_inside(void)
{
	char *p = take_here(400);

	memset(p, 0, 400);
	mem_free(p + 64);
}

static void free_inside_a_run(void)
{
	char *p = take_here(1 << 20);

	mem_free(p + 64);
	__asm__ volatile("" : : : "memory");
}

static const char *misuse(void (*fn)(void), enum track_level level)
{
	static char text[2048];
	int fd[2], status = 0;

	CHECK(pipe(fd) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		track_start(level);
		fn();
		_exit(0);
	}
	close(fd[1]);
	size_t n = 0;
	ssize_t r;
	while ((r = read(fd[0], text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	close(fd[0]);
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	return text;
}

static void misuse_is_reported(void)
{
	const char *t = misuse(free_twice, TRACK_DETAILED);
	CHECK(strstr(t, "ended twice") != NULL);
	CHECK(strstr(t, "now at free_twice (unit_track.c:") != NULL);
	CHECK(strstr(t, "taken at take_here (unit_track.c:") != NULL);
	CHECK(strstr(t, "ended at free_twice (unit_track.c:") != NULL);

	t = misuse(free_foreign, TRACK_STANDARD);
	CHECK(strstr(t, "not a block of this program's") != NULL);
	CHECK(strstr(t, "now at free_foreign (unit_track.c:") != NULL);

	CHECK(strstr(misuse(free_inside, TRACK_STANDARD), "not the start of a block") != NULL);
	CHECK(strstr(misuse(free_inside_a_run, TRACK_STANDARD), "not the start of a block") !=
	      NULL);
	CHECK(strstr(misuse(free_inside_a_run, TRACK_BASIC), "not the start of a block") != NULL);
	CHECK(strstr(misuse(free_twice, TRACK_BASIC), "ended twice") != NULL);
}

/* ---- the trace, and several threads ---- */

static void trace_has_every_event(void)
{
	char path[] = "/tmp/unit_track.XXXXXX";
	struct timeline t;
	struct err e = {0};
	char name[256];

	close(mkstemp(path));
	track_start(TRACK_DETAILED);
	mem_free(take_there(1)); /* a site that is known before the file begins */
	CHECK(track_trace(path, NULL) == 0);
	void *p = take_here(77), *q = take_there(5);
	mem_free(p);
	track_trace(NULL, NULL);
	mem_free(q);
	track_start(TRACK_BASIC);
	CHECK(timeline_open(&t, path, &e) == 0);
	CHECK_INT(t.n, 3);
	if (t.n == 3) {
		const struct timeline_event *v = t.event;

		CHECK(v[0].address == (uintptr_t)p && v[0].bytes == 77 && v[0].site != 0);
		CHECK(v[1].address == (uintptr_t)q && v[1].bytes == 5 && v[1].site != v[0].site);
		CHECK(v[2].address == (uintptr_t)p && v[2].bytes == 0 && v[2].site == v[0].site);
		CHECK(t.site[v[0].site].depth >= 3);
		callsite_name(name, sizeof name, t.site[v[0].site].pc[0]);
		CHECK(strstr(name, "take_here (unit_track.c:") != NULL);
		callsite_name(name, sizeof name, t.site[v[1].site].pc[0]);
		CHECK(strstr(name, "take_there (unit_track.c:") != NULL);
		const struct timeline_module *m = timeline_module(&t, t.site[v[0].site].pc[0]);
		CHECK(m && strstr(m->path, "unit_track"));
	}
	timeline_close(&t);
	CHECK(track_trace("/nowhere/at/all", &e) == -1);
	CHECK(strstr(e.text, "/nowhere/at/all: cannot write: ") != NULL);
	unlink(path);
}

/* Writes n bytes to a file and opens it as a timeline: the status, the text in e. */
static int open_bytes(const void *p, size_t n, struct timeline *t, struct err *e)
{
	char path[] = "/tmp/unit_track.XXXXXX";
	int fd = mkstemp(path);

	CHECK(write(fd, p, n) == (ssize_t)n);
	close(fd);
	*e = (struct err){0};
	int rc = timeline_open(t, path, e) ? e->status : 0;
	unlink(path);
	return rc;
}

static void damaged_timelines_are_refused(void)
{
	struct {
		char magic[8];
		uint64_t version, text;
		char module[24];
		struct timeline_event event[4];
	} f = {
	    "bitnetTL", 1, 24, "1000 2000 1000 /a b\n", {{.address = 64, .bytes = 10, .site = 7}}};
	struct timeline t;
	struct err e;

	f.event[1] = (struct timeline_event){.site = 7, .bytes = 4};
	CHECK_INT(open_bytes(&f, sizeof f, &t, &e), 0);
	CHECK_INT(t.n, 1);
	CHECK_INT(t.site[7].depth, 4);
	CHECK_STR(timeline_module(&t, 0x1fff)->path, "/a b");
	CHECK(!timeline_module(&t, 0x2000));
	timeline_close(&t);
	CHECK_INT(open_bytes(&f, sizeof f - 1, &t, &e), ERR_SHORT);
	CHECK_STR(e.text, "the site at record 1 is cut");
	timeline_close(&t);
	CHECK_INT(open_bytes(&f, sizeof f - 3 * sizeof f.event[0] + 5, &t, &e), ERR_SHORT);
	CHECK_STR(e.text, "ends within record 1");
	CHECK_INT(t.n, 1);
	timeline_close(&t);
	f.event[1].bytes = UINT64_MAX;
	CHECK_INT(open_bytes(&f, sizeof f, &t, &e), ERR_SHORT);
	timeline_close(&t);
	f.text = 24000;
	CHECK_INT(open_bytes(&f, sizeof f, &t, &e), ERR_SHORT);
	CHECK_STR(e.text, "the list of modules is cut");
	timeline_close(&t);
	f.version = 2;
	CHECK_INT(open_bytes(&f, sizeof f, &t, &e), ERR_TROUBLE);
	timeline_close(&t);
	CHECK_INT(open_bytes("bitnet", 6, &t, &e), ERR_TROUBLE);
	CHECK_STR(e.text, "not a timeline of $BITNET_MEM_TRACE");
	timeline_close(&t);
	CHECK_INT(open_bytes("", 0, &t, &e), ERR_TROUBLE);
	timeline_close(&t);
}

static NOINLINE void *many(void *arg)
{
	void *p[200];

	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 200; i++)
			p[i] = i % 2 ? take_here(50) : take_there(60);
		for (int i = 0; i < 200; i++)
			mem_free(p[i]);
	}
	return take_here(*(int *)arg ? 1000 : 1);
}

static void threads_share_sites(void)
{
	pthread_t t[4];
	void *kept[4];
	int arg[4] = {0, 1, 1, 1};
	struct found f = {0};

	track_start(TRACK_DETAILED);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, many, &arg[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], &kept[i]);
	CHECK(track_sites(false, find, &f, NULL) == 0);
	CHECK_INT(f.here.blocks, 4);
	CHECK_INT(f.here.bytes, 3001);
	for (int i = 0; i < 4; i++)
		mem_free(kept[i]);
	track_start(TRACK_BASIC);
}

#ifdef ANNOUNCE_ASAN
enum { BY_MALLOC = 1 };
#else
enum { BY_MALLOC = 0 };
#endif

int main(void)
{
	if (BY_MALLOC) {
		SKIP(ledger, "blocks are malloc's in this build");
		return unit_end();
	}
	RUN(ledger_standard);
	RUN(ledger_detailed);
	RUN(report_names_the_site);
	if (dlopen("libunwind.so.8", RTLD_NOW))
		RUN(stacks_go_through_code_without_frames);
	else
		SKIP(stacks_go_through_code_without_frames, "libunwind is not installed");
	RUN(tables_are_small);
	RUN(misuse_is_reported);
	RUN(trace_has_every_event);
	RUN(damaged_timelines_are_refused);
	RUN(threads_share_sites);
	return unit_end();
}
