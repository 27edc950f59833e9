/*
 * Drafts without a second model: when the last tokens have occurred before, what followed them
 * then is proposed to follow now.  Pays where an answer repeats its prompt (edits, quotes, code).
 *
 *	struct lookup l = {0};
 *	n_draft = lookup_draft(&l, history, n, draft, max);
 *	... came_true of them were right, and one more token was drawn ...
 *	lookup_learn(&l, came_true);
 */
#ifndef LOOKUP_H
#define LOOKUP_H

#include <stddef.h>
#include <stdint.h>

/* All-zero is the beginning. */
struct lookup {
	size_t at;     /* where in the history the last draft was copied from */
	size_t resume; /* where to go on copying when nothing matches; 0: nowhere */
};

/* Tokens of a match: at least, and counted at most. */
#define LOOKUP_SHORTEST 2
#define LOOKUP_LONGEST  32

/* Writes at most max tokens that followed the earlier place of history (n tokens) that agrees with
 * its ending furthest back, the latest of those, and over again when that place is a whole
 * repetition away; returns how many.  Where no place agrees in LOOKUP_SHORTEST tokens, but the last
 * draft was right for LOOKUP_TRUST tokens, one of its tokens was exchanged for another: goes on
 * behind it, LOOKUP_GUESS tokens at most. */
#define LOOKUP_TRUST 8
#define LOOKUP_GUESS 7
size_t lookup_draft(struct lookup *l, const int32_t *history, size_t n, int32_t *out, size_t max);

/* How many of the last draft came true, before another token was drawn. */
void lookup_learn(struct lookup *l, size_t came_true);

#endif
