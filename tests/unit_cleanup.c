/*
 * Compaction of handles (contents, pins, order), and cleanup whose effect is measured.
 */
#include "unit.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "handle.h"
#include "resident.h"

#define MiB ((size_t)1 << 20)

static uint64_t mix(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x9e3779b97f4a7c15u >> 16;
}

static void handles_edges(void)
{
	struct handles *h = NULL;
	struct err e = {0};

	CHECK(handles_init(&h, "store", 1 << 16, &e) == 0);
	CHECK(!handles_pin(h, 0) && !handles_pin(h, 7));
	handle a = handles_take(h, 0, &e), b = handles_take(h, 65, &e);
	CHECK(a && b && a != b);
	CHECK_INT(handles_size(h, b), 65);
	char *p = handles_pin(h, b);
	CHECK(p && (uintptr_t)p % 64 == 0);
	handles_give(h, b); /* pinned: stays */
	CHECK(handles_pin(h, b) == p);
	CHECK(!handles_take(h, 1 << 16, &e));
	CHECK_STR(e.text, "store: limit of 65536 bytes: 128 in use, 65536 more asked for");
	CHECK(!handles_take(h, SIZE_MAX, &e));
	CHECK(handles_take(h, 65536 - 128, &e) != 0);
	handles_unpin(h, b);
	handles_unpin(h, b);
	handles_give(h, b);
	handles_give(h, a);
	handles_give(h, 0);
	CHECK(!handles_pin(h, b));
	handles_fini(h);
	handles_fini(NULL);
	CHECK(handles_init(&h, "store", SIZE_MAX / 2, &e) == -1);
}

/* Random blocks, some pinned; after compaction all contents stand, no pinned one has moved, and no
 * two overlap. */
static void compaction_keeps_contents_and_pins(void)
{
	enum { N = 600 };
	struct handles *h = NULL;
	struct handle_report r;
	handle b[N] = {0};
	char *pin[N] = {0};
	uint64_t s = 88172645463325252u;

	CHECK(handles_init(&h, "store", 64 * MiB, NULL) == 0);
	for (int round = 0; round < 30; round++) {
		for (unsigned i = 0; i < N; i++) {
			if (mix(&s) % 3 == 0) {
				if (pin[i])
					handles_unpin(h, b[i]);
				pin[i] = NULL;
				handles_give(h, b[i]);
				size_t n = 1 + mix(&s) % 60000;
				b[i] = handles_take(h, n, NULL);
				memset(handles_pin(h, b[i]), (int)(i & 255), n);
				handles_unpin(h, b[i]);
			}
			if (b[i] && !pin[i] && mix(&s) % 20 == 0)
				pin[i] = handles_pin(h, b[i]);
		}
		handles_compact(h, &r);
		CHECK(r.after.extent <= r.before.extent);
		CHECK_INT(r.after.live, r.before.live);
		CHECK_INT(r.after.blocks, r.before.blocks);
		for (unsigned i = 0; i < N; i++) {
			char *p = handles_pin(h, b[i]);
			size_t bad = 0;

			for (size_t k = 0; p && k < handles_size(h, b[i]); k++)
				bad += (unsigned char)p[k] != (i & 255);
			CHECK_INT(bad, 0);
			CHECK(!pin[i] || pin[i] == p);
			handles_unpin(h, b[i]);
		}
	}
	for (unsigned i = 0; i < N; i++)
		if (pin[i])
			handles_unpin(h, b[i]);
	handles_compact(h, &r);
	CHECK_INT(r.after.extent, r.after.live);
	handles_fini(h);
}

/* A store that is full of holes takes a block that no hole could hold. */
static void holes_are_closed_when_needed(void)
{
	struct handles *h = NULL;
	handle b[16];

	CHECK(handles_init(&h, "store", 16 * 4096, NULL) == 0);
	for (int i = 0; i < 16; i++)
		b[i] = handles_take(h, 4096, NULL);
	for (int i = 0; i < 16; i += 2)
		handles_give(h, b[i]);
	CHECK(handles_take(h, 8 * 4096, NULL) != 0);
	CHECK(handles_take(h, 1, NULL) == 0);
	handles_fini(h);
}

static void trim_is_measured(void)
{
	struct pool *p = NULL;
	struct cleanup *c = NULL;
	struct cleanup_report r;
	enum { N = 64 };
	void *b[N];

	CHECK(pool_init(&p, &(struct pool_options){.name = "p", .keep = (size_t)1 << 40}, NULL) ==
	      0);
	CHECK(cleanup_init(&c, NULL) == 0);
	CHECK(cleanup_add(c, &(struct cleaner){"pool", 0, 0, PRESSURE_NONE, cleanup_pool, p},
	                  NULL) == 0);
	for (int i = 0; i < N; i++) {
		b[i] = pool_take(p, MiB, NULL);
		memset(b[i], 1, MiB);
	}
	for (int i = 0; i < N; i++)
		pool_give(b[i]);
	cleanup_run(c, &(struct cleanup_what){0}, &r);
	CHECK_INT(r.ran, 1);
	CHECK_INT(r.announced, N * MiB);
	CHECK(r.resident_before >= r.resident_after + r.announced * 95 / 100);
	cleanup_run(c, &(struct cleanup_what){0}, &r);
	CHECK_INT(r.announced, 0);
	cleanup_fini(c);
	pool_fini(p);
}

