#include "budget.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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
	struct budget_source *s = add(b, BUDGET_CHARGED, bytes);
	snprintf(s->name, sizeof s->name, "%s", name);
}

/* The number in a file of one line; 0 when there is none ("max"), or none that limits anything. */
static uint64_t limit_in(const char *path)
{
	char line[64];
	FILE *f = fopen(path, "re");
	uint64_t v = 0;

	if (!f)
		return 0;
	if (fgets(line, sizeof line, f) && line[0] >= '0' && line[0] <= '9')
		v = strtoull(line, NULL, 10);
	fclose(f);
	return v >= UINT64_C(1) << 60 ? 0 : v; /* v1 writes "no limit" as a huge number */
}

/* The limits in files named `file` of the groups from dir/path up to dir. */
static void add_groups(struct budget *b, const char *dir, const char *path, const char *file)
{
	char group[1024], full[2048];

	snprintf(group, sizeof group, "%s", path);
	for (;;) {
		snprintf(full, sizeof full, "%s%s/%s", dir, strcmp(group, "/") != 0 ? group : "",
		         file);
		uint64_t v = limit_in(full);
		struct budget_source *s = v ? add(b, BUDGET_CHARGED, v) : NULL;
		if (s)
			snprintf(s->name, sizeof s->name, "%s of cgroup %.150s", file, group);
		char *slash = strrchr(group, '/');
		if (!slash || !strcmp(group, "/"))
			return;
		slash[slash == group] = 0;
	}
}

/* Lines of /proc/self/cgroup: "0::/path" is v2, "4:memory:/path" the memory controller of v1. */
static void add_cgroups(struct budget *b, const char *root)
{
	char name[1024], line[1200], dir[1100];
	FILE *f;

	snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
	f = fopen(name, "re");
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		char *path = strchr(line, '/');
		if (!path)
			continue;
		if (!strncmp(line, "0::", 3)) {
			snprintf(dir, sizeof dir, "%.1000s/sys/fs/cgroup", root);
			add_groups(b, dir, path, "memory.max");
			add_groups(b, dir, path, "memory.high");
		} else if (strstr(line, ":memory:")) {
			snprintf(dir, sizeof dir, "%.1000s/sys/fs/cgroup/memory", root);
			add_groups(b, dir, path, "memory.limit_in_bytes");
		}
	}
	if (f)
		fclose(f);
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
	add_cgroups(b, root);
	add_rlimit(b, RLIMIT_AS, "RLIMIT_AS", BUDGET_RESERVED);
	add_rlimit(b, RLIMIT_DATA, "RLIMIT_DATA", BUDGET_PRIVATE);
	return 0;
}

void budget_reserve(struct budget *b, uint64_t bytes, unsigned percent)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct budget_source *s = &b->source[i];
		uint64_t take = bytes + (uint64_t)((double)s->bytes * percent / 100);
		if (s->of == BUDGET_RESIDENT || s->of == BUDGET_CHARGED)
			s->bytes -= take < s->bytes ? take : s->bytes;
	}
}

const struct budget_source *budget_tightest(const struct budget *b, const uint64_t need[4])
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

const struct budget_source *budget_exceeded(const struct budget *b, const uint64_t need[4])
{
	const struct budget_source *s = budget_tightest(b, need);

	return s && s->bytes < need[s->of] ? s : NULL;
}
