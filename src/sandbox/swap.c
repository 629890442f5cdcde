#include "sandbox/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "sys/file.h"
#include "sys/mount.h"

/* A stay in another mount namespace: what is needed to come home. */
struct visit {
	int ns_fd;
	int root_fd;
	int cwd_fd;
	int proc_fd;      /* our own /proc/self: the guest's has other pids */
	int there_fd;     /* the namespace's root */
	struct vec lines; /* struct mount_line of the namespace */
};

void swap_init(struct swap *s, int root_fd)
{
	*s = (struct swap){.root_fd = root_fd, .mounts = VEC_INIT(struct swap_mount)};
}

static void forget_moved(struct swap_mount *m)
{
	vec_each(char *, path, &m->moved) free(*path);
	vec_deinit(&m->moved);
}

void swap_deinit(struct swap *s)
{
	vec_each(struct swap_mount, m, &s->mounts) forget_moved(m);
	vec_deinit(&s->mounts);
}

struct swap_mount *swap_add(struct swap *s, const char *target, int old_fd, uint64_t old_id,
			    int new_fd, uint64_t new_id)
{
	struct swap_mount *m = vec_add(&s->mounts);
	if (m)
		*m = (struct swap_mount){
			.target = target,
			.old_fd = old_fd,
			.old_id = old_id,
			.new_fd = new_fd,
			.new_id = new_id,
			.moved = VEC_INIT(char *),
		};
	return m;
}

static int open_path(int dir_fd, const char *path)
{
	return sys_openat(dir_fd, path, O_PATH | O_NOFOLLOW, 0);
}

/* setns() moves our cwd and root to the other namespace's: keep ours. */
static int visit_prepare(struct visit *v)
{
	*v = (struct visit){.there_fd = -1, .lines = VEC_INIT(struct mount_line)};
	v->ns_fd = sys_openat(AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY, 0);
	v->root_fd = open_path(AT_FDCWD, "/");
	v->cwd_fd = open_path(AT_FDCWD, ".");
	v->proc_fd = sys_openat(AT_FDCWD, "/proc/self", O_PATH | O_DIRECTORY, 0);
	int fds[] = {v->ns_fd, v->root_fd, v->cwd_fd, v->proc_fd};
	for (size_t i = 0; i < 4; i++)
		if (fds[i] < 0)
			return fds[i];
	return 0;
}

static int go_home(struct visit *v)
{
	int r = sys_setns(v->ns_fd, CLONE_NEWNS);
	if (r == 0)
		r = sys_fchdir(v->root_fd);
	if (r == 0)
		r = sys_chroot(".");
	if (r == 0)
		r = sys_fchdir(v->cwd_fd);
	return r;
}

static void visit_close(struct visit *v)
{
	cleanup_fd(&v->there_fd);
	cleanup_fd(&v->proc_fd);
	cleanup_fd(&v->cwd_fd);
	cleanup_fd(&v->root_fd);
	cleanup_fd(&v->ns_fd);
	mount_lines_deinit(&v->lines);
}

/* Every step can be repeated, and one failure must not leave us abroad. */
static int visit_leave(struct visit *v, struct err *e)
{
	int r = go_home(v);
	if (r)
		r = go_home(v);
	visit_close(v);
	if (r == 0)
		return 0;
	err_set(e, -r, "cannot come back from the sandbox's mount namespace: %s", strerror(-r));
	if (e)
		e->broken = true;
	return r;
}

/* setns() leads on top of what is parked on "/": go below it. */
static int enter_root(struct visit *v, int root_fd)
{
	int r = sys_fchdir(root_fd);
	if (r == 0)
		r = sys_chroot(".");
	if (r == 0)
		r = v->there_fd = open_path(AT_FDCWD, "/");
	return r < 0 ? r : 0;
}

static int visit_enter(struct visit *v, int mntns_fd, int root_fd, bool look, struct err *e)
{
	int r = visit_prepare(v);
	if (r == 0)
		r = sys_setns(mntns_fd, CLONE_NEWNS);
	if (r) {
		visit_close(v);
		return err_set(e, -r, "cannot enter the sandbox's mount namespace: %s",
			       strerror(-r));
	}
	r = enter_root(v, root_fd);
	if (r == 0 && look)
		r = sys_mountinfo(v->proc_fd, &v->lines);
	if (r == 0)
		return 0;
	struct err home = ERR_INIT;
	err_set(e, -r, "cannot look at the sandbox's mounts: %s", strerror(-r));
	if (visit_leave(v, &home) && e)
		*e = home;
	return r;
}

