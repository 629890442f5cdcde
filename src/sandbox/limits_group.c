/*
 * limits_group.c - one incarnation's cgroups: made, taken, given back.
 *
 *	          limits_group_take()          limits_group_give()
 *	(none) ----------------------> TAKEN ----------------------> GIVEN
 *	                                 ^                             |
 *	                                 +-- limits_group_take(), once +
 *	                                     its last process is gone
 */
#include "sandbox/limits_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sys/file.h"
#include "sys/sandboxing.h"

enum {
	CPU_PERIOD_US = 100000,
	GROUPS_MAX = 64, /* running, standbys, and those that are dying */
};

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

int limits_group_remove(struct limits *l, const char *name)
{
	int ret = 0;
	for (size_t i = 0; i < l->means.n; i++) {
		if (l->dir_fd[i] < 0)
			continue;
		int r = sys_unlinkat(l->dir_fd[i], name, AT_REMOVEDIR);
		if (r && r != -ENOENT)
			ret = r;
	}
	return ret;
}

void limits_group_free(struct limits_group *g)
{
	for (size_t i = 0; i < HIERARCHIES_MAX; i++)
		cleanup_fd(&g->fd[i]);
	free(g);
}

static int write_number(int fd, const char *file, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	return sys_write_small(fd, file, text);
}

static int set_memory(const struct limits *l, int fd)
{
	if (!l->memory_bytes)
		return 0;
	bool v2 = l->means.kind == LIMITS_V2;
	int r = write_number(fd, v2 ? "memory.max" : "memory.limit_in_bytes", l->memory_bytes);
	if (r)
		return r;
	/* as much swap as memory (v1 counts both); kernels without swap
	 * accounting lack the file */
	r = write_number(fd, v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
			 v2 ? l->memory_bytes : 2 * l->memory_bytes);
	return r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
}

static int set_cpu(const struct limits *l, int fd)
{
	if (!l->cpus_milli)
		return 0;
	uint64_t quota = (uint64_t)l->cpus_milli * CPU_PERIOD_US / 1000;
	if (l->means.kind == LIMITS_V1) {
		int r = write_number(fd, "cpu.cfs_period_us", CPU_PERIOD_US);
		return r ? r : write_number(fd, "cpu.cfs_quota_us", quota);
	}
	char text[64];
	snprintf(text, sizeof(text), "%" PRIu64 " %d", quota, CPU_PERIOD_US);
	return sys_write_small(fd, "cpu.max", text);
}

static int set_limits(const struct limits *l, const struct limits_group *g)
{
	int r = 0;
	for (size_t i = 0; !r && i < l->means.n; i++) {
		unsigned int roles = l->means.place[i].roles;
		if (roles & ROLE_MEMORY)
			r = set_memory(l, g->fd[i]);
		if (!r && roles & ROLE_PIDS)
			r = write_number(g->fd[i], "pids.max", l->pids_max);
		if (!r && roles & ROLE_CPU)
			r = set_cpu(l, g->fd[i]);
	}
	return r;
}

/* Directory of the group that plays a role; -1: none. */
static int role_fd(const struct limits_group *g, unsigned int role)
{
	const struct limits_means *m = &g->owner->means;
	for (size_t i = 0; i < m->n; i++)
		if (m->place[i].roles & role)
			return g->fd[i];
	return -1;
}

static uint64_t oom_kills(const struct limits_group *g)
{
	uint64_t n = 0;
	int fd = role_fd(g, ROLE_MEMORY);
	bool v2 = g->owner->means.kind == LIMITS_V2;
	if (fd < 0 || sys_read_key(fd, v2 ? "memory.events" : "memory.oom_control", "oom_kill", &n))
		return 0;
	return n;
}

static bool is_empty(const struct limits_group *g)
{
	char text[16];
	for (size_t i = 0; i < g->owner->means.n; i++)
		if (sys_read_small(g->fd[i], "cgroup.procs", text, sizeof(text)))
			return false;
	return true;
}

