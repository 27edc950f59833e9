/*
 * A screened output head: a copy of the head in 6 bits a value (kernels/screen.h), of which five
 * are read for every row, bounds all logits from both sides; the last bits are read of rows that
 *can still be among the wanted ones, and those that then still can are computed exactly, by the
 *same kernel as always.  The others become -INFINITY.
 *
 * The bound.  A row w is kept as w = s q + e, where q = m (code - 32) are integers, the input x as
 * x = x' + d with x' = (256 h + l) / t, integers too.  Then
 *
 *	w x = s q x' + s q d + e x,   |s q d| <= |s q| |d|,   |e x| <= |e| |x|   (Cauchy, Schwarz)
 *
 * with Euclidean norms, and |s q| <= |w| + |e|.  With the upper bits alone q and e are others: the
 * last bit counts for a half.  The kernel of the head adds k rounded products in 16 lanes: its
 * result is off from w x by at most (k / 16 + 16) 2^-24 |w| |x|.  That of the screen adds k / 64
 * products, each of an exact sum that is rounded once and m, fused: it is off from q x' t by at
 *most (k / 64 + 16) 2^-24 |q| |x' t|, and |x'| <= |x| + |d|; what the last bits add is off
 *likewise, by the norm of what they change.  So the logit that the whole head would give lies
 *within
 *
 *	s q x' -+ (|e| |x| + v (|d| + (5 k / 64 + 32) 2^-24 (|x| + |d|)))
 *
 * where v is |w| + |e|, or with the last bits at least the sum of both norms,
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
	int32_t *sum;             /* (padded / 64), see kernel_screened */
	float *low;               /* (blocks): greatest lower bound */
	double scale, norm, lost; /* 1 / t, |x|, |d| */
	float limit;
};

struct head {
	const struct kernel_mat *w; /* the head itself */
	size_t padded;              /* columns with those that fill up rows of q */
	size_t strip;               /* bytes of 16 rows of q */
	size_t blocks;
	uint8_t *q;            /* (rows / 16, strip): upper bits */
	uint8_t *last;         /* (rows, screen_last_bytes): last bits */
	float *scale, *norm;   /* (rows): s, |w| */
	float *rough, *lost;   /* (rows): |e| with the upper bits, and with all */
	struct head_input *in; /* (inputs) */
	uint64_t exact;        /* rows that were computed, of all inputs */
};

/* Whether a head of this type is worth a screen: its values are larger than the screen's. */
int head_screens(enum dtype t);

/* Bytes that head_take takes for rows x cols and as many inputs at once. */
uint64_t head_bytes(size_t rows, size_t cols, size_t inputs);

/* Bytes of it that are read for each input: without the last bits, and what is kept of inputs. */
uint64_t head_reads(size_t rows, size_t cols);

/* Places for everything; NULL in q when the arena is too small.  w must outlive h. */
void head_take(struct head *h, const struct kernel_mat *w, size_t inputs, struct arena *a);

/* Rows that lie together in the copy. */
#define HEAD_STEP 16

/* The widest head that is screened, columns: 16 rows of codes, and one of floats, fit scratch. */
#define HEAD_WIDEST (KERNELS_SCRATCH / 21)

/* Fills rows row0..row1 - 1, row0 a multiple of HEAD_STEP, row1 too, or all rows; scratch:
 * KERNELS_SCRATCH bytes. */
void head_fill(struct head *h, const struct kernels *k, size_t row0, size_t row1, void *scratch);

/* Input i, x (w->cols, borrowed until it is settled): begin, bound every block, limit, settle every
 * block, each with logits (rows) of its own.  bound and settle may run on several threads, each
 * with its own blocks; begin and limit on one, between them.  Several inputs are bounded block by
 * block together, so that the copy is read once. */
void head_begin(struct head *h, size_t i, const float *x);
void head_bound(struct head *h, const struct kernels *k, size_t i, size_t block, float *logits);
void head_limit(struct head *h, const struct kernels *k, size_t i, size_t want, float *logits,
                void *scratch); /* want <= blocks */
void head_settle(struct head *h, const struct kernels *k, size_t i, size_t first, size_t end,
                 float *logits, void *scratch); /* blocks first .. end - 1 */

#endif
