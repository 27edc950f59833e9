/*
 * The ledger, inside and outside together: this program starts itself with the library preloaded,
 * does a known amount of allocating in several threads, and the counters must say exactly that.
 */
#include "ledger.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

enum { THREADS = 20, ROUNDS = 20000, KEEP = 37, SIZE = 48, FORKED = 500 };

static void *volatile keep[THREADS][KEEP];

/* In the child: more threads than there are private counters and caches for blocks. */
static __attribute__((noinline)) void *work(void *arg)
{
	void *volatile *mine = arg;
	unsigned x = (unsigned)(size_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		x = x * 1664525u + 1013904223u;
		unsigned k = (x >> 16) % KEEP;
		free(mine[k]);
		mine[k] = malloc(SIZE);
	}
	for (int k = 0; k < KEEP; k++)
		if (!mine[k])
			mine[k] = malloc(SIZE);
	return NULL;
}

/* A forked child is recorded anew, and nothing that it does may reach its parent's counters. */
static __attribute__((noinline)) void forked(void)
{
	for (int i = 0; i < FORKED; i++)
		keep[i % THREADS][i % KEEP] = malloc(SIZE);
	usleep(100000);
	_exit(0);
}

static int child(void)
{
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, work, (void *)keep[i]))
			return 2;
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	pid_t pid = fork();
	if (pid == 0)
		forked();
	waitpid(pid, NULL, 0);
	return 0;
}

static struct ledger_shared shared;

/* Live blocks and bytes at the end at the sites of one kind. */
static void live(const struct ledger_proc *p, uint32_t kind, double *blocks, double *bytes)
{
	*blocks = *bytes = 0;
	for (uint32_t s = 1; s < p->n_sites; s++) {
		double b, y;
		if (p->sites[s].kind != kind)
			continue;
		ledger_expand(p, s, 0, 1, &b, &y, NULL, NULL);
		if (kind != LEDGER_HEAP || y == b * SIZE) {
			*blocks += b;
			*bytes += y;
		}
	}
}

static void run_child(const char *self)
{
	char preload[512];
	const char *slash = strstr(self, "/tests/");

	/* BUILD/tests/unit_ledger -> BUILD/libbitnet-ledger.so */
	snprintf(preload, sizeof preload, "%.*s/libbitnet-ledger.so", (int)(slash - self), self);
	pid_t pid = fork();
	if (pid == 0) {
		setenv("LD_PRELOAD", preload, 1);
		setenv(LEDGER_ENV, shared.path, 1);
		execl(self, self, "child", (char *)NULL);
		_exit(127);
	}
	int status = -1;
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	CHECK_INT(ledger_take(&shared, 0, NULL), 0);
}

static void counters_are_exact(void)
{
	double blocks, bytes;

	CHECK_INT(shared.n_procs, 2);
	if (shared.n_procs != 2)
		return;
	const struct ledger_proc *p = &shared.procs[0];
	live(p, LEDGER_HEAP, &blocks, &bytes);
	CHECK(blocks >= THREADS * KEEP && blocks <= THREADS * KEEP + 2);
	CHECK(bytes == blocks * SIZE);
	live(p, LEDGER_THREAD, &blocks, &bytes);
	CHECK_INT(blocks, 0);
	ledger_expand(p, 0, 0, 1, &blocks, &bytes, NULL, NULL);
	CHECK(bytes == 0); /* nothing was dropped */
	CHECK_INT(p->live, 0);
}

static void a_forked_child_has_its_own(void)
{
	if (shared.n_procs != 2)
		return;
	const struct ledger_proc *p = &shared.procs[1];
	double blocks, bytes;

	CHECK(p->head->flags & LEDGER_FORKED);
	live(p, LEDGER_HEAP, &blocks, &bytes);
	/* It claims its place only when it turns out to live longer than to an exec. */
	CHECK(blocks > 0 && blocks < FORKED);
}

static void thinning_keeps_every_other_sample(void)
{
	struct ledger_shared l = {0};
	struct ledger_proc p = {.cap_tracks = 1};
	struct ledger_sample v[] = {{0, 1, 0, 8, 0}, {3, 2, 0, 16, 0}, {4, 3, 0, 24, 0}};
	struct ledger_track t = {v, 3, 3};
	double blocks[4];

	p.tracks = &t;
	p.last = 7;
	l.procs = &p;
	l.n_procs = 1;
	ledger_thin(&l);
	ledger_expand(&p, 0, 0, 4, blocks, NULL, NULL, NULL);
	/* Samples 0, 2, 4, 6. */
	CHECK(blocks[0] == 1 && blocks[1] == 1 && blocks[2] == 3 && blocks[3] == 3);
	CHECK_INT(p.last, 3);
}

static void a_table_has_parts_that_do_not_overlap(void)
{
	for (unsigned log2 = 10; log2 <= 24; log2 += 7)
		for (int i = 0; i < LEDGER_AT_END; i++) {
			CHECK(ledger_at((enum ledger_part)i, log2) % 4096 == 0);
			CHECK(ledger_at((enum ledger_part)(i + 1), log2) >
			      ledger_at((enum ledger_part)i, log2));
		}
}

int main(int argc, char **argv)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (argc > 1 && !strcmp(argv[1], "child"))
		return child();
	self[n > 0 ? n : 0] = 0;
	RUN(thinning_keeps_every_other_sample);
	RUN(a_table_has_parts_that_do_not_overlap);
	if (strstr(self, "/san-")) {
		SKIP(counters_are_exact, "a sanitizer and the ledger both replace malloc");
	} else {
		CHECK_INT(ledger_open(&shared, (struct ledger_options){LEDGER_STACK, 0, 16}, NULL),
		          0);
		run_child(self);
		RUN(counters_are_exact);
		RUN(a_forked_child_has_its_own);
		ledger_close(&shared);
	}
	return unit_end();
}
