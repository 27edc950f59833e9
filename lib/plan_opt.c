#include "plan_opt.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtype.h"
#include "weights.h"

int plan_opt_kv_type(void *to, const char *value, struct err *e)
{
	enum dtype *kv = to;
	const char *comma = strchr(value, ',');
	char first[16];

	snprintf(first, sizeof first, "%.*s", comma ? (int)(comma - value) : 15, value);
	kv[0] = dtype_find(first);
	kv[1] = comma ? dtype_find(comma + 1) : kv[0];
	if (kv[0] == DTYPE_NONE || kv[1] == DTYPE_NONE)
		return err_set(e, ERR_TROUBLE,
		               "'%s' is not a cache type (f16, f32, bf16, q8_0, q4_0)", value);
	return 0;
}

int plan_opt_load(void *to, const char *value, struct err *e)
{
	static const char *const name[] = {"mmap", "mlock", "read", "hugetlb"};

	for (int i = 0; i < 4; i++)
		if (!strcmp(value, name[i])) {
			*(enum weights_load *)to = (enum weights_load)i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is not one of mmap, mlock, read, hugetlb", value);
}

int plan_opt_ctx(void *to, const char *value, struct err *e)
{
	char *end;
	long long n = strtoll(value, &end, 10);

	if (!strcmp(value, "max")) {
		*(int64_t *)to = -1;
		return 0;
	}
	if (end == value || *end || n < 1 || n > INT32_MAX)
		return err_set(e, ERR_TROUBLE, "'%s' is neither a count of tokens nor max", value);
	*(int64_t *)to = n;
	return 0;
}
