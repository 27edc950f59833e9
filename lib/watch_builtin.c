#include "watch_builtin.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_abi.h"
#include "workload.h"

const char *builtin_name(const char *which, size_t i)
{
	if (!strcmp(which, "all")) {
		const struct workload_info *w = workload_get(i);
		return w ? w->name : NULL;
	}
	return i == 0 ? which : NULL;
}

int builtin_check(const char *which, struct err *e)
{
	const struct workload_info *w;
	char names[256] = "all";

	if (!strcmp(which, "all") || workload_find(which))
		return 0;
	for (size_t i = 0; (w = workload_get(i)); i++)
		if (strlen(names) + strlen(w->name) + 3 < sizeof names)
			strcat(strcat(names, ", "), w->name);
	return err_set(e, ERR_TROUBLE, "no workload '%s': there are %s", which, names);
}

/* "error" and "step" as any command may write them. */
static void tell(int fd, int failed)
{
	if (fd < 0)
		return;
	if (failed && write(fd, "error\n", 6) < 0)
		return;
	if (write(fd, "step\n", 5) < 0)
		return;
}

int builtin_run(const char *name, const char *model, uint64_t steps, int *status, struct err *e)
{
	const struct workload_info *info = workload_find(name);
	struct workload_options o = {.model = model};
	const char *fd = getenv(LEDGER_STEP_FD);
	struct workload *w = NULL;
	unsigned failures;
	int failed = 0;

	if (builtin_check(name, e))
		return -1;
	if (!info)
		return err_set(e, ERR_TROUBLE, "one workload at a time");
	failed = workload_init(&w, name, &o, e);
	if (failed == WORKLOAD_SKIP) {
		*status = BUILTIN_SKIP;
		return 0;
	}
	for (uint64_t i = 0; !failed && i < (steps ? steps : info->steps); i++) {
		failed = workload_step(w, &failures, e);
		if (!failed)
			tell(fd ? atoi(fd) : -1, failures > 0);
	}
	workload_fini(w);
	*status = 0;
	return failed;
}
