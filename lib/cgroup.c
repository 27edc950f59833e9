#include "cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines of /proc/PID/cgroup: "0::/path" is version 2, "4:memory:/path" the memory controller of
 * version 1.  The path starts behind the last of the two colons. */
static const char *path_in(const char *line, int version)
{
	const char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

	if (!path || path[1] != '/')
		return NULL;
	size_t n = (size_t)(path - names - 1);
	int wanted = version == 2 ? n == 0 : n == 6 && !memcmp(names + 1, "memory", 6);
	return wanted ? path + 1 : NULL;
}

int cgroup_find(struct cgroup *c, const char *root, pid_t pid, int version)
{
	const char *path = NULL, *mount = version == 2 ? "" : "/memory";
	char name[1100], line[1200], self[24] = "self";

	if (pid)
		snprintf(self, sizeof self, "%d", (int)pid);
	snprintf(name, sizeof name, "%.1000s/proc/%s/cgroup", root, self);
	FILE *f = fopen(name, "re");
	while (f && !path && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		path = path_in(line, version);
	}
	if (f)
		fclose(f);
	if (!path)
		return 0;
	c->mount = (size_t)snprintf(c->dir, sizeof c->dir, "%.1000s/sys/fs/cgroup%s", root, mount);
	snprintf(c->dir + c->mount, sizeof c->dir - c->mount, "%s", path[1] ? path : "");
	return 1;
}

int cgroup_up(struct cgroup *c)
{
	char *slash = strrchr(c->dir + c->mount, '/');

	if (!slash)
		return 0;
	*slash = 0;
	return 1;
}

const char *cgroup_name(const struct cgroup *c)
{
	return c->dir[c->mount] ? c->dir + c->mount : "/";
}

static FILE *open_file(const struct cgroup *c, const char *file)
{
	char path[sizeof c->dir + 64];

	snprintf(path, sizeof path, "%s/%.60s", c->dir, file);
	return fopen(path, "re");
}

uint64_t cgroup_number(const struct cgroup *c, const char *file)
{
	char line[64];
	FILE *f = open_file(c, file);
	uint64_t v = 0;

	if (!f)
		return 0;
	if (fgets(line, sizeof line, f) && line[0] >= '0' && line[0] <= '9')
		v = strtoull(line, NULL, 10);
	fclose(f);
	return v >= UINT64_C(1) << 60 ? 0 : v;
}

int cgroup_is_shared(const struct cgroup *c)
{
	FILE *f = open_file(c, "cgroup.procs");
	int n = 0, pid;

	while (f && n < 2 && fscanf(f, "%d", &pid) == 1)
		n++;
	if (f)
		fclose(f);
	return n > 1;
}
