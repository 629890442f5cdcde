/* mounts_plan.c - what is to be mounted where: volumes, masks, points. */
#include "sandbox/mounts_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "sys/file.h"
#include "sys/inroot.h"

/*
 * Of /proc and /sys, what tells about or reaches the host beyond what a guest
 * needs. The usual list of container engines.
 */
static const char *const masked[] = {
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/devices/virtual/powercap",
	"/sys/firmware",
};

static const char *const unwritable[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

/* 1, 0 where this kernel has no such entry, or -errno. */
static int look_at(const char *path, int flags, struct stat *st, struct err *e)
{
	int r = sys_fstatat(AT_FDCWD, path, st, flags);
	if (r == 0 || r == -ENOENT)
		return r == 0;
	return err_set(e, -r, "look at '%s', which is to be protected: %s", path, strerror(-r));
}

/* /proc and /sys have the same entries in every namespace of this kernel. */
static int plan_masks(struct mounts *m, struct err *e)
{
	struct stat st;
	for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++) {
		int r = look_at(masked[i], AT_SYMLINK_NOFOLLOW, &st, e);
		if (r < 0)
			return r;
		if (!r)
			continue;
		struct mask *mask = vec_add(&m->masks);
		if (!mask)
			return no_memory(e);
		*mask = (struct mask){masked[i], S_ISDIR(st.st_mode)};
	}
	for (size_t i = 0; i < sizeof(unwritable) / sizeof(*unwritable); i++) {
		int r = look_at(unwritable[i], 0, &st, e);
		if (r < 0)
			return r;
		if (!r)
			continue;
		const char **path = vec_add(&m->read_only);
		if (!path)
			return no_memory(e);
		*path = unwritable[i];
	}
	return 0;
}

static int add_place(struct mounts *m, const char *dst, const char *src, enum volume_mode mode)
{
	struct place *p = vec_add(&m->places);
	if (!p)
		return -ENOMEM;
	*p = (struct place){.dst = strdup(dst), .mode = mode, .parent = -1};
	p->src = src ? strdup(src) : NULL;
	struct stat st = {0};
	int r = src ? sys_fstatat(AT_FDCWD, src, &st, 0) : 0;
	p->file = src && r == 0 && !S_ISDIR(st.st_mode);
	if (r == -ENOENT)
		r = 0;	/* told when it is to be mounted */
	return !p->dst || (src && !p->src) ? -ENOMEM : r;
}

static int by_path(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	return strcmp(x->dst, y->dst);
}

static bool lies_in(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return !strncmp(path, dir, n) && path[n] == '/';
}

/* Sorted by path an outer place comes first; the last that fits is nearest. */
static void find_parents(struct mounts *m)
{
	struct place *p = m->places.data;
	for (size_t i = 0; i < m->places.n; i++)
		for (size_t k = 0; k < i; k++)
			if (lies_in(p[i].dst, p[k].dst))
				p[i].parent = (int)k;
}

static int plan_places(struct mounts *m, const struct spec *spec, struct err *e)
{
	size_t n_cow = 0;
	vec_each(struct volume, v, &spec->volumes) {
		int r = add_place(m, v->dst, v->src, v->mode);
		if (r)
			return err_set(e, -r, "look at the volume '%s': %s", v->src, strerror(-r));
		struct place *p = vec_at(&m->places, m->places.n - 1);
		p->cow_index = n_cow;
		n_cow += v->mode == VOLUME_COW;
	}
	vec_each(char *, path, &spec->tmpfs)
		if (add_place(m, *path, NULL, VOLUME_RW))
			return no_memory(e);
	if (m->places.n)
		qsort(m->places.data, m->places.n, sizeof(struct place), by_path);
	find_parents(m);
	return 0;
}

static int add_point(struct mounts *m, const char *path)
{
	char **point = vec_add(&m->points);
	if (point)
		*point = strdup(path);
	return point && *point ? 0 : -ENOMEM;
}

static int plan_points(struct mounts *m, struct err *e)
{
	static const char *const always[] = {"proc", "sys", "dev", RUN_POINT};
	for (size_t i = 0; i < sizeof(always) / sizeof(*always); i++)
		if (add_point(m, always[i]))
			return no_memory(e);
	vec_each(struct place, p, &m->places)
		if (p->parent < 0 && add_point(m, p->dst + 1))
			return no_memory(e);
	return 0;
}

