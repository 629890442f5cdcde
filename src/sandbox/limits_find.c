/*
 * limits_find.c - which cgroups are ours to use.
 *
 * v2: a directory above (or at) our own in which we may create, move
 * processes and enable controllers; the outermost is taken, since a directory
 * that holds processes itself (usually our own) cannot enable any. v1: each
 * hierarchy by itself, at its top. A container sees only its own part, so the
 * top is what it was given.
 */
#include "sandbox/limits_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/ns.h"
#include "sys/probe.h"
#include "sys/sandboxing.h"

static const struct {
	const char *controller;
	unsigned int role;
} roles[] = {
	{"memory", ROLE_MEMORY},
	{"pids", ROLE_PIDS},
	{"cpu", ROLE_CPU},
	{"freezer", ROLE_FREEZER},
};
enum { N_ROLES = sizeof(roles) / sizeof(*roles) };

void limits_means_deinit(struct limits_means *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->place[i].dir);
	*m = (struct limits_means){.kind = LIMITS_NONE};
}

static int read_file(const char *dir, const char *name, char *text, size_t bytes)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return sys_read_small(AT_FDCWD, path, text, bytes);
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

static bool writable(const char *dir, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !faccessat(AT_FDCWD, path, W_OK, AT_EACCESS);
}

int limits_enable(const char *dir, unsigned int *enabled)
{
	char there[256], on[256], path[4096];
	int r = read_file(dir, "cgroup.controllers", there, sizeof(there));
	if (r >= 0)
		r = read_file(dir, "cgroup.subtree_control", on, sizeof(on));
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	*enabled = ROLE_FREEZER; /* part of every v2 directory */
	for (size_t i = 0; i < N_ROLES; i++) {
		const char *name = roles[i].controller;
		bool wanted = roles[i].role & (ROLE_MEMORY | ROLE_PIDS | ROLE_CPU);
		if (!wanted)
			continue;
		char plus[32];
		snprintf(plus, sizeof(plus), "+%s", name);
		r = has_word(on, name)       ? 0
		    : !has_word(there, name) ? -ENOENT
					     : sys_write_small(AT_FDCWD, path, plus);
		if (!r)
			*enabled |= roles[i].role;
		else if (roles[i].role != ROLE_CPU)
			return r;
	}
	return 0;
}

/* Directories from the top down to our own; each is tried. */
static int find_v2(const struct sys_cgroup *c, struct limits_means *m)
{
	char dir[4096];
	snprintf(dir, sizeof(dir), "%s", c->own);
	int r = -EACCES;
	for (size_t len = strlen(c->top); len <= strlen(c->own);
	     len += 1 + strcspn(c->own + len + 1, "/")) {
		snprintf(dir, sizeof(dir), "%.*s", (int)len, c->own);
		unsigned int enabled = 0;
		if (!writable(dir, ".") || !writable(dir, "cgroup.procs") ||
		    !writable(dir, "cgroup.subtree_control"))
			r = r ? r : -EACCES;
		else
			r = limits_enable(dir, &enabled);
		if (!r) {
			struct limits_place *p = &m->place[0];
			p->roles = enabled;
			if (asprintf(&p->dir, "%s/mulligan", dir) < 0)
				return -ENOMEM;
			m->n = 1;
			m->kind = LIMITS_V2;
			return 0;
		}
		if (!c->own[len])
			break;
	}
	if (r == -EBUSY)
		snprintf(m->why, sizeof(m->why), "processes live directly in the cgroup '%s'",
			 c->own);
	else if (r == -ENOENT)
		snprintf(m->why, sizeof(m->why),
			 "the cgroup '%s' has no memory and pids controllers", c->own);
	else
		snprintf(m->why, sizeof(m->why),
			 "no cgroup at or above '%s' may be written (systemd-run --user --scope "
			 "-p Delegate=yes gives one)",
			 c->own);
	return r;
}

static int add_v1(const struct sys_cgroup *c, struct limits_means *m)
{
	unsigned int found = 0, taken = 0;
	for (size_t i = 0; i < m->n; i++)
		taken |= m->place[i].roles;
	for (size_t i = 0; i < N_ROLES; i++)
		if (sys_list_has(c->controllers, roles[i].controller))
			found |= roles[i].role & ~taken;
	char dir[4096];
	snprintf(dir, sizeof(dir), "%s/mulligan", c->top);
	bool ours = writable(c->top, ".") || writable(dir, ".");
	if (!found || !ours || m->n == HIERARCHIES_MAX)
		return 0;
	m->place[m->n].dir = strdup(dir);
	m->place[m->n].roles = found;
	return m->place[m->n++].dir ? 0 : -ENOMEM;
}

static int find_v1(const struct vec *cgroups, struct limits_means *m)
{
	unsigned int all = 0;
	bool found_any = false;
	vec_each(struct sys_cgroup, c, cgroups) {
		if (c->v2)
			continue;
		found_any |= sys_list_has(c->controllers, "memory");
		if (add_v1(c, m))
			return -ENOMEM;
	}
	for (size_t i = 0; i < m->n; i++)
		all |= m->place[i].roles;
	if (all & ROLE_MEMORY && all & ROLE_PIDS) {
		m->kind = LIMITS_V1;
		return 0;
	}
	if (!m->why[0] || found_any)
		snprintf(m->why, sizeof(m->why),
			 "the cgroup hierarchies of memory and pids may not be written");
	char why[sizeof(m->why)];
	memcpy(why, m->why, sizeof(why));
	limits_means_deinit(m);
	memcpy(m->why, why, sizeof(why));
	return -EACCES;
}

int limits_find(struct limits_means *out, struct err *e)
{
	*out = (struct limits_means){.kind = LIMITS_NONE};
	const struct sys_features *f = sys_features();
	if (f->masked[SYS_F_CGROUP]) {
		snprintf(out->why, sizeof(out->why), "cgroups are masked");
		return 0;
	}
	struct vec cgroups;
	int r = sys_cgroups(&cgroups);
	if (r)
		return err_set(e, -r, "look for cgroups: %s", strerror(-r));
	if (!cgroups.n)
		snprintf(out->why, sizeof(out->why), "no cgroup is mounted");
	bool found = false;
	vec_each(struct sys_cgroup, c, &cgroups)
		if (c->v2 && !found && !f->masked[SYS_F_CGROUP_V2])
			found = !find_v2(c, out);
	if (!found && cgroups.n && !f->masked[SYS_F_CGROUP_V1])
		found = !find_v1(&cgroups, out);
	sys_cgroups_deinit(&cgroups);
	return 0;
}

/*
 * A process without any power outside a new user and PID namespace may open
 * pid_max for writing only if it is its own. As root it must give up uid 0
 * first, which may write the global one.
 */
static int probe_main(void)
{
	struct sys_id_range range[1];
	bool is_root = sys_read_id_map(false, range, 1) == 1 && range[0].inside == 0 &&
		       range[0].outside == 0 && geteuid() == 0;
	if (is_root && setresuid(65534, 65534, 65534))
		return 1;
	if (sys_unshare(CLONE_NEWUSER | CLONE_NEWPID))
		return 1;
	pid_t pid = fork();
	if (!pid) {
		int fd = open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC);
		_exit(fd < 0);
	}
	int status;
	return pid < 0 || waitpid(pid, &status, 0) != pid || status;
}

bool limits_pid_max_is_per_namespace(void)
{
	pid_t pid = fork();
	if (!pid)
		_exit(probe_main());
	int status;
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return pid > 0 && !status;
}
