/* The rules that tell growth from noise, on series whose nature is known. */
#include "trend.h"

#include <math.h>
#include <stdint.h>

#include "unit.h"

#define N 640

static double y[N], born[N], died[N];
static uint64_t state;

static double uniform(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (double)(state >> 11) / 9007199254740992.0;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform());
}

/* KiB with correlated noise of deviation sd and spikes, as resident memory has them. */
static void series(int n, double rate, double sd)
{
	double x = 0;

	for (int i = 0; i < n; i++) {
		x = 0.5 * x + sd * 0.87 * normal();
		y[i] = 512000 + rate * i + x + (uniform() < 0.02 ? 4096 * uniform() : 0);
	}
}

static void theil_sen_is_the_median_of_slopes(void)
{
	const double v[] = {0, 1, 2, 3, 100};
	double slope, lo, hi;

	trend_theil_sen(v, 5, 2.576, &slope, &lo, &hi);
	CHECK(slope == 1);
	CHECK(lo == 1);
	CHECK(hi == 97);
	const double flat[] = {7, 7, 7, 7};
	trend_theil_sen(flat, 4, 2.576, &slope, &lo, &hi);
	CHECK(slope == 0 && lo == 0 && hi == 0);
}

static void noise_is_not_a_leak(void)
{
	int leaks = 0;

	for (state = 1; state < 200; state++) {
		uint64_t seed = state;
		series(160, 0, 200);
		leaks += trend_adaptive(y, 160, 1024, 8).verdict == TREND_LEAK;
		state = seed;
	}
	CHECK(leaks <= 4);
}

static void a_steady_leak_is_found(void)
{
	int found = 0, within = 0;

	for (state = 1; state < 100; state++) {
		uint64_t seed = state;
		series(160, 64, 200);
		struct trend t = trend_adaptive(y, 160, 1024, 8);
		found += t.verdict == TREND_LEAK;
		within += t.lo <= 64 && t.hi >= 64;
		state = seed;
	}
	CHECK(found >= 95);
	CHECK(within >= 93);
}

static void warm_up_and_saw_teeth_are_clean(void)
{
	for (int i = 0; i < N; i++)
		y[i] = 512000 + 50000 * (1 - exp(-i / 8.0));
	CHECK_INT(trend_adaptive(y, 160, 1024, 8).verdict, TREND_CLEAN);
	for (int i = 0; i < N; i++)
		y[i] = 512000 + 3000.0 * (i % 17);
	CHECK_INT(trend_adaptive(y, 160, 1024, 8).verdict, TREND_CLEAN);
}

static void growth_that_stopped_is_clean(void)
{
	for (int i = 0; i < N; i++)
		y[i] = 512000 + 256.0 * (i < 60 ? i : 60);
	CHECK_INT(trend_adaptive(y, 320, 1024, 8).verdict, TREND_CLEAN);
}

static void few_steps_settle_nothing(void)
{
	series(TREND_LEAST - 1, 1024, 10);
	CHECK_INT(trend_adaptive(y, TREND_LEAST - 1, 1024, 8).verdict, TREND_UNSETTLED);
	CHECK_INT(trend_adaptive(y, 0, 1024, 8).verdict, TREND_UNSETTLED);
	CHECK_INT(trend_generations(y, TREND_LEAST - 1), 0);
	CHECK_INT(trend_rare(y, y, TREND_LEAST - 1), 0);
	CHECK_INT(trend_staircase(y, TREND_LEAST - 1), 0);
}

static void sixteen_bytes_are_seen_after_20_steps(void)
{
	for (int i = 0; i < N; i++)
		y[i] = 16.0 * i;
	CHECK_INT(trend_generations(y, 20), 1);
	CHECK_INT(trend_generations(y, 40), 1);
	for (int i = 0; i < N; i++)
		y[i] = 4096;
	CHECK_INT(trend_generations(y, 40), 0);
}

