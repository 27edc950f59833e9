#include "pattern.h"

#include <math.h>
#include <string.h>

/* Sites are numbers below this. */
#define SITES TRACK_SITES
#define LEAST 8 /* blocks before anything is said */

/* What is learned of a site in one pass. */
struct site {
	uint64_t births, deaths;
	uint64_t live, most_live; /* blocks */
	uint64_t live_bytes, half_bytes, quarter_bytes;
	uint64_t size, same; /* the size of the last block, and how many had the one before's */
	uint64_t life_ms;    /* sum over ended blocks */
	uint64_t doubled; /* births of 1.5 to 3 times the last one's size, which ended soon after */
	uint64_t last_bytes;
	uint32_t last_ms, first_ms;
	double gaps, gaps2; /* sums of distances between births, and of their squares */
	uint64_t distances;
	uint16_t device;
};

/* Live blocks by address: open addressing, a deleted entry keeps its place. */
struct block {
	uint64_t address, bytes;
	uint32_t ms;
	uint16_t site;
	uint8_t state; /* 0 never used, 1 live, 2 ended */
};

struct search {
	struct site *site;
	struct block *block;
	size_t mask;
};

static struct block *lookup(const struct search *s, uint64_t address)
{
	size_t i = (size_t)(address * 0x9e3779b97f4a7c15u >> 20) & s->mask;

	while (s->block[i].state && s->block[i].address != address)
		i = (i + 1) & s->mask;
	return &s->block[i];
}

static void born(struct search *s, const struct timeline_event *e)
{
	struct site *t = &s->site[e->site % SITES];
	struct block *b = lookup(s, e->address);

	if (t->births) {
		double gap = (double)(e->ms - t->last_ms);

		t->gaps += gap;
		t->gaps2 += gap * gap;
		t->distances++;
		t->same += e->bytes == t->size;
		if (e->bytes * 2 >= t->last_bytes * 3 && e->bytes <= t->last_bytes * 3)
			t->doubled++;
	} else {
		t->first_ms = e->ms;
	}
	t->births++;
	t->size = t->last_bytes = e->bytes;
	t->last_ms = e->ms;
	t->device = e->device;
	if (++t->live > t->most_live)
		t->most_live = t->live;
	t->live_bytes += e->bytes;
	*b = (struct block){e->address, e->bytes, e->ms, (uint16_t)(e->site % SITES), 1};
}

static void died(struct search *s, const struct timeline_event *e)
{
	struct block *b = lookup(s, e->address);

	if (b->state != 1)
		return;
	struct site *t = &s->site[b->site];
	t->deaths++;
	t->live--;
	t->live_bytes -= b->bytes;
	t->life_ms += e->ms - b->ms;
	b->state = 2;
}

/* ---- the rules ---- */

/* Nine of ten have the size of the one before, and no more live at once than a tenth of all. */
static bool is_repeat(const struct site *t)
{
	return t->same * 10 >= (t->births - 1) * 9 && t->most_live * 10 <= t->births;
}

/* The distances vary by less than a quarter of their mean, which is at least a clock's tick. */
static bool is_interval(const struct site *t)
{
	double n = (double)t->distances, mean = t->gaps / n;

	return mean >= 4 && t->gaps2 / n - mean * mean < mean * mean / 16;
}

/* More is live at each quarter, and a tenth of all blocks stays. */
static bool is_growth(const struct site *t)
{
	return t->quarter_bytes && t->half_bytes * 2 >= t->quarter_bytes * 3 &&
	       t->live_bytes * 2 >= t->half_bytes * 3 && t->live * 10 >= t->births &&
	       t->live >= LEAST;
}

/* Four of five births about double the block before, which ended: never more than two live. */
static bool is_chain(const struct site *t)
{
	return t->doubled * 5 >= (t->births - 1) * 4 && t->most_live <= 2;
}

/* On a device, nine of ten ended, after less than a tenth of the site's time each, and few live at
 * once.  A chain is said to be that. */
static bool is_device(const struct site *t)
{
	return t->device && t->deaths * 10 >= t->births * 9 && t->most_live * 10 <= t->births &&
	       !is_chain(t) && t->life_ms * 10 <= (uint64_t)(t->last_ms - t->first_ms) * t->deaths;
}

