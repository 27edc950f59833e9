/*
 * Unit tests in a few macros.  A test program is a list of functions; each CHECK that fails says
 * where and why and the test goes on; main() ends with unit_end(), which prints the totals.
 *
 *	static void sizes(void) { CHECK(fmt_parse_size("1K", &n, NULL) == 0); CHECK_INT(n, 1024); }
 *	int main(void) { RUN(sizes); return unit_end(); }
 */
#ifndef UNIT_H
#define UNIT_H

#include <stdio.h>
#include <string.h>

static int unit_passed, unit_failed, unit_skipped, unit_bad;

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			printf("# %s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #x);   \
			unit_bad++;                                                                \
		}                                                                                  \
	} while (0)

#define CHECK_INT(got, want)                                                                       \
	do {                                                                                       \
		long long got_ = (long long)(got), want_ = (long long)(want);                      \
		if (got_ != want_) {                                                               \
			printf("# %s:%d: %s: %s is %lld, expected %lld\n", __FILE__, __LINE__,     \
			       __func__, #got, got_, want_);                                       \
			unit_bad++;                                                                \
		}                                                                                  \
	} while (0)

#define CHECK_STR(got, want)                                                                       \
	do {                                                                                       \
		const char *got_ = (got), *want_ = (want);                                         \
		if (strcmp(got_, want_) != 0) {                                                    \
			printf("# %s:%d: %s: %s is '%s', expected '%s'\n", __FILE__, __LINE__,     \
			       __func__, #got, got_, want_);                                       \
			unit_bad++;                                                                \
		}                                                                                  \
	} while (0)

/* Runs a test and counts it. */
#define RUN(test)                                                                                  \
	do {                                                                                       \
		unit_bad = 0;                                                                      \
		test();                                                                            \
		printf("%s %s\n", unit_bad ? "not ok" : "ok", #test);                              \
		if (unit_bad)                                                                      \
			unit_failed++;                                                             \
		else                                                                               \
			unit_passed++;                                                             \
	} while (0)

#define SKIP(test, why)                                                                            \
	do {                                                                                       \
		printf("ok %s # skip %s\n", #test, why);                                           \
		unit_skipped++;                                                                    \
	} while (0)

static inline int unit_end(void)
{
	printf("%d passed, %d failed, %d skipped\n", unit_passed, unit_failed, unit_skipped);
	return unit_failed != 0;
}

#endif
