#include "cleanup.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "handle.h"
#include "mem.h"
#include "resident.h"

struct cleanup {
	struct cleaner *cleaner;
	unsigned count, runs;
	struct cleanup_report last;
	pthread_mutex_t lock; /* of a run, and of what is above */
	/* the schedule */
	pthread_t thread;
	pthread_cond_t wake;
	unsigned interval_ms; /* 0: no thread */
	uint64_t threshold;
	enum pressure_level level; /* as cleanup_pressed told */
	bool pressed;              /* a run is due at once */
};

int cleanup_init(struct cleanup **out, struct err *e)
{
	struct cleanup *c = mem_calloc(MEM_OTHER, 1, sizeof *c, e);
	pthread_condattr_t monotonic;

	if (!c)
		return -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*out = c;
	return 0;
}

int cleanup_add(struct cleanup *c, const struct cleaner *w, struct err *e)
{
	struct cleaner *n = mem_realloc(MEM_OTHER, c->cleaner, c->count + (size_t)1, sizeof *n, e);

	if (!n)
		return -1;
	c->cleaner = n;
	c->cleaner[c->count++] = *w;
	return 0;
}

static bool is_due(const struct cleaner *w, const struct cleanup_what *what, unsigned run)
{
	bool device = !what->devices || (what->devices >> w->device & 1);
	bool age =
	    what->all || what->level >= PRESSURE_MEDIUM || run % (1u << 2 * w->generation) == 0;

	return device && age && what->level >= w->level;
}

static void run(struct cleanup *c, const struct cleanup_what *what, struct cleanup_report *r)
{
	memset(r, 0, sizeof *r);
	c->runs++;
	r->resident_before = resident_bytes();
	double t = clock_now();
	for (unsigned i = 0; i < c->count; i++)
		if (is_due(&c->cleaner[i], what, c->runs)) {
			r->announced += c->cleaner[i].run(c->cleaner[i].arg);
			r->ran++;
		}
	r->seconds = clock_now() - t;
	r->resident_after = resident_bytes();
	c->last = *r;
}

void cleanup_run(struct cleanup *c, const struct cleanup_what *what, struct cleanup_report *r)
{
	struct cleanup_report unused;

	pthread_mutex_lock(&c->lock);
	run(c, what, r ? r : &unused);
	pthread_mutex_unlock(&c->lock);
}

unsigned cleanup_last(struct cleanup *c, struct cleanup_report *r)
{
	pthread_mutex_lock(&c->lock);
	unsigned n = c->runs;
	*r = c->last;
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* ---- the schedule ---- */

static struct timespec later(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static void *serve(void *arg)
{
	struct cleanup *c = arg;
	struct cleanup_report r;
	uint64_t floor = resident_bytes();

	pthread_mutex_lock(&c->lock);
	while (c->interval_ms) {
		struct timespec until = later(c->interval_ms);

		while (c->interval_ms && !c->pressed &&
		       pthread_cond_timedwait(&c->wake, &c->lock, &until) != ETIMEDOUT)
			;
		if (!c->interval_ms)
			break;
		struct cleanup_what what = {.level = c->level};
		c->pressed = false;
		uint64_t now = resident_bytes();
		if (now < floor)
			floor = now;
		if (what.level < PRESSURE_MEDIUM && now - floor < c->threshold)
			continue;
		run(c, &what, &r);
		floor = r.resident_after;
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void stop(struct cleanup *c)
{
	pthread_mutex_lock(&c->lock);
	bool was = c->interval_ms != 0;
	c->interval_ms = 0;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (was)
		pthread_join(c->thread, NULL);
}

void cleanup_pressed(void *cleanup, const struct pressure_reading *r)
{
	struct cleanup *c = cleanup;

	pthread_mutex_lock(&c->lock);
	c->pressed |= r->level >= PRESSURE_MEDIUM && r->level > c->level;
	c->level = r->level;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

int cleanup_schedule(struct cleanup *c, unsigned interval_ms, uint64_t threshold, struct err *e)
{
	stop(c);
	if (!interval_ms)
		return 0;
	c->threshold = threshold;
	c->interval_ms = interval_ms;
	errno = pthread_create(&c->thread, NULL, serve, c);
	if (!errno)
		return 0;
	c->interval_ms = 0;
	return err_sys(e, "scheduling cleanup");
}

void cleanup_fini(struct cleanup *c)
{
	if (!c)
		return;
	stop(c);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	mem_free(c->cleaner);
	mem_free(c);
}

/* ---- cleaners ---- */

size_t cleanup_pool(void *pool)
{
	return pool_trim(pool);
}

size_t cleanup_handles(void *handles)
{
	struct handle_report r;

	handles_compact(handles, &r);
	return r.before.extent - r.after.extent;
}

size_t cleanup_malloc(void *unused)
{
	uint64_t before = resident_bytes();

	(void)unused;
	malloc_trim(0);
	uint64_t after = resident_bytes();
	return before > after ? before - after : 0;
}
