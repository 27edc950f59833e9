/* A detached thread per step that waits for ever. */
#include <pthread.h>

#include "leaks.h"

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

SITE static void watcher_start(void)
{
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 128 * 1024);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &a, wait_for_ever, NULL) != 0)
		leaks_die("pthread_create");
	pthread_attr_destroy(&a);
}

static void step(unsigned i)
{
	(void)i;
	watcher_start();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
