/*
 * A screened output head: a copy of the head in 6 bits a value (kernels/screen.h), read for every
 * row, bounds all logits from both sides; only rows that can still be among the wanted ones are
 * computed exactly, by the same kernel as always.  The others become -INFINITY.
 *
 * The bound.  A row w is kept as w = s q + e, where q = m (code - 32) are integers, the input x as
 * x = x' + d with x' = (256 h + l) / t, integers too.  Then
 *
 *	w x = s q x' + s q d + e x,   |s q d| <= |s q| |d|,   |e x| <= |e| |x|   (Cauchy, Schwarz)
 *
 * with Euclidean norms, and |s q| <= |w| + |e|.  The kernel of the head adds k rounded products in
 * 16 lanes: its result is off from w x by at most (k / 16 + 16) 2^-24 |w| |x|.  That of the screen
 * adds k / 64 products, rounded once, of an exact sum and m in 16 lanes: it is off from q x' t by
 * at most (k / 64 + 16) 2^-24 |q| |x' t|, and |x'| <= |x| + |d|.  So the logit that the whole head
 * would give lies within
 *
 *	s q x' -+ (|e| |x| + (|w| + |e|) (|d| + (5 k / 64 + 32) 2^-24 (|x| + |d|)))
 *
 * widened by 1e-5 of the bound and 1e-6 of the value for the roundings of this sum itself.  Let
 * limit be a number that at least `want` rows reach, with their lower bounds or, where they were
 * computed, themselves.  A row whose upper
 * bound is below the limit has at least `want` rows above it, so it is not among the `want`
 * greatest; all others are computed exactly, ties included.  So greedy choice (want 1), and
 * whatever looks at the top_k greatest only, cannot tell the difference.
 */
#ifndef HEAD_H
#define HEAD_H

#include "arena.h"
#include "kernels.h"

/* Rows that share their bounds: the limit counts blocks of them, each by its greatest row. */
#define HEAD_BLOCK 64

/* One of the inputs that are at hand together. */
struct head_input {
	const float *f;           /* x as it is, (cols) */
	int8_t *h, *l;            /* (padded) */
	int32_t *excess;          /* (padded / 4), see kernel_screened */
	float *low, *high;        /* (blocks): greatest lower and upper bound */
	double scale, norm, lost; /* 1 / t, |x|, |d| */
	float limit;
};

struct head {
	const struct kernel_mat *w; /* the head itself */
	size_t padded;              /* columns with those that fill up rows of q */
	size_t row_bytes;           /* of q */
	size_t blocks;
	uint8_t *q;                 /* (rows, row_bytes) */
	float *scale, *lost, *norm; /* (rows): s, |e|, |w| */
	struct head_input *in;      /* (inputs) */
	uint64_t exact;             /* rows that were computed, of all inputs */
};

/* Whether a head of this type is worth a screen: its values are larger than the screen's. */
int head_screens(enum dtype t);

/* Bytes that head_take takes for rows x cols and as many inputs at once. */
uint64_t head_bytes(size_t rows, size_t cols, size_t inputs);

/* Places for everything; NULL in q when the arena is too small.  w must outlive h. */
void head_take(struct head *h, const struct kernel_mat *w, size_t inputs, struct arena *a);

/* Fills rows row0..row1 - 1; scratch: KERNELS_SCRATCH bytes, at least a row of floats. */
void head_fill(struct head *h, const struct kernels *k, size_t row0, size_t row1, void *scratch);

/* Input i, x (w->cols, borrowed until it is settled): begin, bound every block, limit, settle every
 * block, each with logits (rows) of its own.  bound and settle may run on several threads, each
 * with its own blocks; begin and limit on one, between them.  Several inputs are bounded block by
 * block together, so that the copy is read once. */
void head_begin(struct head *h, size_t i, const float *x);
void head_bound(struct head *h, const struct kernels *k, size_t i, size_t block, float *logits);
void head_limit(struct head *h, const struct kernels *k, size_t i, size_t want, float *logits,
                void *scratch); /* want <= blocks */
void head_settle(struct head *h, const struct kernels *k, size_t i, size_t block, float *logits,
                 void *scratch);

#endif
