/*
 * limits.c - the limits of a sandbox, and the directories of its groups.
 *
 *	<hierarchy>/mulligan/<name>.<random>/	one sandbox, kept open and
 *						flock()ed by its keeper
 *		g0, g1, ...			one incarnation each
 *
 * Limits are set on the groups, not above them. A group is empty, taken, or
 * given back and still dying; an empty one is taken again, so that a rollback
 * makes no directory. What gc finds unlocked has no keeper any more.
 */
#include "sandbox/limits_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/userns.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/sandboxing.h"

enum {
	PIDS_DEFAULT = 2048,   /* a parallel build needs hundreds, a bomb all */
	PID_MAX_MIN = 400,     /* the kernel demands more than 300 */
	REMOVE_WAIT_MS = 1000, /* for the last processes to be gone */
};

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

/* Make a directory, open and lock it. -EAGAIN: gc was faster. */
static int make_sandbox_dir(const char *parent, const char *name, bool v2)
{
	int r = sys_mkdirat(AT_FDCWD, parent, 0755);
	if (r && r != -EEXIST)
		return r;
	unsigned int enabled;
	if (v2 && (r = limits_enable(parent, &enabled)))
		return r;
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", parent, name);
	r = sys_mkdirat(AT_FDCWD, path, 0755);
	if (r)
		return r == -ENOENT ? -EAGAIN : r;
	scoped_fd int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	r = fd < 0 ? fd : sys_flock(fd, LOCK_EX | LOCK_NB);
	if (!r && v2)
		r = limits_enable(path, &enabled);
	if (!r)
		return take_fd(&fd);
	if (r == -ENOENT)
		return -EAGAIN;
	(void)!sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
	return r;
}

static int make_dirs(struct limits *l, const char *name, struct err *e)
{
	bool v2 = l->means.kind == LIMITS_V2;
	unsigned int id;
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return err_set(e, EIO, "no random number");
	snprintf(l->name, sizeof(l->name), "%s.%08x", name, id);
	for (size_t i = 0; i < l->means.n; i++) {
		const char *dir = l->means.place[i].dir;
		int fd = -EAGAIN;
		for (int tries = 0; fd == -EAGAIN && tries < 3; tries++)
			fd = make_sandbox_dir(dir, l->name, v2);
		if (fd < 0) {
			err_set(e, -fd, "make the cgroup '%s/%s': %s", dir, l->name, strerror(-fd));
			return err_path(e, dir);
		}
		l->dir_fd[i] = fd;
	}
	return 0;
}

static unsigned int all_roles(const struct limits *l)
{
	unsigned int all = 0;
	for (size_t i = 0; i < l->means.n; i++)
		all |= l->means.place[i].roles;
	return all;
}

/* Without cgroups: what can still be bounded, and what to tell the user. */
static void fall_back(struct limits *l, const struct spec *spec)
{
	bool in_userns = sys_in_userns() || userns_needed() || spec->userns;
	if (limits_pid_max_is_per_namespace())
		l->pid_max = l->pids_max + 1 > PID_MAX_MIN ? l->pids_max + 1 : PID_MAX_MIN;
	else if (in_userns)
		l->nproc = l->pids_max;
	bool pids = l->pid_max || l->nproc;
	snprintf(l->missing, sizeof(l->missing), "limits on memory%s CPU are off: %s",
		 pids ? " and" : ", processes and", l->means.why);
}

static void choose(struct limits *l, const struct spec *spec)
{
	uint64_t total;
	l->memory_bytes = spec->memory_bytes;
	if (!l->memory_bytes && !sys_memory_total(&total))
		l->memory_bytes = total / 4 * 3;
	l->pids_max = spec->pids_max ? spec->pids_max : PIDS_DEFAULT;
	l->cpus_milli = spec->cpus_milli;
	if (l->means.kind == LIMITS_NONE) {
		fall_back(l, spec);
		l->memory_bytes = 0;
		l->cpus_milli = 0;
	} else if (l->cpus_milli && !(all_roles(l) & ROLE_CPU)) {
		l->cpus_milli = 0;
		snprintf(l->missing, sizeof(l->missing),
			 "the limit on CPU time is off: no cpu controller may be written");
	}
}

int limits_create(const struct spec *spec, struct limits **out, struct err *e)
{
	struct limits *l = calloc(1, sizeof(*l));
	if (!l)
		return no_memory(e);
	l->groups = VEC_INIT(struct limits_group *);
	for (size_t i = 0; i < HIERARCHIES_MAX; i++)
		l->dir_fd[i] = -1;
	int r = limits_find(&l->means, e);
	if (!r) {
		choose(l, spec);
		r = make_dirs(l, spec->name[0] ? spec->name : "unnamed", e);
	}
	if (r) {
		limits_destroy(l);
		return r;
	}
	*out = l;
	return 0;
}

