/* A pool of threads that is made when it is first wanted; its stacks stay. */
#include <pthread.h>

#include "leaks.h"

enum { THREADS = 6 };

static pthread_barrier_t start, done;
static pthread_t thread[THREADS];
static int running, ending;

static void *worker(void *arg)
{
	for (;;) {
		char stack[16384];
		pthread_barrier_wait(&start);
		if (ending)
			return arg;
		leaks_touch(stack, sizeof(stack));
		pthread_barrier_wait(&done);
	}
}

SITE static void pool_start(void)
{
	pthread_barrier_init(&start, NULL, THREADS + 1);
	pthread_barrier_init(&done, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, worker, NULL) != 0)
			leaks_die("pthread_create");
	running = 1;
}

static void step(unsigned i)
{
	static unsigned first;
	if (i == 0)
		first = (unsigned)leaks_random(12);
	if (i < first)
		return;
	if (!running)
		pool_start();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&done);
}

static void end(void)
{
	if (!running)
		return;
	ending = 1;
	pthread_barrier_wait(&start);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step, .end = end});
}
