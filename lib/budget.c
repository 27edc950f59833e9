#include "budget.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cgroup.h"
#include "fmt.h"

static struct budget_source *add(struct budget *b, enum budget_of of, uint64_t bytes)
{
	struct budget_source *s = &b->source[b->n];

	if (b->n == BUDGET_SOURCES)
		return NULL;
	b->n++;
	s->of = of;
	s->bytes = bytes;
	return s;
}

void budget_fixed(struct budget *b, const char *name, uint64_t bytes)
{
	b->n = 0;
	struct budget_source *s = add(b, BUDGET_ALL, bytes);
	snprintf(s->name, sizeof s->name, "%s", name);
}

/* The limits in a file of the group of this process, and of those above it. */
static void add_groups(struct budget *b, const char *root, int version, const char *file)
{
	struct cgroup c;

	for (int on = cgroup_find(&c, root, 0, version); on; on = cgroup_up(&c)) {
		uint64_t v = cgroup_number(&c, file);
		struct budget_source *s = v ? add(b, BUDGET_CHARGED, v) : NULL;
		if (s)
			snprintf(s->name, sizeof s->name, "%s of cgroup %.150s", file,
			         cgroup_name(&c));
	}
}

static int add_available(struct budget *b, const char *root, struct err *e)
{
	char name[1024], line[200];
	unsigned long long kib = 0;
	int found = 0;

	snprintf(name, sizeof name, "%s/proc/meminfo", root);
	FILE *f = fopen(name, "re");
	if (!f)
		return err_sys(e, "%s", name);
	while (!found && fgets(line, sizeof line, f))
		if (!strncmp(line, "MemAvailable:", 13)) {
			kib = strtoull(line + 13, NULL, 10);
			found = 1;
		}
	fclose(f);
	if (!found)
		return err_set(e, ERR_TROUBLE, "%s: no MemAvailable", name);
	struct budget_source *s = add(b, BUDGET_RESIDENT, kib * 1024);
	snprintf(s->name, sizeof s->name, "available memory");
	return 0;
}

static void add_rlimit(struct budget *b, __rlimit_resource_t which, const char *name,
                       enum budget_of of)
{
	struct rlimit r;

	if (getrlimit(which, &r) || r.rlim_cur == RLIM_INFINITY)
		return;
	struct budget_source *s = add(b, of, r.rlim_cur);
	if (s)
		snprintf(s->name, sizeof s->name, "%s", name);
}

int budget_find(struct budget *b, const char *root, struct err *e)
{
	b->n = 0;
	if (add_available(b, root, e))
		return -1;
	add_groups(b, root, 2, "memory.max");
	add_groups(b, root, 2, "memory.high");
	add_groups(b, root, 1, "memory.limit_in_bytes");
	add_rlimit(b, RLIMIT_AS, "RLIMIT_AS", BUDGET_RESERVED);
	add_rlimit(b, RLIMIT_DATA, "RLIMIT_DATA", BUDGET_PRIVATE);
	return 0;
}

int budget_opt(void *to, const char *value, struct err *e)
{
	uint64_t n;

	if (!strcmp(value, "auto"))
		return budget_find(to, "", e);
	if (fmt_parse_size(value, &n, e))
		return -1;
	budget_fixed(to, "--max-memory", n);
	return 0;
}

void budget_reserve(struct budget *b, uint64_t bytes, unsigned percent)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct budget_source *s = &b->source[i];
		uint64_t take = bytes + (uint64_t)((double)s->bytes * percent / 100);
		if (s->of == BUDGET_RESIDENT || s->of == BUDGET_CHARGED || s->of == BUDGET_ALL)
			s->bytes -= take < s->bytes ? take : s->bytes;
	}
}

const struct budget_source *budget_tightest(const struct budget *b,
                                            const uint64_t need[BUDGET_KINDS])
{
	const struct budget_source *best = NULL;
	int64_t least = 0;

	for (unsigned i = 0; i < b->n; i++) {
		int64_t left = (int64_t)b->source[i].bytes - (int64_t)need[b->source[i].of];
		if (!best || left < least) {
			best = &b->source[i];
			least = left;
		}
	}
	return best;
}

const struct budget_source *budget_exceeded(const struct budget *b,
                                            const uint64_t need[BUDGET_KINDS])
{
	const struct budget_source *s = budget_tightest(b, need);

	return s && s->bytes < need[s->of] ? s : NULL;
}
