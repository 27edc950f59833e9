#include "plan_opt.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtype.h"
#include "fmt.h"
#include "plan.h"

/* A cache type by its name, of those that the kernels have. */
static enum dtype kv_type(const char *name)
{
	enum dtype t = dtype_find(name);

	return t == DTYPE_F16 || t == DTYPE_F32 || t == DTYPE_BF16 || t == DTYPE_Q8_0 ||
	               t == DTYPE_Q4_0
	           ? t
	           : DTYPE_NONE;
}

int plan_opt_kv_type(void *to, const char *value, struct err *e)
{
	enum dtype *kv = to;
	const char *comma = strchr(value, ',');
	char first[16];

	snprintf(first, sizeof first, "%.*s", comma ? (int)(comma - value) : 15, value);
	kv[0] = kv_type(first);
	kv[1] = comma ? kv_type(comma + 1) : kv[0];
	if (kv[0] == DTYPE_NONE || kv[1] == DTYPE_NONE)
		return err_set(e, ERR_TROUBLE,
		               "'%s' is not a cache type (f16, f32, bf16, q8_0, q4_0)", value);
	return 0;
}

int plan_opt_load(void *to, const char *value, struct err *e)
{
	for (int i = 0; i <= WEIGHTS_DENSE; i++)
		if (!strcmp(value, plan_load_name((enum weights_load)i))) {
			*(enum weights_load *)to = (enum weights_load)i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is not one of mmap, mlock, read, hugetlb, dense",
	               value);
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

int plan_opt_amount(void *to, const char *value, struct err *e)
{
	struct plan_amount *a = to;
	char *end;

	errno = 0;
	a->n = strtoull(value, &end, 10);
	a->percent = *end == '%' && !end[1];
	a->given = 1;
	if (end == value || !isdigit((unsigned char)*value) || errno || (*end && !a->percent) ||
	    (a->percent && a->n > 100))
		return err_set(e, ERR_TROUBLE, "'%s' is neither a count nor 0%% to 100%%", value);
	return 0;
}

int plan_opt_reserve(void *to, const char *value, struct err *e)
{
	struct plan_amount *a = to;

	if (strchr(value, '%'))
		return plan_opt_amount(to, value, e);
	*a = (struct plan_amount){.given = 1};
	return fmt_parse_size(value, &a->n, e);
}

int plan_opt_type(void *to, const char *value, struct err *e)
{
	enum dtype t = *(enum dtype *)to = dtype_find(value);

	return t ? 0 : err_set(e, ERR_TROUBLE, "'%s' is not a tensor type", value);
}

int plan_opt_head(void *to, const char *value, struct err *e)
{
	int screened = *(int *)to = !strcmp(value, "screened");

	return screened || !strcmp(value, "full")
	           ? 0
	           : err_set(e, ERR_TROUBLE, "'%s' is neither full nor screened", value);
}

int plan_opt_layers(void *to, const char *value, struct err *e)
{
	uint32_t *layers = to;
	struct plan_amount a;
	struct err ignored = {0};

	if (!strcmp(value, "all")) {
		*layers = PLAN_DEVICE_ALL;
		return 0;
	}
	if (plan_opt_amount(&a, value, &ignored) || a.percent || a.n > INT32_MAX)
		return err_set(e, ERR_TROUBLE, "'%s' is neither a count of layers nor all", value);
	*layers = (uint32_t)a.n;
	return 0;
}
