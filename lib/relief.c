#include "relief.h"

#include <pthread.h>
#include <signal.h>

#include "cleanup.h"
#include "mem.h"
#include "resident.h"

/* How often pressure that stays is answered again, when what a request held could not be. */
#define AGAIN_MS 5000

struct relief {
	struct session *session;
	struct cleanup *cleanup;
	struct pressure *pressure;
	pthread_mutex_t use; /* of the session */
};

static size_t forget(void *arg)
{
	struct relief *r = arg;
	uint64_t before = resident_bytes();

	if (pthread_mutex_trylock(&r->use))
		return 0;
	session_forget(r->session);
	pthread_mutex_unlock(&r->use);
	uint64_t after = resident_bytes();
	return before > after ? before - after : 0;
}

static int add_cleaners(struct relief *r, struct err *e)
{
	const struct cleaner cleaner[] = {
	    {"cache", 0, 0, PRESSURE_MEDIUM, forget, r},
	    {"pool", 0, 0, PRESSURE_MEDIUM, cleanup_pool, pool_default()},
	    {"malloc", 0, 0, PRESSURE_MEDIUM, cleanup_malloc, NULL},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof cleaner / sizeof *cleaner && !rc; i++)
		rc = cleanup_add(r->cleanup, &cleaner[i], e);
	return rc;
}

static int start(struct relief *r, struct err *e)
{
	struct pressure_options o = {.changed = cleanup_pressed};

	if (cleanup_init(&r->cleanup, e) || add_cleaners(r, e) ||
	    cleanup_schedule(r->cleanup, AGAIN_MS, UINT64_MAX, e))
		return -1;
	o.arg = r->cleanup;
	if (pressure_start(&r->pressure, &o, NULL))
		r->pressure = NULL;
	return 0;
}

int relief_start(struct relief **out, struct session *s, struct err *e)
{
	struct relief *r = mem_calloc(MEM_OTHER, 1, sizeof *r, e);
	sigset_t all, before;

	if (!r)
		return -1;
	r->session = s;
	pthread_mutex_init(&r->use, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = start(r, e);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		relief_stop(r);
	else
		*out = r;
	return rc;
}

void relief_stop(struct relief *r)
{
	if (!r)
		return;
	pressure_stop(r->pressure);
	cleanup_fini(r->cleanup);
	pthread_mutex_destroy(&r->use);
	mem_free(r);
}

void relief_busy(struct relief *r)
{
	pthread_mutex_lock(&r->use);
}

void relief_idle(struct relief *r)
{
	pthread_mutex_unlock(&r->use);
}

unsigned relief_count(struct relief *r)
{
	struct cleanup_report last;

	return cleanup_last(r->cleanup, &last);
}
