#include "trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define Z99          2.576
#define Z90          1.645
#define FIRST        40 /* length of the first look */
#define GENERATIONS  12 /* blocks of the rule for exact counts */
#define RARE_BIRTHS  8
#define DRIFT_MOST   2048 /* steps that are looked at */
#define DRIFT_BLOCKS 16
#define DRIFT_LEAST  32 /* blocks */
#define DRIFT_SIGMA  4  /* of 1,000 simulated queues without a drift, none */
#define RARE_STEPS   5

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *v, size_t n)
{
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Variance of Kendall's score with its correction for equal values. */
static double kendall_variance(const double *y, size_t n)
{
	double sorted[TREND_POINTS], k = (double)n, ties = 0;

	memcpy(sorted, y, n * sizeof *y);
	qsort(sorted, n, sizeof *sorted, by_value);
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i; j < n && sorted[j] == sorted[i]; j++)
			;
		double c = (double)(j - i);
		ties += c * (c - 1) * (2 * c + 5);
	}
	return (k * (k - 1) * (2 * k + 5) - ties) / 18;
}

void trend_theil_sen(const double *y, size_t n, double z, double *slope, double *lo, double *hi)
{
	double s[TREND_POINTS * (TREND_POINTS - 1) / 2];
	size_t pairs = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t j = i + 1; j < n; j++)
			s[pairs++] = (y[j] - y[i]) / (double)(j - i);
	qsort(s, pairs, sizeof *s, by_value);
	double c = z * sqrt(fmax(kendall_variance(y, n), 0)), p = (double)pairs;
	*slope = median(s, pairs);
	*lo = s[(size_t)fmax(0, floor((p - c) / 2))];
	*hi = s[(size_t)fmin(p - 1, ceil((p + c) / 2))];
}

/* Minima of k blocks of *width at the end of y; the drop and the block's width as in the rule. */
static size_t minima(const double *y, size_t n, size_t drop, size_t m, double *out, size_t *width)
{
	size_t left = n - drop, b = left / m ? left / m : 1, k = left / b;
	const double *z = y + n - k * b;

	if (k > TREND_POINTS) {
		z += (k - TREND_POINTS) * b;
		k = TREND_POINTS;
	}
	for (size_t i = 0; i < k; i++) {
		out[i] = z[i * b];
		for (size_t j = 1; j < b; j++)
			out[i] = fmin(out[i], z[i * b + j]);
	}
	*width = b;
	return k;
}

/* Spread of what the line does not explain. */
static double residual_mad(const double *e, size_t k, double slope)
{
	double r[TREND_POINTS], d[TREND_POINTS];

	for (size_t i = 0; i < k; i++)
		r[i] = e[i] - slope * (double)i;
	memcpy(d, r, k * sizeof *r);
	qsort(d, k, sizeof *d, by_value);
	double mid = median(d, k);
	for (size_t i = 0; i < k; i++)
		d[i] = fabs(r[i] - mid);
	qsort(d, k, sizeof *d, by_value);
	return 1.4826 * median(d, k);
}

/* Whether the second half rises as the first did. */
static int persists(const double *e, size_t k, double ratio)
{
	double first, second, lo, hi, lo2;
	size_t h = k / 2;

	trend_theil_sen(e, h + 1, Z90, &first, &lo, &hi);
	trend_theil_sen(e + h, k - h, Z90, &second, &lo2, &hi);
	return second >= ratio * first && lo2 > 0;
}

struct trend trend_envelope(const double *y, size_t n, struct trend_rule rule)
{
	double e[TREND_POINTS], slope, lo, hi;
	size_t drop = (size_t)((double)n * rule.drop), width;
	struct trend t = {.verdict = TREND_UNSETTLED, .used = n};

	if (drop < 3)
		drop = 3;
	if (n < drop + 4)
		return t;
	size_t k = minima(y, n, drop, rule.m, e, &width);
	double b = (double)width;
	trend_theil_sen(e, k, Z99, &slope, &lo, &hi);
	t.slope = slope / b;
	t.lo = lo / b;
	t.hi = hi / b;
	double least = fmax(rule.floor, 3 * residual_mad(e, k, slope));
	if (!(lo > 0 && slope * (double)(k - 1) > least))
		t.verdict = TREND_CLEAN;
	else if (persists(e, k, rule.ratio))
		t.verdict = TREND_LEAK;
	return t;
}

static int second_window(const double *y, size_t n, struct trend whole, double floor)
{
	struct trend late = trend_envelope(y, n, (struct trend_rule){0.5, 16, floor / 2, 0.7});

	return late.verdict == TREND_LEAK && late.slope >= 0.7 * whole.slope;
}

struct trend trend_adaptive(const double *y, size_t n, double floor, double rate)
{
	enum trend_verdict before = TREND_UNSETTLED;
	struct trend t = {.verdict = TREND_UNSETTLED, .used = n};

	if (n < TREND_LEAST)
		return t;
	/* Only the last two lengths count: what grew at first and then stopped was warm-up. */
	for (size_t k = n < FIRST ? n : FIRST;; k = 2 * k < n ? 2 * k : n) {
		t = trend_envelope(y, k, (struct trend_rule){0.2, 24, floor, 0.7});
		if (k == n)
			break;
		before = t.verdict;
	}
	if (t.verdict == TREND_LEAK && !(before == TREND_LEAK && second_window(y, n, t, floor)))
		t.verdict = TREND_UNSETTLED;
	if (t.verdict == TREND_CLEAN && t.hi >= rate && n < 2 * FIRST)
		t.verdict = TREND_UNSETTLED;
	return t;
}