/* The sandbox's root now: one that is exchanged, or the one that never was. */
static int root_now(const struct swap *s)
{
	vec_each(struct swap_mount, m, &s->mounts) if (m->pivoted) return m->new_fd;
	return s->root_fd;
}

static bool is_root(const struct swap_mount *m)
{
	return !strcmp(m->target, "/");
}

/* Path inside the mount at target of a mount point below it. */
static const char *below(const char *target, const char *path)
{
	size_t len = strcmp(target, "/") ? strlen(target) : 0;
	if (strncmp(path, target, len) || path[len] != '/')
		return NULL;
	return path + len + 1;
}

/* What is at the target is the old overlay, and it is there once. */
static int check_mount(const struct visit *v, const struct swap_mount *m, struct err *e)
{
	const struct mount_line *old = NULL;
	vec_each(struct mount_line, line, &v->lines) if (line->mnt_id == m->old_id) old = line;
	if (!old || strcmp(old->target, m->target))
		return err_set(e, ESTALE, "'%s' of the sandbox is not mounted where it was",
			       m->target);
	vec_each(struct mount_line, line, &v->lines)
	{
		if (line->dev != old->dev || line == old)
			continue;
		err_set(e, EBUSY, "'%s' is a bind mount of the sandbox's own '%s'", line->target,
			m->target);
		err_path(e, line->target);
		return err_remedy(e, "unmount it in the sandbox; such mounts cannot be saved yet");
	}
	scoped_fd int fd = open_path(v->there_fd, is_root(m) ? "." : m->target + 1);
	uint64_t id;
	int r = fd < 0 ? fd : sys_mnt_id(fd, &id);
	if (r)
		return err_set(e, -r, "cannot look at '%s' of the sandbox: %s", m->target,
			       strerror(-r));
	if (id != m->old_id)
		return err_set(e, ESTALE, "something else is mounted over '%s' of the sandbox",
			       m->target);
	return 0;
}

/* Move one mount from the same path of one overlay to the other. */
static int move_below(int from_fd, int to_fd, const char *path, uint64_t id)
{
	scoped_fd int from = open_path(from_fd, path);
	if (from < 0)
		return from;
	scoped_fd int to = open_path(to_fd, path);
	if (to < 0)
		return to;
	uint64_t found;
	int r = sys_mnt_id(from, &found);
	if (r == 0 && id && found != id)
		r = -EBUSY; /* another one on top of it */
	return r ? r : sys_move_mount_fd(from, to);
}

static int move_children(const struct visit *v, struct swap_mount *m, struct err *e)
{
	vec_each(struct mount_line, line, &v->lines)
	{
		if (line->parent_id != m->old_id)
			continue;
		const char *path = below(m->target, line->target);
		char **moved = path ? vec_add(&m->moved) : NULL;
		int r = path ? -ENOMEM : -EBUSY;
		if (moved)
			r = (*moved = strdup(path)) ? 0 : -ENOMEM;
		if (r == 0)
			r = move_below(m->old_fd, m->new_fd, path, line->mnt_id);
		if (r == 0)
			continue;
		if (moved) {
			free(*moved);
			m->moved.n--;
		}
		return err_set(e, -r, "cannot move the mount at '%s': %s", line->target,
			       strerror(-r));
	}
	return 0;
}

static int pivot_to(int fd)
{
	int r = sys_fchdir(fd);
	return r ? r : sys_pivot_root(".", ".");
}

static int attach(const struct visit *v, struct swap_mount *m)
{
	if (is_root(m))
		return sys_move_mount_fd(m->new_fd, m->old_fd);
	/*
	 * "/" as it is now: the root may have been exchanged before us. The
	 * kernel puts it on top of whatever is parked there already.
	 */
	scoped_fd int root = open_path(AT_FDCWD, "/");
	int r = root < 0 ? root : sys_move_mount_fd(m->old_fd, root);
	if (r)
		return r;
	m->parked = true;
	scoped_fd int place = open_path(root, m->target + 1);
	return place < 0 ? place : sys_move_mount_fd(m->new_fd, place);
}

