/*
 * What tracking costs a program that loads a model and decodes, by alternating runs: each round
 *does the same with every level, and each level is compared with basic round by round.
 *
 *	bench_tracking PROGRAM MODEL
 *
 * Loading is a run of PROGRAM (bitnet-run) of one token, its whole processor time; decoding is 32
 * tokens in this process.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "gguf.h"
#include "session.h"
#include "track.h"

#define LEVELS 3
#define LOADS  60
#define ROUNDS 60
#define TOKENS 32

static const char *const level_name[LEVELS] = {"basic", "standard", "detailed"};

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median, and the half of the range in which it lies with 95 %: order statistics. */
static double median(double *v, int n, double *half)
{
	int k = (int)(0.98 * __builtin_sqrt(n));

	qsort(v, (size_t)n, sizeof *v, by_size);
	*half = (v[n / 2 + k < n ? n / 2 + k : n - 1] - v[n / 2 - k > 0 ? n / 2 - k : 0]) / 2;
	return v[n / 2];
}

static void print(const char *what, double seconds[LEVELS][ROUNDS], int n)
{
	double ratio[ROUNDS], half;

	for (int l = 1; l < LEVELS; l++) {
		for (int i = 0; i < n; i++)
			ratio[i] = seconds[l][i] / seconds[0][i];
		double m = median(ratio, n, &half);
		printf("  %-7s %-9s %+7.3f %% of basic's time, +- %.3f\n", what, level_name[l],
		       100 * (m - 1), 100 * half);
	}
}

/* Processor time of a run of the program that loads the model, seconds; negative: it failed. */
static double load(const char *program, const char *model, int level)
{
	struct rusage u;
	int status;

	fflush(stdout);
	pid_t pid = fork();

	if (pid == 0) {
		setenv("BITNET_MEM_TRACK", level_name[level], 1);
		if (freopen("/dev/null", "w", stdout))
			execl(program, program, "-q", "-t", "1", "-p", "a", "-n", "1", "-m", model,
			      (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &u) != pid || status)
		return -1;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double decode(struct session *s, struct err *e)
{
	const float *row;
	int32_t id = 1;

	session_rewind(s, 0, 0);
	double t = bench_clock(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < TOKENS; i++)
		if (session_eval(s, 0, &id, 1, e) || session_logits(s, 0, 1, &row, e))
			return -1;
	return (bench_clock(CLOCK_THREAD_CPUTIME_ID) - t) / 1e9;
}

static int loads(const char *program, const char *model)
{
	static double seconds[LEVELS][ROUNDS];

	for (int i = 0; i < LOADS; i++)
		for (int l = 0; l < LEVELS; l++) {
			seconds[l][i] = load(program, model, l);
			if (seconds[l][i] < 0)
				return -1;
		}
	printf("loading, %d runs each\n", LOADS);
	print("load", seconds, LOADS);
	return 0;
}

static int decodes(const char *model, struct err *e)
{
	static double seconds[LEVELS][ROUNDS];
	struct session_options o = {.plan = {.threads = 1, .ctx = 64, .logits_rows = 1}};
	struct session *s = NULL;
	struct gguf g = {0};
	int rc = gguf_open(&g, model, GGUF_FILES_ONLY, e) || session_open(&s, &g, &o, e);

	for (int i = -1; i < ROUNDS && !rc; i++)
		for (int l = 0; l < LEVELS && !rc; l++) {
			track_start((enum track_level)l);
			double t = decode(s, e);
			rc = t < 0;
			seconds[l][i < 0 ? 0 : i] = t;
		}
	track_start(TRACK_BASIC);
	mem_fail_at(UINT64_MAX);
	if (!rc && decode(s, e) >= 0) {
		printf("decoding, %d runs of %d tokens each; %llu allocations in %d tokens\n",
		       ROUNDS, TOKENS, (unsigned long long)mem_attempts(), TOKENS);
		print("decode", seconds, ROUNDS);
	}
	mem_fail_at(0);
	session_close(s);
	gguf_close(&g);
	return rc ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct err e = {0};

	if (argc != 3) {
		fprintf(stderr, "usage: bench_tracking PROGRAM MODEL\n");
		return 2;
	}
	if (decodes(argv[2], &e) || loads(argv[1], argv[2])) {
		fprintf(stderr, "bench_tracking: %s\n", *e.text ? e.text : argv[1]);
		return 2;
	}
	return 0;
}
