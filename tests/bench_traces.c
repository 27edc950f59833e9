/*
 * Fragmentation: what is resident beside what is live, at its peak and at the end, on four traces
 * and on traces recorded with $BITNET_MEM_TRACE; mem.h beside the other allocators.
 *
 *	bench_traces [TRACE...]		the table; TRACE is a recorded file
 *	bench_traces mem|malloc NAME	one cell: see NUMBERS
 */
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "mem.h"
#include "timeline.h"

/* What a cell prints: resident / live at the peak and at the end, and live bytes then. */
#define NUMBERS 4

static int ours;
static size_t live, peak;
static uint64_t seed = 88172645463325252u;

static uint64_t rnd(void)
{
	return bench_mix(&seed);
}

/* Bytes from a line of /proc/self/status. */
static double status(const char *key)
{
	char line[256];
	double kb = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			kb = strtod(line + strlen(key), NULL);
	if (f)
		fclose(f);
	return kb * 1024;
}

/* Every page is touched. */
static void *take(size_t n)
{
	char *p = ours ? mem_alloc(MEM_OTHER, n, NULL) : malloc(n);

	if (!p)
		exit(2);
	memset(p, 1, n);
	live += n;
	if (live > peak)
		peak = live;
	return p;
}

static void give(void *p, size_t n)
{
	if (!p)
		return;
	if (ours)
		mem_free(p);
	else
		free(p);
	live -= n;
}

static struct {
	void *p;
	size_t n;
} slot[1 << 20];

static void put(size_t i, size_t n)
{
	give(slot[i].p, slot[i].n);
	slot[i].n = n;
	slot[i].p = n ? take(n) : NULL;
}

/* Random replacement; sizes drift from 2 to 4 KiB. */
static void drift(void)
{
	for (size_t i = 0; i < 40000; i++)
		put(i, 64 + rnd() % 2048);
	for (size_t k = 0; k < 600000; k++)
		put(rnd() % 40000, 64 + rnd() % (2048 + k / 300));
}

/* Of 64 neighbours one survives; then the size doubles. */
static void comb(void)
{
	size_t kept = 0;

	for (size_t size = 64; size <= 2048; size *= 2) {
		size_t n = (32 << 20) / size, first = kept;

		for (size_t i = 0; i < n; i++)
			put(first + i, size);
		for (size_t i = 0; i < n; i++) {
			if (i % 64) {
				put(first + i, 0);
				continue;
			}
			slot[kept] = slot[first + i];
			if (kept != first + i)
				slot[first + i].p = NULL;
			kept++;
		}
	}
}

/* Twenty hot swaps of 400 tensors, one by one, with small survivors between. */
static void swaps(void)
{
	size_t kept = 400;

	for (size_t swap = 0; swap < 20; swap++)
		for (size_t i = 0; i < 400; i++) {
			put(i, (256 << 10) + (rnd() % 1024) * 1024 * (1 + swap % 3) / 2);
			if (i % 4 == 0)
				put(kept++, 200 + rnd() % 2000);
		}
}

/* 64 caches that grow by copying, 32 KiB a step. */
static void caches(void)
{
	size_t length[64] = {0};

	for (size_t k = 0; k < 6000; k++) {
		size_t i = rnd() % 64, n = (length[i] + 1) * 32 * 1024;

		if (length[i] > 20 + rnd() % 40) {
			put(i, 0);
			length[i] = 0;
			n = 32 * 1024;
		}
		void *p = take(n);
		if (slot[i].p) {
			memcpy(p, slot[i].p, slot[i].n);
			give(slot[i].p, slot[i].n);
		}
		slot[i].p = p;
		slot[i].n = n;
		length[i]++;
	}
}

/* Addresses of the recorded run name the blocks: a table by hash. */
static void recorded(const char *path)
{
	static uint64_t key[1 << 20];
	struct timeline t;
	struct err e = {0};

	if (timeline_open(&t, path, &e)) {
		fprintf(stderr, "bench_traces: %s: %s\n", path, e.text);
		exit(2);
	}
	for (size_t k = 0; k < t.n; k++) {
		size_t i = (size_t)(t.event[k].address * 0x9e3779b97f4a7c15u >> 44);

		while (key[i] && key[i] != t.event[k].address)
			i = (i + 1) & ((1 << 20) - 1);
		key[i] = t.event[k].address;
		put(i, t.event[k].bytes);
	}
	timeline_close(&t);
}

static const struct {
	const char *name;
	void (*run)(void);
} trace[] = {
    {"drift", drift},
    {"comb", comb},
    {"swaps", swaps},
    {"caches", caches},
};
#define TRACES (sizeof trace / sizeof *trace)

static int cell(const char *side, const char *name)
{
	/* The tables of this program are there before counting begins. */
	memset(slot, 1, sizeof slot);
	memset(slot, 0, sizeof slot);
	ours = strcmp(side, "mem") == 0;
	double before = status("VmRSS:");
	size_t i = 0;

	while (i < TRACES && strcmp(trace[i].name, name))
		i++;
	if (i < TRACES)
		trace[i].run();
	else
		recorded(name);
	double end = status("VmRSS:") - before, top = status("VmHWM:") - before;
	printf("%.3f %.3f %zu %zu\n", top / (double)peak, end / (double)(live ? live : peak), peak,
	       live);
	return 0;
}

/* What "SELF mem NAME" says of itself. */
static int run_ours(const char *self, const char *name, double *r)
{
	char command[1024];
	int got = 0;

	snprintf(command, sizeof command, "'%s' mem '%s'", self, name);
	FILE *f = popen(command, "r");
	while (f && got < NUMBERS && fscanf(f, "%lf", &r[got]) == 1)
		got++;
	if (f)
		pclose(f);
	return got == NUMBERS;
}

static void row(const char *self, const char *name)
{
	double r[BENCH_OTHERS + 1][NUMBERS], peaks[BENCH_OTHERS + 1], ends[BENCH_OTHERS + 1];
	const char *slash = strrchr(name, '/');
	char title[160], size[2][FMT_SIZE];
	int have[BENCH_OTHERS];

	if (!run_ours(self, name, r[0]))
		return;
	for (int i = 0; i < BENCH_OTHERS; i++)
		have[i] = bench_run_other(self, bench_other[i][1], name, r[i + 1], NUMBERS);
	for (int i = 0; i <= BENCH_OTHERS; i++) {
		peaks[i] = r[i][0];
		ends[i] = r[i][1];
	}
	snprintf(title, sizeof title, "%s, at the peak of %s", slash ? slash + 1 : name,
	         fmt_size(size[0], (uint64_t)r[0][2]));
	bench_bars(title, peaks, have);
	snprintf(title, sizeof title, "%s, at the end: %s", slash ? slash + 1 : name,
	         r[0][3] > 0 ? fmt_size(size[1], (uint64_t)r[0][3]) : "nothing, beside the peak");
	bench_bars(title, ends, have);
}

int main(int argc, char **argv)
{
	if (argc == 3 && (strcmp(argv[1], "mem") == 0 || strcmp(argv[1], "malloc") == 0))
		return cell(argv[1], argv[2]);
	setlocale(LC_CTYPE, "");
	printf("resident bytes beside live bytes\n\n");
	fflush(stdout);
	for (size_t i = 0; i < TRACES; i++)
		row(argv[0], trace[i].name);
	for (int i = 1; i < argc; i++)
		row(argv[0], argv[i]);
	return 0;
}
