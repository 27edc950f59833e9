/*
 * What the programs of the leak catalogue share: options, steps, a reproducible random number,
 * and the ordinary allocation work among which a leak has to be found.
 *
 *	PROGRAM [-n STEPS] [-s SEED] [-j PERCENT] [-p MICROSECONDS]
 *
 * -j varies the sizes of all blocks by up to PERCENT (0: none), -p is the pause behind each step.
 * Behind each step a line "step" goes to the descriptor $BITNET_LEAKCHECK_FD, if there is one;
 * "error" in front of it tells that the step contained a failure that the program provoked.
 * Exit status: 0; 77 when the program needs a device that is not there; 2 for trouble.
 *
 * A program is three functions and a main of one line.  The function that makes the leaking
 * allocation is marked SITE and named in catalogue.tsv.
 */
#ifndef LEAKS_H
#define LEAKS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>

/* Keeps the frame of a function that the catalogue names. */
#define SITE __attribute__((noinline, unused))

enum { LEAKS_TROUBLE = 2, LEAKS_SKIP = 77 };

struct leaks_program {
	void (*begin)(void); /* may be NULL */
	void (*step)(unsigned i);
	void (*end)(void); /* may be NULL */
};

static uint64_t leaks_state;
static unsigned leaks_jitter = 20;
static int leaks_fd = -1;

static inline void leaks_die(const char *what)
{
	perror(what);
	exit(LEAKS_TROUBLE);
}

static inline void leaks_skip(const char *why)
{
	printf("SKIP: %s\n", why);
	exit(LEAKS_SKIP);
}

/* Uniform in [0, n); splitmix64, so that neighbouring seeds differ at once. */
static inline uint64_t leaks_random(uint64_t n)
{
	uint64_t z = leaks_state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % n;
}

/* True in percent of the calls. */
static inline int leaks_chance(unsigned percent)
{
	return leaks_random(100) < percent;
}

/* n bytes, more or less: the mean stays n. */
static inline size_t leaks_vary(size_t n)
{
	size_t span = n * leaks_jitter / 100;
	return n - span + (size_t)leaks_random(2 * span + 1);
}

static inline void *leaks_check(void *p)
{
	if (!p)
		leaks_die("no memory");
	return p;
}

/* Writes to every page of p, so that it is resident. */
static inline void *leaks_touch(void *p, size_t n)
{
	memset(leaks_check(p), (int)(n & 0x7f) | 1, n);
	return p;
}

static inline void leaks_say(const char *line)
{
	if (leaks_fd >= 0 && write(leaks_fd, line, strlen(line)) < 0)
		leaks_die("BITNET_LEAKCHECK_FD");
}

/* Tells the watcher that this step contained a failure. */
static inline void leaks_error(void)
{
	leaks_say("error\n");
}

/* Blocks that live for some steps and are replaced one by one: 64 of up to 4 KiB. */
static inline void leaks_turn_over(void)
{
	static void *ring[64];
	for (int i = 0; i < 8; i++) {
		size_t k = (size_t)leaks_random(64), n = leaks_vary(2048);
		free(ring[k]);
		ring[k] = leaks_touch(malloc(n), n);
	}
}

/* The ordinary work of a step: some tens of short-lived blocks, freed out of order. */
static inline void leaks_work(void)
{
	void *p[48] = {0};
	for (int i = 0; i < 96; i++) {
		size_t k = (size_t)leaks_random(48);
		size_t n = (size_t)16 << leaks_random(11);
		free(p[k]);
		p[k] = leaks_touch(malloc(leaks_vary(n)), n - n * leaks_jitter / 100);
	}
	for (int i = 0; i < 48; i++)
		free(p[i]);
	leaks_turn_over();
}

static inline unsigned long leaks_number(const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);
	if (end == s || *end) {
		fprintf(stderr, "not a number: %s\n", s);
		exit(LEAKS_TROUBLE);
	}
	return n;
}

/* Descriptors are cheap here, and some programs leak one per step. */
static inline void leaks_raise_limit(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* Runs the program for the number of steps that was asked for, or steps. */
static inline int leaks_main(int argc, char **argv, unsigned steps, struct leaks_program p)
{
	unsigned pause = 500;
	const char *fd = getenv("BITNET_LEAKCHECK_FD");
	for (int c; (c = getopt(argc, argv, "n:s:j:p:")) != -1;) {
		if (c == 'n')
			steps = (unsigned)leaks_number(optarg);
		else if (c == 's')
			leaks_state = leaks_number(optarg);
		else if (c == 'j')
			leaks_jitter = (unsigned)leaks_number(optarg) % 100;
		else if (c == 'p')
			pause = (unsigned)leaks_number(optarg);
		else
			return LEAKS_TROUBLE;
	}
	if (fd)
		leaks_fd = (int)leaks_number(fd);
	leaks_raise_limit();
	if (p.begin)
		p.begin();
	for (unsigned i = 0; i < steps; i++) {
		leaks_work();
		p.step(i);
		leaks_say("step\n");
		if (pause)
			usleep((useconds_t)leaks_vary(pause));
	}
	if (p.end)
		p.end();
	return 0;
}

#endif
