/*
 * Traces whose patterns are known: each site is made of independent traits (what sizes, how long
 * blocks live, when they come, on what device), and the labels follow from the traits, not from the
 * rules of pattern.c.
 */
#ifndef PATTERN_TRACES_H
#define PATTERN_TRACES_H

#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "pattern.h"

#define TRACE_MS    20000
#define TRACE_SITES 12
#define TRACE_MAX   200000

enum trait_size { SIZE_ONE, SIZE_RANDOM, SIZE_DOUBLING };
enum trait_life {
	LIFE_SHORT,   /* ends within a fortieth of the trace */
	LIFE_FOREVER, /* a leak */
	LIFE_BOUND,   /* a cache: fills up in the first tenth, then replaces */
	LIFE_SAW,     /* all end together now and then */
};
enum trait_time { TIME_REGULAR, TIME_RANDOM };

struct traits {
	enum trait_size size;
	enum trait_life life;
	enum trait_time time;
	bool device;
};

static inline struct traits traits_random(uint64_t *s)
{
	struct traits t = {.size = bench_mix(s) % 2 ? SIZE_ONE : SIZE_RANDOM,
	                   .life = (enum trait_life)(bench_mix(s) % 4),
	                   .time = bench_mix(s) % 2 ? TIME_REGULAR : TIME_RANDOM,
	                   .device = bench_mix(s) % 3 == 0};

	if (bench_mix(s) % 5 == 0)
		t.size = SIZE_DOUBLING;
	return t;
}

/* What must be found of a site with these traits. */
static inline bool traits_show(const struct traits *t, enum pattern_kind k)
{
	bool chain = t->size == SIZE_DOUBLING;

	switch (k) {
	case PATTERN_REPEAT:
		return !chain && t->size == SIZE_ONE && t->life == LIFE_SHORT;
	case PATTERN_INTERVAL:
		return t->time == TIME_REGULAR;
	case PATTERN_GROWTH:
		return !chain && t->life == LIFE_FOREVER;
	case PATTERN_CHAIN:
		return chain;
	default:
		return !chain && t->device && t->life == LIFE_SHORT;
	}
}

struct trace {
	struct timeline_event *event;
	size_t n;
	uint64_t address;
};

static inline void trace_add(struct trace *t, double ms, uint64_t address, uint64_t bytes,
                             unsigned site, bool device)
{
	if (t->n < TRACE_MAX && ms < TRACE_MS)
		t->event[t->n++] = (struct timeline_event){address,         bytes, (uint16_t)site,
		                                           (uint8_t)device, 0,     (uint32_t)ms};
}

static inline double uniform(uint64_t *s)
{
	return (double)(bench_mix(s) & 0xffffffff) / 4294967296.0;
}

static inline void site_trace(struct trace *t, const struct traits *k, unsigned site, uint64_t *s)
{
	unsigned births = k->size == SIZE_DOUBLING ? 8 + (unsigned)(bench_mix(s) % 12)
	                                           : 40 + (unsigned)(bench_mix(s) % 400);
	unsigned bound = births / 10 + 1;
	double period = (double)TRACE_MS / births, at = period * uniform(s);
	uint64_t size = 100 + bench_mix(s) % 100000, kept[512];
	unsigned held = 0;

	for (unsigned i = 0; i < births; i++) {
		uint64_t address = t->address += 64;

		if (k->size == SIZE_RANDOM)
			size = 16 + bench_mix(s) % 1000000;
		trace_add(t, at, address, size, site, k->device);
		if (k->size == SIZE_DOUBLING) {
			if (held)
				trace_add(t, at + 1, kept[0], 0, site, k->device);
			kept[0] = address;
			held = 1;
			size = (uint64_t)((double)size * (1.8 + 0.4 * uniform(s)));
		} else if (k->life == LIFE_SHORT) {
			trace_add(t, at + period * 0.7 * uniform(s), address, 0, site, k->device);
		} else if (k->life == LIFE_BOUND) {
			unsigned place = held < bound ? held++ : (unsigned)(bench_mix(s) % bound);

			if (i >= bound)
				trace_add(t, at, kept[place], 0, site, k->device);
			kept[place] = address;
		} else if (k->life == LIFE_SAW) {
			kept[held++] = address;
			for (; held > bound; held = 0)
				for (unsigned j = 0; j < held; j++)
					trace_add(t, at, kept[j], 0, site, k->device);
		}
		at += k->time == TIME_REGULAR
		          ? period * (0.9 + 0.2 * uniform(s))
		          : period * (uniform(s) < 0.5 ? 0.2 : 1.8) * 2 * uniform(s);
	}
}

static inline int trace_earlier(const void *a, const void *b)
{
	const struct timeline_event *x = a, *y = b;

	if (x->ms != y->ms)
		return x->ms < y->ms ? -1 : 1;
	return x->address < y->address ? -1 : x->address > y->address;
}

/* Counts of one kind over many traces. */
struct score {
	unsigned right, wrong, missed;
};

static inline void trace_score(uint64_t seed, struct score score[PATTERN_KINDS])
{
	struct trace t = {.event = calloc(TRACE_MAX, sizeof *t.event), .address = 4096};
	struct traits traits[TRACE_SITES];
	struct pattern_finding found[TRACE_SITES * PATTERN_KINDS];
	bool said[TRACE_SITES][PATTERN_KINDS] = {{false}};

	for (unsigned i = 0; i < TRACE_SITES && t.event; i++) {
		traits[i] = traits_random(&seed);
		site_trace(&t, &traits[i], i, &seed);
	}
	if (!t.event)
		return;
	qsort(t.event, t.n, sizeof *t.event, trace_earlier);
	long n = pattern_find(t.event, t.n, found, sizeof found / sizeof *found, NULL);
	for (long i = 0; i < n; i++)
		said[found[i].site][found[i].kind] = true;
	for (unsigned i = 0; i < TRACE_SITES; i++)
		for (unsigned k = 0; k < PATTERN_KINDS; k++) {
			bool is = traits_show(&traits[i], k);

			score[k].right += is && said[i][k];
			score[k].wrong += !is && said[i][k];
			score[k].missed += is && !said[i][k];
		}
	free(t.event);
}

static inline double score_precision(const struct score *s)
{
	return (double)s->right / (double)(s->right + s->wrong);
}

static inline double score_recall(const struct score *s)
{
	return (double)s->right / (double)(s->right + s->missed);
}

#endif