static int make_group(struct limits *l, struct limits_group *g)
{
	snprintf(g->name, sizeof(g->name), "g%u", l->next++);
	for (size_t i = 0; i < l->means.n; i++) {
		int r = sys_mkdirat(l->dir_fd[i], g->name, 0755);
		if (r)
			return r;
		g->fd[i] = sys_openat(l->dir_fd[i], g->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
		if (g->fd[i] < 0)
			return g->fd[i];
	}
	return set_limits(l, g);
}

static int new_group(struct limits *l, struct limits_group **out, struct err *e)
{
	if (l->groups.n == GROUPS_MAX) {
		err_set(e, EAGAIN, "%d earlier states of this sandbox are still ending",
			GROUPS_MAX);
		return err_remedy(e, "try again in a moment");
	}
	struct limits_group *g = calloc(1, sizeof(*g));
	struct limits_group **slot = g ? vec_add(&l->groups) : NULL;
	if (!slot) {
		free(g);
		return no_memory(e);
	}
	*slot = g;
	g->owner = l;
	for (size_t i = 0; i < HIERARCHIES_MAX; i++)
		g->fd[i] = -1;
	int r = make_group(l, g);
	if (r) {
		(void)!limits_group_remove(l, g->name);
		vec_remove(&l->groups, l->groups.n - 1);
		limits_group_free(g);
		return err_set(e, -r, "make a cgroup with limits: %s", strerror(-r));
	}
	*out = g;
	return 0;
}

int limits_group_take(struct limits *l, struct limits_group **out, struct err *e)
{
	struct limits_group *g = NULL;
	vec_each(struct limits_group *, it, &l->groups)
		if (!g && (*it)->state == GROUP_GIVEN && is_empty(*it))
			g = *it;
	if (!g) {
		int r = new_group(l, &g, e);
		if (r)
			return r;
	}
	g->state = GROUP_TAKEN;
	g->oom_before = oom_kills(g);
	/* v1 lets the peak begin anew; v2 does not */
	if (l->means.kind == LIMITS_V1)
		(void)!sys_write_small(role_fd(g, ROLE_MEMORY), "memory.max_usage_in_bytes", "0");
	*out = g;
	return 0;
}

void limits_group_give(struct limits *l, struct limits_group *g)
{
	if (!g)
		return;
	assert(g->owner == l && g->state == GROUP_TAKEN);
	g->state = GROUP_GIVEN;
}

size_t limits_doors(const struct limits *l)
{
	return l->means.kind == LIMITS_V1 ? l->means.n : 0;
}

int limits_group_open_doors(struct limits_group *g, int fds[LIMITS_DOORS_MAX], struct err *e)
{
	static_assert((int)LIMITS_DOORS_MAX >= (int)HIERARCHIES_MAX, "a door a hierarchy");
	for (size_t i = 0; i < limits_doors(g->owner); i++) {
		fds[i] = sys_openat(g->fd[i], "tasks", O_WRONLY, 0);
		if (fds[i] >= 0)
			continue;
		int r = fds[i];
		while (i)
			cleanup_fd(&fds[--i]);
		return err_set(e, -r, "open the tasks of cgroup '%s/%s': %s", g->owner->name,
			       g->name, strerror(-r));
	}
	return 0;
}

int limits_group_attach(struct limits_group *g, pid_t pid, struct err *e)
{
	for (size_t i = 0; i < g->owner->means.n; i++) {
		int r = write_number(g->fd[i], "cgroup.procs", (uint64_t)pid);
		if (r)
			return err_set(e, -r, "put process %d into its cgroup '%s/%s/%s': %s", pid,
				       g->owner->means.place[i].dir, g->owner->name, g->name,
				       strerror(-r));
	}
	return 0;
}

int limits_group_fd(const struct limits_group *g)
{
	return g->owner->means.kind == LIMITS_V2 ? g->fd[0] : -1;
}

int limits_group_freeze(struct limits_group *g, bool frozen)
{
	int fd = role_fd(g, ROLE_FREEZER);
	if (fd < 0)
		return -EOPNOTSUPP;
	if (g->owner->means.kind == LIMITS_V2)
		return sys_write_small(fd, "cgroup.freeze", frozen ? "1" : "0");
	return sys_write_small(fd, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

uint64_t limits_group_oom_kills(const struct limits_group *g)
{
	return oom_kills(g) - g->oom_before;
}

int limits_group_usage(const struct limits_group *g, struct limits_usage *out)
{
	if (g->owner->means.kind == LIMITS_NONE)
		return -EOPNOTSUPP;
	bool v2 = g->owner->means.kind == LIMITS_V2;
	struct limits_usage u = {0};
	int memory = role_fd(g, ROLE_MEMORY), cpu = role_fd(g, ROLE_CPU);
	int r = sys_read_u64(memory, v2 ? "memory.current" : "memory.usage_in_bytes",
			     &u.memory_bytes);
	if (!r)
		r = sys_read_u64(role_fd(g, ROLE_PIDS), "pids.current", &u.pids);
	if (r)
		return r;
	/* newer than the oldest kernel: 0 where they are absent */
	(void)!sys_read_u64(memory, v2 ? "memory.peak" : "memory.max_usage_in_bytes",
			    &u.memory_peak_bytes);
	if (v2 && !sys_read_key(cpu, "cpu.stat", "usage_usec", &u.cpu_ns))
		u.cpu_ns *= 1000;
	if (!v2 && cpu >= 0)
		(void)!sys_read_u64(cpu, "cpuacct.usage", &u.cpu_ns);
	u.oom_kills = limits_group_oom_kills(g);
	*out = u;
	return 0;
}