size_t trend_warm(size_t n)
{
	return n / 5 > 2 ? n / 5 : 2;
}

int trend_generations(const double *live, size_t n)
{
	double e[TREND_POINTS];
	size_t width, rises = 0, late = 0;

	if (n < TREND_LEAST)
		return 0;
	size_t k = minima(live, n, trend_warm(n), GENERATIONS, e, &width);
	if (k < 2)
		return 0;
	size_t h = (k - 1) / 2;
	for (size_t i = 0; i + 1 < k; i++) {
		if (e[i + 1] < e[i])
			return 0;
		rises += e[i + 1] > e[i];
		late += i >= h && e[i + 1] > e[i];
	}
	double first = e[h] - e[0], second = e[k - 1] - e[h];
	double rate = first / (double)h, later = second / (double)(k - 1 - h);
	return second > 0 && 2 * late >= k - 1 - h && later >= 0.5 * rate && 2 * rises >= k - 1;
}

int trend_slows(const double *live, size_t n, double unit)
{
	size_t warm = trend_warm(n);
	double later = (live[n - 1] - live[warm - 1]) / unit / (double)(n - warm);
	double expected = fmax(later, 0) * (double)(warm - 1);

	/* Three deviations of a count that comes at random, and two for what begins only once. */
	return (live[warm - 1] - live[0]) / unit > expected + 3 * sqrt(expected) + 2;
}

double trend_unit(const double *y, size_t n)
{
	double sum = 0, rises = 0;

	for (size_t i = 1; i < n; i++)
		if (y[i] > y[i - 1]) {
			sum += y[i] - y[i - 1];
			rises++;
		}
	return rises > 0 ? sum / rises : 1;
}

int trend_ratchet(const double *live, size_t n)
{
	double e[TREND_POINTS] = {0};
	size_t width, rises = 0;

	if (n < TREND_LEAST || trend_slows(live, n, 1))
		return 0;
	size_t k = minima(live, n, trend_warm(n), GENERATIONS, e, &width);
	for (size_t i = 0; i + 1 < k; i++) {
		if (e[i + 1] < e[i])
			return 0;
		rises += e[i + 1] > e[i];
	}
	double all = e[k - 1] - e[0], late = e[k - 1] - e[(k - 1) / 2];
	/* Half of it comes late, but for chance, which is the smaller the more often it grew. */
	double share = fmax(0.3, 0.5 - 1 / sqrt(fmax(all, 1) / trend_unit(live, n)));
	return all >= RARE_BIRTHS && rises >= RARE_STEPS && late >= share * all;
}

/* By how many deviations of its mean the mean of v differs from 0. */
static double deviations(const double *v, size_t n)
{
	double sum = 0, squares = 0, k = (double)n;

	for (size_t i = 0; i < n; i++) {
		sum += v[i];
		squares += v[i] * v[i];
	}
	double variance = squares / k - (sum / k) * (sum / k);
	return variance > 0 ? sum / k / sqrt(variance / k) : 0;
}

int trend_drifts(const double *live, size_t n)
{
	double d[DRIFT_MOST], block[DRIFT_BLOCKS];
	size_t width = (n - trend_warm(n)) / DRIFT_BLOCKS, m = width * DRIFT_BLOCKS;
	const double *y = live + n - 1 - m;

	if (n < TREND_DRIFT || m > DRIFT_MOST)
		return 0;
	for (size_t i = 0; i < m; i++)
		d[i] = y[i + 1] - y[i];
	for (size_t i = 0; i < DRIFT_BLOCKS; i++)
		block[i] = y[(i + 1) * width] - y[i * width];
	double first = y[m / 2] - y[0], second = y[m] - y[m / 2];
	return first > 0 && second >= 0.5 * first && first + second >= DRIFT_LEAST &&
	       deviations(d, m) >= DRIFT_SIGMA && deviations(block, DRIFT_BLOCKS) >= DRIFT_SIGMA;
}

int trend_rare(const double *born, const double *died, size_t n)
{
	size_t warm = trend_warm(n), mid = warm + (n - warm) / 2, steps = 0;

	if (n < TREND_LEAST || died[n - 1] > died[warm - 1] || trend_slows(born, n, 1))
		return 0;
	for (size_t i = warm; i < n; i++)
		steps += born[i] > born[i - 1];
	double all = born[n - 1] - born[warm - 1], late = born[n - 1] - born[mid - 1];
	return all >= RARE_BIRTHS && steps >= RARE_STEPS && late >= 0.4 * all;
}

int trend_staircase(const double *live, size_t n)
{
	size_t at[3] = {0, 0, 0}, jumps = 0;

	if (n < TREND_LEAST)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (live[i] < live[i - 1])
			return 0;
		if (live[i] >= 1.4 * live[i - 1] && live[i - 1] > 0) {
			at[jumps++ % 3] = i;
		} else if (live[i] > live[i - 1] && live[i - 1] > 0) {
			return 0;
		}
	}
	if (jumps < 4)
		return 0;
	size_t last = at[(jumps - 1) % 3], before = at[(jumps - 2) % 3];
	/* Each doubling takes twice as long as the one before when the filling is steady. */
	return last > before && n - last <= 5 * (last - before) / 2 && last > trend_warm(n);
}
