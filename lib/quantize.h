/*
 * From floats to ternary codes: which scale, which codes, how much is lost.
 *
 * Two passes over a tensor: survey all values, chunk by chunk (join the surveys in order: sums do
 * not depend on who did which chunk), choose, then round chunk by chunk. Source: ternary-formats.md
 * 4, 5, 8.
 */
#ifndef QUANTIZE_H
#define QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

#include "bulk.h"
#include "ternary.h"

/* How codes come about. */
enum quantize_rule {
	QUANTIZE_COPY = 0, /* nothing is computed: the same type and layout */
	QUANTIZE_KEEP,     /* the values are ternary already: codes and scale are kept */
	QUANTIZE_ABSMEAN,  /* scale = mean |w|, codes round(w / scale) */
	QUANTIZE_MAX,      /* scale = max |w| of the group, codes |w| >= max / 2 */
	QUANTIZE_ROUND,    /* to a float or block type: each value to a near one */
	QUANTIZE_RULES
};
const char *quantize_rule_name(enum quantize_rule rule); /* "copy", "keep", ... */

/* The scale of a whole tensor. */
struct quantize_choice {
	enum quantize_rule rule; /* KEEP or ABSMEAN */
	float scale;             /* of the codes */
	float inverse;           /* what values are multiplied by before rounding */
	double spread; /* KEEP: (largest - smallest nonzero |w|) / scale, at most 1e-3; else 0 */
};

/* Chooses for n values.  Ternary already: every |w| is 0 or within 1e-3 (relative) of one value;
 * that value is kept (absmean would give scale times density).  Values must be finite. */
void quantize_choose(const struct bulk_survey *s, uint64_t n, struct quantize_choice *out);

/* Whether all values seen are finite. */
int quantize_finite(const struct bulk_survey *s);

/* Index of the first value of x that is not finite; n when all are. */
size_t quantize_bad(const float *x, size_t n);

/* Whether n values are 0 or +-s alone, exactly; *s (0 for all zeros). */
int quantize_is_ternary(const float *x, size_t n, float *s);

/* Codes of n values as the block types themselves define: *scale = max |x|; IQ*_BN: |x| < max / 2
 * is 0; others: round(x / max), half away from zero. */
void quantize_by_max(enum ternary_kind kind, int8_t *q, const float *x, size_t n, float *scale);

/* What a tensor lost. */
struct quantize_report {
	enum quantize_rule rule;
	int ternary; /* the result holds codes: the three counts are right */
	uint64_t n, zeros, plus, minus;
	double scale;                  /* of the tensor; of groups: their largest */
	double scale_error;            /* largest relative change of a scale that was to be kept */
	double mse, max_error, cosine; /* of the values; cosine is 1 when nothing changed */
	double loss;                   /* squared error / squared values: 0 is exact */
};

/* Fills in the last four fields from sums over r->n values. */
void quantize_errors(struct quantize_report *r, const struct bulk_error *sums);

/* Whether the numbers say that these weights were not made for three values.  Absmean of weights
 * that are spread like a bell loses 26 %, whether a model was trained with ternary forward passes
 * or not; the masters of BitNet models are known by their architecture, so this is for all the
 * others: a loss of more than 10 %. */
int quantize_is_untrained(const struct quantize_report *r);

#endif
