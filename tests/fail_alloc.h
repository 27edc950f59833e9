/*
 * Lets each allocation of an operation fail in turn, until the operation needs no more of them.
 */
#ifndef FAIL_ALLOC_H
#define FAIL_ALLOC_H

#include "mem.h"
#include "unit.h"

/* Live bytes of all purposes. */
static inline uint64_t fail_alloc_live(void)
{
	uint64_t sum = 0;

	for (int tag = 0; tag < MEM_TAGS; tag++)
		sum += mem_live((enum mem_tag)tag);
	return sum;
}

/* op returns 0 or -1 with an error, and leaves nothing allocated when it fails.  Returns how many
 * allocations failed before op went through, after which undo (NULL: nothing) is called. */
static inline int fail_alloc(int (*op)(void *arg, struct err *e), void (*undo)(void *arg),
                             void *arg)
{
	for (int n = 1; n < 10000; n++) {
		uint64_t before = fail_alloc_live();
		struct err e = {0};
		mem_fail_at((uint64_t)n);
		int r = op(arg, &e);
		mem_fail_at(0);
		if (!r) {
			if (undo)
				undo(arg);
			CHECK_INT(fail_alloc_live(), before);
			return n - 1;
		}
		CHECK_INT(e.status, ERR_TROUBLE);
		if (!strstr(e.text, "memory"))
			printf("# %s\n", e.text), unit_bad++;
		CHECK_INT(fail_alloc_live(), before);
	}
	printf("# the operation never went through\n");
	unit_bad++;
	return -1;
}

#endif