static size_t judge(const struct site *t, uint32_t id, struct pattern_finding *f, size_t max)
{
	struct pattern_finding all[PATTERN_KINDS];
	size_t n = 0;

	if (t->births >= LEAST && is_repeat(t))
		all[n++] = (struct pattern_finding){PATTERN_REPEAT, id, t->births, t->size, 0};
	if (t->births >= LEAST && is_interval(t))
		all[n++] = (struct pattern_finding){PATTERN_INTERVAL, id, t->births, t->size,
		                                    t->gaps / (double)t->distances};
	if (t->births >= LEAST && is_growth(t))
		all[n++] = (struct pattern_finding){PATTERN_GROWTH, id, t->live, t->live_bytes,
		                                    (double)t->live / (double)t->births};
	if (t->births >= LEAST / 2 && is_chain(t))
		all[n++] = (struct pattern_finding){PATTERN_CHAIN, id, t->births, t->last_bytes, 0};
	if (t->births >= LEAST && is_device(t))
		all[n++] = (struct pattern_finding){PATTERN_DEVICE, id, t->births, t->size, 0};
	if (n > max)
		n = max;
	memcpy(f, all, n * sizeof *f);
	return n;
}

long pattern_find(const struct timeline_event *event, size_t n, struct pattern_finding *found,
                  size_t max, struct err *e)
{
	struct search s = {.mask = 1023};
	size_t count = 0;

	while (s.mask < n * 2)
		s.mask = s.mask * 2 + 1;
	s.site = mem_calloc(MEM_OTHER, SITES, sizeof *s.site, e);
	s.block = s.site ? mem_calloc(MEM_OTHER, s.mask + 1, sizeof *s.block, e) : NULL;
	if (!s.block) {
		mem_free(s.site);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		if (event[i].bytes)
			born(&s, &event[i]);
		else
			died(&s, &event[i]);
		for (uint32_t k = 0; k < SITES && (i == n / 4 || i == n / 2); k++) {
			if (i == n / 4)
				s.site[k].quarter_bytes = s.site[k].live_bytes;
			else
				s.site[k].half_bytes = s.site[k].live_bytes;
		}
	}
	for (uint32_t k = 0; k < SITES; k++)
		count += judge(&s.site[k], k, found + count, max - count);
	mem_free(s.block);
	mem_free(s.site);
	return (long)count;
}

const char *pattern_name(enum pattern_kind k)
{
	static const char *const name[PATTERN_KINDS] = {"repeat", "interval", "growth", "chain",
	                                                "device"};
	return name[k];
}

void pattern_print(const struct pattern_finding *f, const char *where, FILE *out)
{
	static const char *const advice[PATTERN_KINDS] = {
	    "take one block before the loop, or take them in an arena's scope",
	    "take what a step needs in a scope that ends with it",
	    "end these blocks, or give their container a bound",
	    "take the final size at once, if it can be known",
	    "keep one block on the device and use it again",
	};

	fprintf(out, "%s at %s: %llu blocks, ", pattern_name(f->kind), where,
	        (unsigned long long)f->count);
	if (f->kind == PATTERN_INTERVAL)
		fprintf(out, "one every %.1f ms\n", f->value);
	else if (f->kind == PATTERN_GROWTH)
		fprintf(out, "%llu bytes stay, %.0f %% of what was taken\n",
		        (unsigned long long)f->bytes, 100 * f->value);
	else if (f->kind == PATTERN_CHAIN)
		fprintf(out, "each about twice the last, up to %llu bytes\n",
		        (unsigned long long)f->bytes);
	else
		fprintf(out, "%llu bytes each\n", (unsigned long long)f->bytes);
	fprintf(out, "    %s\n", advice[f->kind]);
}

void pattern_fragments(struct pool *p, uint64_t asked, struct pattern_fragments *f)
{
	struct pool_stats s;

	pool_stats(p, &s);
	memset(f, 0, sizeof *f);
	if (s.unused)
		f->outside = 1 - (double)s.longest / (double)s.unused;
	if (s.used)
		f->inside = 1 - (double)asked / (double)s.used;
	if (s.mapped)
		f->stock = (double)s.kept / (double)s.mapped;
}
