/*
 * What follows from a forecast: how much memory to get, and what to change to fit.  Each advice is
 * derived from a number that it shows, and none is given that changes nothing.
 */
#ifndef ADVISE_H
#define ADVISE_H

#include "fmt.h"
#include "solve.h"

struct advice_item {
	char what[32];  /* "ram.minimum", "swap", "kv-type", ... */
	uint64_t bytes; /* the number that it is about */
	char text[200]; /* one sentence */
};

#define ADVICE_ITEMS 16
struct advice {
	struct advice_item item[ADVICE_ITEMS];
	unsigned n;
	enum fmt_units units; /* of the sizes in the texts */
};

/* f is the forecast of s->g with s->o.  Errors as forecast_make. */
int advise(struct advice *a, const struct solve *s, const struct forecast *f, enum fmt_units units,
           struct err *e);

#endif
