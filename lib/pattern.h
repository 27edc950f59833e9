/*
 * Habits of allocation that cost memory or time, found in a trace of events (track.h), each with
 * its evidence in numbers and the one thing to do that follows from it.  A finding is a decision by
 * fixed rules, written at each kind; how often they are right is measured (bench_upkeep).
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdio.h>

#include "pool.h"
#include "timeline.h"
#include "track.h"

enum pattern_kind {
	PATTERN_REPEAT,   /* a site takes one size over and over, and at most few at a time */
	PATTERN_INTERVAL, /* a site takes blocks at a regular distance in time */
	PATTERN_GROWTH,   /* a site's live bytes grow through the trace */
	PATTERN_CHAIN,    /* a block is replaced by one about twice its size, several times */
	PATTERN_DEVICE,   /* blocks of a device live shortly, again and again */
	PATTERN_KINDS
};

/* "repeat", ... */
const char *pattern_name(enum pattern_kind k);

struct pattern_finding {
	enum pattern_kind kind;
	uint32_t site;
	uint64_t count; /* blocks that show it */
	uint64_t bytes; /* REPEAT, DEVICE: of each; GROWTH: kept at the end; CHAIN: of the last */
	double value;   /* INTERVAL: ms apart; GROWTH: share of taken blocks that stay; else 0 */
};

/* Finds at most max patterns in n events; how many.  Below 8 blocks of a site nothing is said.
 * Negative: no memory. */
long pattern_find(const struct timeline_event *event, size_t n, struct pattern_finding *found,
                  size_t max, struct err *e);

/* One line of evidence and one of advice; where is the site's name. */
void pattern_print(const struct pattern_finding *f, const char *where, FILE *out);

/* How broken up a pool is: shares of 0 to 1. */
struct pattern_fragments {
	double outside; /* of the idle bytes, what is not in the longest idle run */
	double inside;  /* of the bytes of units in use, what is not asked for */
	double stock;   /* of the mapped bytes, what is idle and may be resident */
};
void pattern_fragments(struct pool *p, uint64_t asked, struct pattern_fragments *f);

#endif