static void remove_patiently(struct limits *l, const char *name)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	uint64_t end = clock_now_ns() + REMOVE_WAIT_MS * 1000000ull;
	while (limits_group_remove(l, name) == -EBUSY && clock_now_ns() < end)
		nanosleep(&pause, NULL);
}

void limits_forget(struct limits *l)
{
	if (!l)
		return;
	vec_each(struct limits_group *, g, &l->groups)
		limits_group_free(*g);
	for (size_t i = 0; i < HIERARCHIES_MAX; i++)
		cleanup_fd(&l->dir_fd[i]);
	vec_deinit(&l->groups);
	limits_means_deinit(&l->means);
	free(l);
}

void limits_destroy(struct limits *l)
{
	if (!l)
		return;
	vec_each(struct limits_group *, g, &l->groups)
		remove_patiently(l, (*g)->name);
	for (size_t i = 0; i < l->means.n; i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/%s", l->means.place[i].dir, l->name);
		/* EBUSY: something is still dying; gc will find it unlocked */
		if (l->dir_fd[i] >= 0)
			(void)!sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
	}
	limits_forget(l);
}

enum limits_kind limits_kind(const struct limits *l)
{
	return l->means.kind;
}

const char *limits_missing(const struct limits *l)
{
	return l->missing;
}

unsigned int limits_pid_max(const struct limits *l)
{
	return l->pid_max;
}

uint64_t limits_nproc(const struct limits *l)
{
	return l->nproc;
}

uint64_t limits_memory_bytes(const struct limits *l)
{
	return l->memory_bytes;
}

uint32_t limits_pids_max(const struct limits *l)
{
	return l->means.kind != LIMITS_NONE || l->pid_max || l->nproc ? l->pids_max : 0;
}

/* Remove the groups in a directory of a sandbox; how many stayed. */
static int sweep_groups(int dir_fd)
{
	scoped_dir DIR *d = NULL;
	struct dirent *it;
	int stayed = 0, r = sys_opendir_fd(dir_fd, &d);
	while (r == 0 && (r = sys_readdir(d, &it)) > 0) {
		r = 0;
		if (it->d_type == DT_DIR && it->d_name[0] == 'g')
			stayed += !!sys_unlinkat(dir_fd, it->d_name, AT_REMOVEDIR);
	}
	return stayed + !!r;
}

/* One sandbox's directory, if no keeper holds it; how many stayed. */
static int sweep_sandbox(int parent_fd, const char *name)
{
	scoped_fd int fd = sys_openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0 || sys_flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	int stayed = sweep_groups(fd);
	if (!stayed)
		stayed = !!sys_unlinkat(parent_fd, name, AT_REMOVEDIR);
	return stayed;
}

/* Whether a directory is one of the sandbox's, or of any for NULL. */
static bool belongs(const char *dir, const char *name)
{
	const char *dot = strrchr(dir, '.');
	if (!dot || strspn(dot + 1, "0123456789abcdef") != 8 || dot[9])
		return false;
	size_t n = (size_t)(dot - dir);
	return !name || (strlen(name) == n && !strncmp(dir, name, n));
}

static int sweep_place(const char *path, const char *name)
{
	scoped_fd int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	scoped_dir DIR *d = NULL;
	struct dirent *it;
	int stayed = 0, r = fd < 0 ? fd : sys_opendir_fd(fd, &d);
	while (r == 0 && (r = sys_readdir(d, &it)) > 0) {
		r = 0;
		if (it->d_type == DT_DIR && belongs(it->d_name, name))
			stayed += sweep_sandbox(fd, it->d_name);
	}
	return r == 0 || r == -ENOENT ? stayed : r;
}

int limits_gc(const char *name, struct err *e)
{
	struct limits_means m;
	int r = limits_find(&m, e);
	if (r)
		return r;
	int stayed = 0;
	for (size_t i = 0; i < m.n && r >= 0; i++) {
		r = sweep_place(m.place[i].dir, name);
		if (r < 0)
			err_set(e, -r, "look for cgroups in '%s': %s", m.place[i].dir,
				strerror(-r));
		stayed += r;
	}
	limits_means_deinit(&m);
	return r < 0 ? r : stayed;
}

enum limits_kind limits_probe(struct err *why)
{
	struct limits_means m;
	if (limits_find(&m, why))
		return LIMITS_NONE;
	enum limits_kind kind = m.kind;
	if (kind == LIMITS_NONE)
		err_set(why, EACCES, "%s", m.why);
	limits_means_deinit(&m);
	return kind;
}