static void generations_forgive_no_fall(void)
{
	for (int i = 0; i < N; i++)
		y[i] = 512.0 * (i % 40);
	CHECK_INT(trend_generations(y, 100), 0);
	for (int i = 0; i < N; i++)
		y[i] = 512.0 * (i < 15 ? i : 15);
	CHECK_INT(trend_generations(y, 100), 0);
}

static void rare_births_count_when_none_ends(void)
{
	for (int i = 0; i < N; i++) {
		born[i] = floor(i / 9.0); /* not a whole number of steps of the minima */
		died[i] = 0;
	}
	CHECK_INT(trend_rare(born, died, 100), 1);
	died[99] = 1;
	CHECK_INT(trend_rare(born, died, 100), 0);
	died[99] = 0;
	CHECK_INT(trend_rare(born, died, 60), 0); /* five births are too few */
	for (int i = 0; i < N; i++)
		born[i] = i < 40 ? i : 40;
	CHECK_INT(trend_rare(born, died, 100), 0);
}

/* A queue: up to 9 come and up to `most` go at a time, but it is never below 0. */
static void queue(int n, int most)
{
	double x = 0;

	for (int i = 0; i < n; i++) {
		x = fmax(0, x + floor(10 * uniform()) - floor((most + 1) * uniform()));
		y[i] = x;
	}
}

static void a_queue_that_drifts_is_told_from_one_that_wanders(void)
{
	int found = 0, wrong = 0;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		state = seed * 77777;
		queue(N, 7);
		found += trend_drifts(y, N);
		queue(N, 9);
		wrong += trend_drifts(y, N);
	}
	CHECK(found >= 160); /* one block a step, among steps of up to nine */
	CHECK_INT(wrong, 0);
	CHECK_INT(trend_drifts(y, TREND_DRIFT - 1), 0);
	/* A table that fills, and teeth of a saw. */
	for (int i = 0; i < N; i++)
		y[i] = 400 * (1 - exp(-i / 150.0)) + floor(3 * uniform());
	CHECK_INT(trend_drifts(y, N), 0);
	for (int i = 0; i < N; i++)
		y[i] = i % 90;
	CHECK_INT(trend_drifts(y, N), 0);
}

static void chance_is_measured_in_what_comes_at_once(void)
{
	double sum = 0;

	/* Some 64 KiB buffers each sample, as many in the warm-up as later but for one. */
	for (int i = 0; i < 100; i++) {
		sum += 65536 * (i % 3 + (i == 5));
		y[i] = sum;
	}
	CHECK_INT(trend_slows(y, 100, trend_unit(y, 100)), 0);
	CHECK_INT(trend_slows(y, 100, 1), 1);
	for (int i = 0; i < 100; i++)
		y[i] = 65536 * (i < 20 ? i : 20 + i / 20);
	CHECK_INT(trend_slows(y, 100, trend_unit(y, 100)), 1);
	for (int i = 0; i < 100; i++)
		y[i] = 5;
	CHECK(trend_unit(y, 100) == 1);
}

static void doubling_for_ever_is_a_staircase(void)
{
	double room = 1;

	for (int i = 0; i < N; i++) {
		while (room < i)
			room *= 2;
		y[i] = room;
	}
	CHECK_INT(trend_staircase(y, 100), 1);
	CHECK_INT(trend_staircase(y, 300), 1);
	for (int i = 33; i < N; i++)
		y[i] = 64;
	CHECK_INT(trend_staircase(y, 300), 0);
}

int main(void)
{
	RUN(theil_sen_is_the_median_of_slopes);
	RUN(noise_is_not_a_leak);
	RUN(a_steady_leak_is_found);
	RUN(warm_up_and_saw_teeth_are_clean);
	RUN(growth_that_stopped_is_clean);
	RUN(few_steps_settle_nothing);
	RUN(sixteen_bytes_are_seen_after_20_steps);
	RUN(generations_forgive_no_fall);
	RUN(rare_births_count_when_none_ends);
	RUN(a_queue_that_drifts_is_told_from_one_that_wanders);
	RUN(chance_is_measured_in_what_comes_at_once);
	RUN(doubling_for_ever_is_a_staircase);
	return unit_end();
}
