/*
 * Telling growth from noise in a series with one value per step.  The rules and their figures are
 * those of the specification of the leak checker, section 2; all slopes are per step.
 */
#ifndef TREND_H
#define TREND_H

#include <stddef.h>

enum trend_verdict { TREND_CLEAN = 0, TREND_LEAK, TREND_UNSETTLED };

struct trend {
	enum trend_verdict verdict;
	double slope, lo, hi; /* with the bounds of 99 % confidence */
	size_t used;          /* steps that it was found with */
};

/* Median of all pairwise slopes of y[0..n) and its confidence bounds; z: 2.576 for 99 %.
 * n >= 2, at most TREND_POINTS. */
#define TREND_POINTS 64
void trend_theil_sen(const double *y, size_t n, double z, double *slope, double *lo, double *hi);

/* The lower envelope: drops the first share of y as warm-up, takes the minimum of each of m to
 * 2 m blocks, and asks whether they rise by more than floor and than the noise, and in the second
 * half at least ratio times as fast as in the first. */
struct trend_rule {
	double drop;
	size_t m;
	double floor, ratio;
};
struct trend trend_envelope(const double *y, size_t n, struct trend_rule rule);

/* The adaptive rule: looks at 40 steps and at each doubling, the last time at all n.  LEAK when the
 * last two looks and a second window agree; CLEAN when the last look says so, and before 80 steps
 * only when the slope is below rate with 99 % confidence; otherwise UNSETTLED.
 * floor: the smallest total growth that counts.  Fewer than TREND_LEAST steps: UNSETTLED. */
#define TREND_LEAST 20
struct trend trend_adaptive(const double *y, size_t n, double floor, double rate);

/* The rule of generations, for exact counts: the envelope of twelve blocks never falls, and rises
 * in both halves.  1 or 0. */
int trend_generations(const double *live, size_t n);

/* Growth at irregular steps: the same envelope never falls, and rises by 8 or more in at least five
 * of its steps, without slowing down.  1 or 0. */
int trend_ratchet(const double *live, size_t n);

/* A walk at random that drifts upward, as a queue that is filled a little faster than it is
 * emptied: falls again and again, but has come further than its steps explain by chance, in all
 * and block by block, and in the second half at least half as far as in the first.  For counts.
 * 1 or 0; 0 below TREND_DRIFT steps. */
#define TREND_DRIFT 160
int trend_drifts(const double *live, size_t n);

/* Whether what grew in the warm-up grew far faster than later: 1 or 0.  unit: what it grows by at
 * once, 1 for counts; chance is measured in it. */
int trend_slows(const double *live, size_t n, double unit);

/* The mean of the steps in which y rises; 1 when it never does. */
double trend_unit(const double *y, size_t n);

/* Rare births: at least 8 in 5 distinct steps after the warm-up, not slowing down, none ended.
 * born, died: totals after each step.  1 or 0. */
int trend_rare(const double *born, const double *died, size_t n);

/* A buffer that is doubled: live bytes rise in at least four jumps, and the present pause is not
 * much longer than growth at a constant rate explains.  1 or 0. */
int trend_staircase(const double *live, size_t n);

/* The steps at the beginning that are taken for warm-up. */
size_t trend_warm(size_t n);

#endif