int mounts_plan(struct mounts *m, const struct spec *spec, struct err *e)
{
	m->places = VEC_INIT(struct place);
	m->points = VEC_INIT(char *);
	m->masks = VEC_INIT(struct mask);
	m->read_only = VEC_INIT(const char *);
	int r = plan_masks(m, e);
	if (!r)
		r = plan_places(m, spec, e);
	if (!r)
		r = plan_points(m, e);
	return r;
}

void mounts_plan_deinit(struct mounts *m)
{
	vec_each(struct place, p, &m->places) {
		free(p->dst);
		free(p->src);
	}
	vec_each(char *, point, &m->points)
		free(*point);
	vec_deinit(&m->places);
	vec_deinit(&m->points);
	vec_deinit(&m->masks);
	vec_deinit(&m->read_only);
}

const struct vec *mounts_points(const struct mounts *m)
{
	return &m->points;
}

/* Make the last component of path below root_fd; those before it exist. */
static int make_last(int root_fd, const char *path, bool file)
{
	const char *slash = strrchr(path, '/');
	scoped_free char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	if (!parent)
		return -ENOMEM;
	scoped_fd int dir = sys_inroot_open(root_fd, parent, O_PATH | O_DIRECTORY);
	if (dir < 0)
		return dir;
	const char *name = slash ? slash + 1 : path;
	if (!file)
		return sys_mkdirat(dir, name, 0755);
	scoped_fd int fd = sys_openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? fd : 0;
}

/* Whether there is a node of the right kind: 1, 0, or -errno. */
static int look(int root_fd, const char *path, bool file)
{
	scoped_fd int fd = sys_inroot_open(root_fd, path, O_PATH);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	struct stat st;
	int r = sys_fstat(fd, &st);
	if (r)
		return r;
	if (file)
		return S_ISDIR(st.st_mode) ? -EISDIR : 1;
	return S_ISDIR(st.st_mode) ? 1 : -ENOTDIR;
}

/* Make path and the directories above it; 1: something was made, 0, -errno. */
static int make_point(int root_fd, const char *path, bool file)
{
	int r = look(root_fd, path, file);
	if (r)
		return r < 0 ? r : 0;
	scoped_free char *part = strdup(path);
	if (!part)
		return -ENOMEM;
	for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = look(root_fd, part, false);
		if (!r)
			r = make_last(root_fd, part, false);
		if (r < 0)
			return r;
		*slash = '/';
	}
	r = make_last(root_fd, part, file);
	return r ? r : 1;
}

static bool point_is_file(const struct mounts *m, const char *point)
{
	vec_each(struct place, p, &m->places)
		if (!strcmp(p->dst + 1, point))
			return p->file;
	return false;
}

/*
 * A guest can move /run away and put something else there, and must not keep
 * its sandbox from being rolled back by that. (Top-level mount points cannot
 * be moved while something is mounted on them.)
 */
static bool may_be_spoilt(const char *point, int r)
{
	return !strcmp(point, RUN_POINT) &&
	       (r == -ENOTDIR || r == -EEXIST || r == -ELOOP || r == -EXDEV);
}

int mounts_make_points(const struct mounts *m, int root_fd, struct err *e)
{
	int made = 0;
	vec_each(char *, point, &m->points) {
		int r = make_point(root_fd, *point, point_is_file(m, *point));
		if (may_be_spoilt(*point, r))
			continue;
		if (r < 0) {
			err_set(e, -r, "no mount point /%s in the sandbox's root: %s", *point,
				strerror(-r));
			return err_path(e, *point);
		}
		made += r;
	}
	return made;
}

int mounts_make_nested(const struct mounts *m, const struct place *p, int parent_fd, struct err *e)
{
	const struct place *parent = vec_at(&m->places, (size_t)p->parent);
	const char *path = p->dst + strlen(parent->dst) + 1;
	int r = parent->mode == VOLUME_COW ? make_point(parent_fd, path, p->file)
					   : look(parent_fd, path, p->file);
	if (r > 0 || (!r && parent->mode == VOLUME_COW))
		return 0;
	err_set(e, r ? -r : ENOENT, "no mount point for '%s' in the volume '%s': %s", p->dst,
		parent->dst, strerror(r ? -r : ENOENT));
	err_remedy(e, "create '%s' in '%s'", path, parent->src);
	return err_path(e, p->dst);
}