static size_t count_run(void *arg)
{
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return 0;
}

static void who_is_due(void)
{
	struct cleanup *c = NULL;
	int young = 0, old = 0, device = 0, pressed = 0;

	CHECK(cleanup_init(&c, NULL) == 0);
	cleanup_add(c, &(struct cleaner){"young", 0, 0, 0, count_run, &young}, NULL);
	cleanup_add(c, &(struct cleaner){"old", 0, 2, 0, count_run, &old}, NULL);
	cleanup_add(c, &(struct cleaner){"device", 3, 0, 0, count_run, &device}, NULL);
	cleanup_add(c, &(struct cleaner){"pressed", 0, 0, PRESSURE_HIGH, count_run, &pressed},
	            NULL);
	for (int i = 0; i < 32; i++)
		cleanup_run(c, &(struct cleanup_what){.devices = 1}, NULL);
	CHECK_INT(young, 32);
	CHECK_INT(old, 2);
	CHECK_INT(device, 0);
	CHECK_INT(pressed, 0);
	cleanup_run(c, &(struct cleanup_what){.devices = 1 << 3}, NULL);
	CHECK_INT(device, 1);
	cleanup_run(c, &(struct cleanup_what){.level = PRESSURE_HIGH}, NULL);
	CHECK_INT(old, 3);
	CHECK_INT(pressed, 1);
	cleanup_run(c, &(struct cleanup_what){.all = true}, NULL);
	CHECK_INT(old, 4);
	CHECK_INT(pressed, 1);
	cleanup_fini(c);
	cleanup_fini(NULL);
}

static void schedule_can_be_off(void)
{
	struct cleanup *c = NULL;
	struct cleanup_report r;
	int runs = 0;

	CHECK(cleanup_init(&c, NULL) == 0);
	cleanup_add(c, &(struct cleaner){"count", 0, 0, 0, count_run, &runs}, NULL);
	CHECK(cleanup_schedule(c, 1, 0, NULL) == 0);
	for (int i = 0; i < 1000 && cleanup_last(c, &r) < 3; i++)
		usleep(5000);
	CHECK(cleanup_last(c, &r) >= 3);
	CHECK(cleanup_schedule(c, 0, 0, NULL) == 0);
	unsigned n = cleanup_last(c, &r);
	usleep(20000);
	CHECK_INT(cleanup_last(c, &r), n);
	CHECK(cleanup_schedule(c, 1, (uint64_t)1 << 60, NULL) == 0); /* never so much */
	usleep(20000);
	CHECK_INT(cleanup_last(c, &r), n);
	cleanup_fini(c);
}

/* Waits for the nth run at most 5 s. */
static bool ran(struct cleanup *c, unsigned n)
{
	struct cleanup_report r;

	for (int i = 0; i < 1000 && cleanup_last(c, &r) < n; i++)
		usleep(5000);
	return cleanup_last(c, &r) >= n;
}

/* The schedule sleeps for an hour, but for pressure; what is only for higher pressure stays. */
static void pressure_runs_at_once(void)
{
	struct cleanup *c = NULL;
	struct cleanup_report r;
	int runs = 0, high = 0;

	CHECK(cleanup_init(&c, NULL) == 0);
	cleanup_add(c, &(struct cleaner){"old", 0, 2, 0, count_run, &runs}, NULL);
	cleanup_add(c, &(struct cleaner){"high", 0, 0, PRESSURE_HIGH, count_run, &high}, NULL);
	CHECK(cleanup_schedule(c, 3600000, (uint64_t)1 << 60, NULL) == 0);
	cleanup_pressed(c, &(struct pressure_reading){.level = PRESSURE_LOW});
	usleep(20000);
	CHECK_INT(cleanup_last(c, &r), 0);
	cleanup_pressed(c, &(struct pressure_reading){.level = PRESSURE_MEDIUM});
	CHECK(ran(c, 1));
	CHECK_INT(runs, 1);
	CHECK_INT(high, 0);
	cleanup_pressed(c, &(struct pressure_reading){.level = PRESSURE_HIGH});
	CHECK(ran(c, 2));
	CHECK_INT(high, 1);
	cleanup_pressed(c, &(struct pressure_reading){.level = PRESSURE_MEDIUM});
	usleep(20000);
	CHECK_INT(cleanup_last(c, &r), 2);
	cleanup_fini(c);
}

int main(void)
{
	RUN(handles_edges);
	RUN(compaction_keeps_contents_and_pins);
	RUN(holes_are_closed_when_needed);
	RUN(trim_is_measured);
	RUN(who_is_due);
	RUN(schedule_can_be_off);
	RUN(pressure_runs_at_once);
	return unit_end();
}
