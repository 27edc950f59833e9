/* Findings on traces whose patterns are known, and what a finding says. */
#include "unit.h"

#include "pattern_traces.h"

static void precision_and_recall(void)
{
	struct score score[PATTERN_KINDS] = {{0, 0, 0}};

	for (uint64_t seed = 1; seed <= 60; seed++)
		trace_score(seed * 7919, score);
	for (unsigned k = 0; k < PATTERN_KINDS; k++) {
		double p = score_precision(&score[k]), r = score_recall(&score[k]);

		if (p < 0.95 || r < 0.95)
			printf("# %s: precision %.3f, recall %.3f (%u, %u, %u)\n", pattern_name(k),
			       p, r, score[k].right, score[k].wrong, score[k].missed);
		CHECK(p >= 0.95 && r >= 0.95);
	}
}

static void little_is_said_of_little(void)
{
	struct timeline_event e[7];
	struct pattern_finding f[4];

	for (unsigned i = 0; i < 7; i++)
		e[i] = (struct timeline_event){64 * (i + 1), 100, 1, 0, 0, i * 100};
	CHECK_INT(pattern_find(e, 7, f, 4, NULL), 0);
	CHECK_INT(pattern_find(NULL, 0, f, 4, NULL), 0);
}

static void evidence_and_advice(void)
{
	struct timeline_event e[100];
	struct pattern_finding f[1];
	char text[512] = "";

	for (unsigned i = 0; i < 100; i += 2) {
		e[i] = (struct timeline_event){64, 4096, 3, 0, 0, i * i / 10};
		e[i + 1] = (struct timeline_event){64, 0, 3, 0, 0, i * i / 10};
	}
	CHECK_INT(pattern_find(e, 100, f, 1, NULL), 1);
	FILE *out = fmemopen(text, sizeof text, "w");
	pattern_print(&f[0], "here", out);
	fclose(out);
	CHECK_STR(text, "repeat at here: 50 blocks, 4096 bytes each\n"
	                "    take one block before the loop, or take them in an arena's scope\n");
}

static void fragments(void)
{
	struct pool *p = NULL;
	struct pattern_fragments f;
	void *b[8];

	CHECK(pool_init(&p, &(struct pool_options){.name = "p"}, NULL) == 0);
	for (int i = 0; i < 8; i++)
		b[i] = pool_take(p, (size_t)3 << 20, NULL);
	pattern_fragments(p, (size_t)24 << 20, &f);
	CHECK(f.inside > -0.001 && f.inside < 0.001);
	CHECK(f.outside == 0);
	pool_give(b[0]);
	pool_give(b[2]);
	pattern_fragments(p, (size_t)18 << 20, &f);
	CHECK(f.outside > 0.4);
	pool_fini(p);
}

int main(void)
{
	RUN(precision_and_recall);
	RUN(little_is_said_of_little);
	RUN(evidence_and_advice);
	RUN(fragments);
	return unit_end();
}
