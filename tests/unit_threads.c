/* The thread pool: every index once, barriers, claims, quotas. */
#include "threads.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#define ROUNDS 200

struct job {
	struct threads *t;
	_Atomic int calls[8];
	int step[8];
	_Atomic int wrong;
	_Atomic int claimed[100];
	long next_turn; /* only whose turn it is touches it */
	int met;        /* changed by one thread at a time */
};

static void count_calls(void *arg, int i, int count)
{
	struct job *j = arg;

	(void)count;
	atomic_fetch_add(&j->calls[i], 1);
}

/* Each thread writes its step; after the barrier all must see the same one everywhere. */
static void in_step(void *arg, int i, int count)
{
	struct job *j = arg;

	for (int s = 1; s <= ROUNDS; s++) {
		j->step[i] = s;
		threads_barrier(j->t);
		for (int k = 0; k < count; k++)
			if (j->step[k] != s)
				atomic_fetch_add(&j->wrong, 1);
		threads_barrier(j->t);
	}
}

static void meet_once(void *arg)
{
	struct job *j = arg;

	for (int k = 0; k < threads_count(j->t); k++)
		if (j->step[k] != j->met + 1)
			atomic_fetch_add(&j->wrong, 1);
	j->met++;
}

/* One thread counts, when all have arrived; all see that before they go on. */
static void meeting(void *arg, int i, int count)
{
	struct job *j = arg;

	(void)count;
	for (int s = 1; s <= ROUNDS; s++) {
		j->step[i] = s;
		threads_meet(j->t, meet_once, j);
		if (j->met != s)
			atomic_fetch_add(&j->wrong, 1);
		threads_barrier(j->t);
	}
}

static void claim_all(void *arg, int i, int count)
{
	struct job *j = arg;
	long part;

	(void)i;
	(void)count;
	for (int round = 0; round < ROUNDS; round++) {
		while ((part = threads_claim(j->t, 100)) >= 0)
			atomic_fetch_add(&j->claimed[part], 1);
		threads_barrier(j->t);
	}
}

/* Parts that are taken in any order and given on in theirs. */
static void in_turns(void *arg, int i, int count)
{
	struct job *j = arg;
	long part;

	(void)i;
	(void)count;
	while ((part = threads_claim(j->t, 1000)) >= 0) {
		threads_turn(j->t, (uint32_t)part);
		if (j->next_turn++ != part)
			j->wrong++;
		threads_turn_end(j->t);
	}
}

static void with_threads(int count)
{
	static struct job j;
	struct err e = {0};

	memset(&j, 0, sizeof j);
	CHECK_INT(threads_start(&j.t, count, &e), 0);
	if (!j.t)
		return;
	CHECK_INT(threads_count(j.t), count);
	for (int r = 0; r < ROUNDS; r++)
		threads_run(j.t, count_calls, &j);
	for (int i = 0; i < 8; i++)
		CHECK_INT(j.calls[i], i < count ? ROUNDS : 0);
	threads_run(j.t, in_step, &j);
	CHECK_INT(j.wrong, 0);
	threads_run(j.t, meeting, &j);
	CHECK_INT(j.wrong, 0);
	CHECK_INT(j.met, ROUNDS);
	threads_run(j.t, claim_all, &j);
	for (int i = 0; i < 100; i++)
		CHECK_INT(j.claimed[i], ROUNDS);
	for (int r = 0; r < 3; r++) {
		j.next_turn = 0;
		threads_run(j.t, in_turns, &j);
		CHECK_INT(j.next_turn, 1000);
		CHECK_INT(j.wrong, 0);
	}
	threads_stop(j.t);
}

static void one_thread(void)
{
	with_threads(1);
}

static void as_many_as_cores(void)
{
	with_threads(2);
}

static void more_than_cores(void)
{
	with_threads(7);
}

/* The cores that a thread may use: how many, and the first. */
struct cores {
	int count, first;
};

static struct cores cores_now(void)
{
	struct cores c = {0, -1};
	cpu_set_t mask;

	CHECK_INT(sched_getaffinity(0, sizeof mask, &mask), 0);
	c.count = CPU_COUNT(&mask);
	for (size_t i = CPU_SETSIZE; i-- > 0;)
		if (CPU_ISSET(i, &mask))
			c.first = (int)i;
	return c;
}

static void look(void *arg, int i, int count)
{
	struct cores *seen = arg;

	(void)count;
	seen[i] = cores_now();
}

static void pinning(void)
{
	struct cores before = cores_now(), seen[3], after;
	struct threads *t;
	struct err e = {0};

	CHECK_INT(threads_start(&t, 3, &e), 0);
	CHECK_INT(threads_pin(t, &e), 0);
	CHECK_INT(threads_pin(t, &e), 0);
	threads_run(t, look, seen);
	for (int i = 0; i < 3; i++)
		CHECK_INT(seen[i].count, 1);
	CHECK_INT(seen[0].first, before.first);
	if (before.count > 1)
		CHECK(seen[0].first != seen[1].first);
	threads_stop(t);
	/* the next pool finds all cores again */
	after = cores_now();
	CHECK(after.count == before.count && after.first == before.first);
	threads_stop(NULL);
}

static void splitting(void)
{
	for (size_t n = 0; n < 70; n++) {
		for (int count = 1; count < 6; count++) {
			size_t at = 0, first, last;

			for (int i = 0; i < count; i++) {
				threads_split(n, 4, i, count, &first, &last);
				CHECK_INT(first, at);
				CHECK(last >= first && last <= n);
				CHECK(last == n || last % 4 == 0);
				at = last;
			}
			CHECK_INT(at, n);
		}
	}
}

static void put(const char *dir, const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, file);
	FILE *f = fopen(path, "w");
	CHECK(f != NULL);
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static void quotas(void)
{
	char root[] = "/tmp/bitnet-quota-XXXXXX", self[64], dir[128];

	CHECK(mkdtemp(root) != NULL);
	snprintf(self, sizeof self, "%s/self", root);
	snprintf(dir, sizeof dir, "%s/a", root);
	mkdir(dir, 0700);
	put(root, "self", "0::/a\n");
	CHECK(threads_quota(self, root) == 0);
	put(dir, "cpu.max", "max 100000\n");
	CHECK(threads_quota(self, root) == 0);
	put(dir, "cpu.max", "250000 100000\n");
	CHECK(threads_quota(self, root) == 2.5);
	put(root, "cpu.max", "150000 100000\n"); /* the parent allows less */
	CHECK(threads_quota(self, root) == 1.5);
	unlink(strcat(strcpy(dir, root), "/cpu.max"));

	snprintf(dir, sizeof dir, "%s/cpu,cpuacct", root);
	mkdir(dir, 0700);
	put(root, "self", "5:cpuset:/\n4:cpu,cpuacct:/\n0::/none\n");
	put(dir, "cpu.cfs_quota_us", "-1\n");
	put(dir, "cpu.cfs_period_us", "100000\n");
	CHECK(threads_quota(self, root) == 0);
	put(dir, "cpu.cfs_quota_us", "50000\n");
	CHECK(threads_quota(self, root) == 0.5);
	CHECK(threads_quota("/nonexistent", root) == 0);
	snprintf(dir, sizeof dir, "rm -r %s", root);
	CHECK_INT(system(dir), 0);
	CHECK(threads_available() >= 1);
}

int main(void)
{
	RUN(one_thread);
	RUN(as_many_as_cores);
	RUN(more_than_cores);
	RUN(pinning);
	RUN(splitting);
	RUN(quotas);
	return unit_end();
}
