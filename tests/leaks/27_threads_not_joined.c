/* A thread per step that ends and is not joined: its stack stays. */
#include <pthread.h>

#include "leaks.h"

static void *prefetch(void *arg)
{
	return arg;
}

SITE static void prefetch_start(void)
{
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 256 * 1024);
	if (pthread_create(&t, &a, prefetch, NULL) != 0)
		leaks_die("pthread_create");
	pthread_attr_destroy(&a);
}

static void step(unsigned i)
{
	(void)i;
	prefetch_start();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
