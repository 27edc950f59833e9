/*
 * What the parts of the forecast share: pages, and formulas as text.  For lib/forecast*.c alone.
 */
#ifndef FORECAST_PRIVATE_H
#define FORECAST_PRIVATE_H

#include "forecast.h"

#define FORECAST_PAGE UINT64_C(4096)

/* Bytes rounded up to whole pages. */
static inline uint64_t forecast_pages(uint64_t bytes)
{
	return (bytes + FORECAST_PAGE - 1) / FORECAST_PAGE * FORECAST_PAGE;
}

static inline uint64_t forecast_least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* How a region's size (formula) and its resident part (touched) come about, in words. */
void forecast_formula(struct forecast_region *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void forecast_touched(struct forecast_region *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* forecast_touch.c: sets start and full of the regions of a plan, which have their sizes.  g has
 * the tensors that are planned, w those of the graph. */
void forecast_touch(struct forecast *f, const struct weights *w, const struct gguf *g);
void forecast_touch_weights(struct forecast *f, const struct weights *w, const struct gguf *g);
void forecast_touch_copied(struct forecast *f);
void forecast_touch_stacks(struct forecast *f);

/* Bytes that are resident while tensors are copied beyond those that are when it is done. */
uint64_t forecast_load_extra(const struct forecast *f, const struct gguf *g);

/* forecast_explain.c: the formulas of the regions of a plan. */
void forecast_explain(struct forecast *f, const struct gguf *g);
void forecast_explain_weights(struct forecast *f);
void forecast_explain_layers(struct forecast *f, int values); /* caches by shape.h */
void forecast_explain_vocab(struct forecast *f, const struct gguf *g);
void forecast_explain_stacks(struct forecast *f);

#endif