static int swap_one(const struct visit *v, struct swap_mount *m, struct err *e)
{
	int r = attach(v, m);
	if (r)
		return err_set(e, -r, "cannot mount the next layer at '%s': %s", m->target,
			       strerror(-r));
	m->attached = true;
	r = move_children(v, m, e);
	if (r || !is_root(m))
		return r;
	r = pivot_to(m->new_fd);
	if (r)
		return err_set(e, -r, "cannot change the sandbox's root: %s", strerror(-r));
	m->pivoted = true;
	return 0;
}

static int unmount_fd(int fd)
{
	/* The mount's root as cwd: nothing above it can be meant by ".". */
	int r = sys_fchdir(fd);
	return r ? r : sys_umount2(".", MNT_DETACH);
}

/* One more try: the mounts are ours and the processes stand still. */
#define TWICE(call)                                                                                \
	({                                                                                         \
		int twice_ = (call);                                                               \
		twice_ ? (call) : 0;                                                               \
	})

static int unpark(const struct swap_mount *m)
{
	scoped_fd int root = open_path(AT_FDCWD, "/");
	scoped_fd int place = root < 0 ? root : open_path(root, m->target + 1);
	return place < 0 ? place : sys_move_mount_fd(m->old_fd, place);
}

static int unswap_one(struct swap_mount *m)
{
	int r = 0;
	if (m->pivoted)
		r = TWICE(pivot_to(m->old_fd));
	while (r == 0 && m->moved.n) {
		char **path = vec_at(&m->moved, m->moved.n - 1);
		r = TWICE(move_below(m->new_fd, m->old_fd, *path, 0));
		if (r)
			return r;
		free(*path);
		m->moved.n--;
	}
	if (r == 0 && m->attached)
		r = TWICE(unmount_fd(m->new_fd));
	if (r == 0 && m->parked)
		r = TWICE(unpark(m));
	if (r == 0)
		m->pivoted = m->attached = m->parked = false;
	return r;
}

static int unswap_all(struct swap *s, struct err *e)
{
	for (size_t i = s->mounts.n; i--;) {
		struct swap_mount *m = vec_at(&s->mounts, i);
		int r = unswap_one(m);
		if (r == 0)
			continue;
		err_set(e, -r, "cannot put the old '%s' back: %s", m->target, strerror(-r));
		if (e)
			e->broken = true;
		return r;
	}
	return 0;
}

static int swap_all(const struct visit *v, struct swap *s, struct err *e)
{
	int r = 0;
	vec_each(struct swap_mount, m, &s->mounts) if (r == 0) r = check_mount(v, m, e);
	vec_each(struct swap_mount, m, &s->mounts) if (r == 0) r = swap_one(v, m, e);
	return r;
}

int swap_run(struct swap *s, int mntns_fd, struct err *e)
{
	struct visit v;
	int r = visit_enter(&v, mntns_fd, s->root_fd, true, e);
	if (r)
		return r;
	r = swap_all(&v, s, e);
	struct err worse = ERR_INIT;
	if (r && unswap_all(s, &worse) && e)
		*e = worse;
	int home = visit_leave(&v, &worse);
	if (home && e)
		*e = worse;
	return home ? home : r;
}

int swap_undo(struct swap *s, int mntns_fd, struct err *e)
{
	struct visit v;
	int r = visit_enter(&v, mntns_fd, root_now(s), false, e);
	if (r) /* a single failure must not keep us from taking it back */
		r = visit_enter(&v, mntns_fd, root_now(s), false, e);
	if (r)
		return r;
	r = unswap_all(s, e);
	int home = visit_leave(&v, r ? NULL : e);
	return r ? r : home;
}

int swap_settle(struct swap *s, int mntns_fd, struct err *e)
{
	struct visit v;
	int r = visit_enter(&v, mntns_fd, root_now(s), false, e);
	if (r)
		r = visit_enter(&v, mntns_fd, root_now(s), false, e);
	if (r)
		return r;
	/* What was parked last lies on top. */
	for (size_t i = s->mounts.n; i--;) {
		struct swap_mount *m = vec_at(&s->mounts, i);
		int one = TWICE(unmount_fd(m->old_fd));
		if (one && r == 0)
			r = err_set(e, -one, "cannot unmount the old '%s': %s", m->target,
				    strerror(-one));
	}
	int home = visit_leave(&v, r ? NULL : e);
	return r ? r : home;
}
