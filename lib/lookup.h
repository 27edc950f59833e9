/*
 * Drafts without a second model: when the last tokens have occurred before, what followed them
 * then is proposed to follow now.  Pays where an answer repeats its prompt (edits, quotes, code).
 */
#ifndef LOOKUP_H
#define LOOKUP_H

#include <stddef.h>
#include <stdint.h>

/* Writes at most max tokens that followed the latest earlier occurrence of the longest ending of
 * history (n tokens), LOOKUP_LONGEST to LOOKUP_SHORTEST tokens long; returns how many. */
#define LOOKUP_LONGEST  4
#define LOOKUP_SHORTEST 2
size_t lookup_draft(const int32_t *history, size_t n, int32_t *out, size_t max);

#endif
