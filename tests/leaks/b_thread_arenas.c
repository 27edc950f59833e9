/* Four threads, each with an arena of the allocator that fills in its own time. */
#include <pthread.h>

#include "leaks.h"

enum { THREADS = 4, HELD = 256 };

static pthread_barrier_t start, done;
static pthread_t thread[THREADS];
static int ending;

/* Replaces blocks of this thread; the first passes fill its slots. */
static void churn(void *held[HELD], uint64_t *seed)
{
	for (int i = 0; i < 24; i++) {
		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		size_t k = *seed >> 33 & (HELD - 1), n = 512 + (*seed >> 45 & 8191);
		free(held[k]);
		held[k] = leaks_touch(malloc(n), n);
	}
}

static void *worker(void *arg)
{
	void *held[HELD] = {0};
	uint64_t seed = (uintptr_t)arg;
	for (;;) {
		pthread_barrier_wait(&start);
		if (ending)
			break;
		churn(held, &seed);
		pthread_barrier_wait(&done);
	}
	for (int i = 0; i < HELD; i++)
		free(held[i]);
	return NULL;
}

static void begin(void)
{
	pthread_barrier_init(&start, NULL, THREADS + 1);
	pthread_barrier_init(&done, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, worker,
		                   (void *)(uintptr_t)leaks_random(1 << 30)))
			leaks_die("pthread_create");
}

static void step(unsigned i)
{
	(void)i;
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&done);
}

static void end(void)
{
	ending = 1;
	pthread_barrier_wait(&start);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = begin, .step = step, .end = end});
}
