/*
 * Where the memory controller keeps its numbers about the control group of a process, and about
 * those above it, in versions 2 and 1.
 *
 *	struct cgroup c;
 *	for (int on = cgroup_find(&c, "", 0, 2); on; on = cgroup_up(&c))
 *		limit = cgroup_number(&c, "memory.max");
 */
#ifndef CGROUP_H
#define CGROUP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup {
	char dir[2400]; /* of the group */
	size_t mount;   /* bytes of it that are the mount point */
};

/* The group of a process (0: this one) in a version's tree.  root stands in front of /proc and /sys
 * ("" on a real system; tests have their own).  Returns 0 when there is none. */
int cgroup_find(struct cgroup *c, const char *root, pid_t pid, int version);

/* Goes to the group above; returns 0 at the top. */
int cgroup_up(struct cgroup *c);

/* "/a/b"; "/" at the top. */
const char *cgroup_name(const struct cgroup *c);

/* The number in a file of the group; 0 when there is none ("max"), or one so large that it limits
 * nothing, as version 1 writes it. */
uint64_t cgroup_number(const struct cgroup *c, const char *file);

/* Whether other processes are in the group too. */
int cgroup_is_shared(const struct cgroup *c);

#endif
