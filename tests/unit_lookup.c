/*
 * Drafts from what was said before: which place is copied from, how much, and how it goes on behind
 * an exchanged token.
 */
#include "lookup.h"
#include "unit.h"

static int32_t out[64];

#define COUNT(list) (sizeof(list) / sizeof *(list))

static void nothing_matches(void)
{
	static const int32_t h[] = {1, 2, 3, 4, 3};
	struct lookup l = {0};

	for (size_t n = 0; n <= COUNT(h); n++)
		CHECK_INT(lookup_draft(&l, h, n, out, 8), 0);
}

static void what_followed_is_proposed(void)
{
	static const int32_t h[] = {7, 1, 2, 3, 4, 5, 1, 2};
	struct lookup l = {0};

	CHECK_INT(lookup_draft(&l, h, COUNT(h), out, 3), 3);
	CHECK(out[0] == 3 && out[1] == 4 && out[2] == 5);
	CHECK_INT(lookup_draft(&l, h, COUNT(h), out, 64), 5);
	CHECK(out[4] == 2);
	CHECK_INT(lookup_draft(&l, h, COUNT(h), out, 0), 0);
}

static void the_place_that_agrees_furthest_back_wins(void)
{
	/* 1 2 occurs twice; 9 stands in front of the first */
	static const int32_t h[] = {9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2};
	/* the same place in front: the latest */
	static const int32_t same[] = {8, 1, 2, 3, 8, 1, 2, 4, 8, 1, 2};
	struct lookup l = {0};

	CHECK_INT(lookup_draft(&l, h, COUNT(h), out, 1), 1);
	CHECK_INT(out[0], 3);
	CHECK_INT(lookup_draft(&l, same, COUNT(same), out, 1), 1);
	CHECK_INT(out[0], 4);
}

static void what_goes_round_goes_on(void)
{
	static const int32_t h[] = {4, 1, 2, 3, 1, 2, 3, 1, 2};
	struct lookup l = {0};

	CHECK_INT(lookup_draft(&l, h, COUNT(h), out, 8), 8);
	for (int32_t i = 0; i < 8; i++)
		CHECK_INT(out[i], (i + 2) % 3 + 1);
	/* once is no circle */
	CHECK_INT(lookup_draft(&l, h, 6, out, 8), 3);
	CHECK(out[0] == 3 && out[1] == 1 && out[2] == 2);
}

/* A copy of 0..19 in which the tenth number is another. */
static void goes_on_behind_an_exchanged_token(void)
{
	int32_t h[64];
	struct lookup l = {0};

	for (int32_t i = 0; i < 20; i++)
		h[i] = h[20 + i] = i;
	CHECK_INT(lookup_draft(&l, h, 22, out, 16), 16);
	lookup_learn(&l, 8);
	h[30] = 99; /* 2..9 came true, then 10 was exchanged */
	CHECK_INT(lookup_draft(&l, h, 31, out, 16), LOOKUP_GUESS);
	CHECK_INT(out[0], 11);
	/* only once, and only after a long draft */
	CHECK_INT(lookup_draft(&l, h, 31, out, 16), 0);
	CHECK_INT(lookup_draft(&l, h, 22, out, 16), 16);
	lookup_learn(&l, LOOKUP_TRUST - 1);
	CHECK_INT(lookup_draft(&l, h, 31, out, 16), 0);
	/* never behind the end */
	l.resume = 31;
	CHECK_INT(lookup_draft(&l, h, 31, out, 16), 0);
}

int main(void)
{
	RUN(nothing_matches);
	RUN(what_followed_is_proposed);
	RUN(the_place_that_agrees_furthest_back_wins);
	RUN(what_goes_round_goes_on);
	RUN(goes_on_behind_an_exchanged_token);
	return unit_end();
}
