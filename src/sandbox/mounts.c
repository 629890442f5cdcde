/*
 * mounts.c - the detached mounts that the keeper makes for an incarnation.
 *
 * Made once, on a small tmpfs in the keeper's own mount namespace:
 *
 *	scratch/dev/{null,zero,full,random,urandom,tty}  binds of the host's
 *	scratch/dev/{pts,shm,mqueue}	empty: mount points
 *	scratch/dev/{fd,stdin,stdout,stderr,ptmx}	symlinks
 *
 * Then the tmpfs is moved over /proc/driver, which every kernel has and no
 * keeper needs: the directory of a sandbox can be removed, but forked keepers,
 * which live in the same namespace, go on with the tmpfs.
 *
 * Each incarnation gets a read-only clone of scratch/dev by one open_tree().
 * It is read-only so that there is nothing in it which a rollback could lose,
 * and the nodes are, so that no guest can change owner and mode of the host's
 * inodes; writing to a device needs no writable mount.
 */
#include "sandbox/mounts_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "sandbox/userns.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/sandboxing.h"

enum {
	TTY_GID = 5,       /* group "tty" of every distribution */
	UMOUNT_DETACH = 2, /* MNT_DETACH, umount2(2) */
};

struct device {
	const char *name;
	unsigned int major, minor;
	bool optional;
};

static const struct device devices[] = {
	{"null", 1, 3, false},   {"zero", 1, 5, false},    {"full", 1, 7, false},
	{"random", 1, 8, false}, {"urandom", 1, 9, false}, {"tty", 5, 0, true},
};

static const char *const dev_links[][2] = {
	{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

/* A detached tmpfs. */
static int new_tmpfs(const char *bytes, const char *inodes)
{
	scoped_fd int fs = sys_fsopen("tmpfs");
	if (fs < 0)
		return fs;
	int r = sys_fsconfig_string(fs, "source", "mulligan");
	if (!r)
		r = sys_fsconfig_string(fs, "mode", "0755");
	if (!r)
		r = sys_fsconfig_string(fs, "size", bytes);
	if (!r)
		r = sys_fsconfig_string(fs, "nr_inodes", inodes);
	if (!r)
		r = sys_fsconfig_create(fs);
	return r ? r : sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* A directory whose mode the umask does not touch. */
static int make_dir(int dir_fd, const char *name, mode_t mode)
{
	int r = sys_mkdirat(dir_fd, name, mode);
	return r ? r : sys_fchmodat(dir_fd, name, mode);
}

static int bind_device(int dev_fd, const struct device *d, struct err *e)
{
	char path[32];
	snprintf(path, sizeof(path), "/dev/%s", d->name);
	struct stat st;
	int r = sys_fstatat(AT_FDCWD, path, &st, 0);
	if (r == -ENOENT && d->optional)
		return 0;
	if (!r && (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(d->major, d->minor)))
		r = -ENODEV;
	if (r) {
		err_set(e, -r, "the host's %s is not the device it should be: %s", path,
			strerror(-r));
		return err_path(e, path);
	}
	scoped_fd int node =
		sys_openat(dev_fd, d->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (node < 0)
		return err_set(e, -node, "make %s: %s", path, strerror(-node));
	scoped_fd int tree = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE);
	r = tree < 0 ? tree : 0;
	if (!r)
		r = sys_mount_setattr(tree, "", AT_EMPTY_PATH,
				      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0);
	if (!r)
		r = sys_move_mount_fd(tree, node);
	return r ? err_set(e, -r, "bind %s: %s", path, strerror(-r)) : 0;
}

static int fill_dev(int dev_fd, struct err *e)
{
	static const char *const dirs[] = {"pts", "shm", "mqueue"};
	int r = 0;
	for (size_t i = 0; !r && i < sizeof(dirs) / sizeof(*dirs); i++)
		r = make_dir(dev_fd, dirs[i], 0755);
	for (size_t i = 0; !r && i < sizeof(dev_links) / sizeof(*dev_links); i++)
		r = sys_symlinkat(dev_links[i][1], dev_fd, dev_links[i][0]);
	if (r)
		return err_set(e, -r, "fill /dev: %s", strerror(-r));
	for (size_t i = 0; !r && i < sizeof(devices) / sizeof(*devices); i++)
		r = bind_device(dev_fd, &devices[i], e);
	return r;
}

static const char resting_place[] = "/proc/driver";

static int make_scratch(struct mounts *m, struct err *e)
{
	scoped_fd int tmpfs = new_tmpfs("1m", "64");
	if (tmpfs < 0)
		return err_set(e, -tmpfs, "make a tmpfs: %s", strerror(-tmpfs));
	int r = sys_move_mount(tmpfs, "", AT_FDCWD, m->scratch, MOVE_MOUNT_F_EMPTY_PATH);
	if (r) {
		err_set(e, -r, "mount a tmpfs on '%s': %s", m->scratch, strerror(-r));
		return err_path(e, m->scratch);
	}
	/* the descriptor of the detached mount is now that of the attached */
	m->scratch_fd = take_fd(&tmpfs);
	r = make_dir(m->scratch_fd, "dev", 0755);
	if (r)
		return err_set(e, -r, "fill /dev: %s", strerror(-r));
	scoped_fd int dev = sys_openat(m->scratch_fd, "dev", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (dev < 0)
		return err_set(e, -dev, "fill /dev: %s", strerror(-dev));
	r = fill_dev(dev, e);
	/* a /proc without it (not the kernel's): stay on scratch */
	m->at_rest = !r && !sys_move_mount(m->scratch_fd, "", AT_FDCWD, resting_place,
					   MOVE_MOUNT_F_EMPTY_PATH);
	return r;
}

static uint64_t tmpfs_bytes(const struct spec *spec)
{
	uint64_t total = spec->memory_bytes;
	if (!total && sys_memory_total(&total))
		total = 1ull << 30;
	return total / 2;
}

int mounts_new(const struct spec *spec, const char *scratch, struct mounts **out, struct err *e)
{
	struct mounts *m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, ENOMEM, "out of memory");
	m->scratch_fd = -1;
	int r = mounts_plan(m, spec, e);
	m->own_net = spec->net == NET_NONE;
	/* sysfs belongs to the owner of the network namespace */
	m->bind_sys = !m->own_net && sys_in_userns();
	m->read_only_root = spec->read_only;
	m->tty_group = userns_gid_mapped(TTY_GID);
	m->tmpfs_bytes = tmpfs_bytes(spec);
	m->scratch = strdup(scratch);
	if (!r && !m->scratch)
		r = err_set(e, ENOMEM, "out of memory");
	if (!r)
		r = make_scratch(m, e);
	if (r) {
		mounts_free(m);
		return r;
	}
	*out = m;
	return 0;
}

void mounts_free(struct mounts *m)
{
	if (!m)
		return;
	/* at rest it may serve other keepers, and ends with the namespace */
	if (m->scratch_fd >= 0 && !m->at_rest)
		(void)!sys_umount2(m->scratch, UMOUNT_DETACH);
	cleanup_fd(&m->scratch_fd);
	mounts_plan_deinit(m);
	free(m->scratch);
	free(m);
}

/* Add a descriptor, or pass its -errno on. */
static int set_add(struct mounts_set *s, int fd, bool owned)
{
	if (fd < 0)
		return fd;
	s->owned[s->n] = owned;
	s->fds[s->n++] = fd;
	return 0;
}

void mounts_set_deinit(struct mounts_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->owned[i])
			cleanup_fd(&s->fds[i]);
	*s = MOUNTS_SET_INIT;
}

/* A clone of a path's mount, with everything below it; attrs are added. */
static int clone_tree(int dir_fd, const char *path, uint64_t attrs, unsigned int recursive)
{
	scoped_fd int fd = sys_open_tree(dir_fd, path, OPEN_TREE_CLONE | AT_RECURSIVE);
	if (fd < 0)
		return fd;
	int r = sys_mount_setattr(fd, "", AT_EMPTY_PATH | recursive, attrs, 0);
	return r ? r : take_fd(&fd);
}

/* /run/mulligan: a tmpfs with the generation number, read-only then. */
static int new_run(uint64_t generation)
{
	scoped_fd int mnt = new_tmpfs("4k", "4");
	if (mnt < 0)
		return mnt;
	char text[24];
	int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", generation);
	scoped_fd int fd = sys_openat(mnt, "generation", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	if (fd < 0)
		return fd;
	int r = sys_fchmod(fd, 0444);
	if (!r)
		r = sys_write_all(fd, text, (size_t)len);
	cleanup_fd(&fd); /* no writer may be left on a read-only mount */
	if (!r)
		r = sys_mount_setattr(mnt, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0);
	return r ? r : take_fd(&mnt);
}

/* Add a volume's descriptor; *fd is it, -1 for a tmpfs. */
static int prepare_place(const struct place *p, const struct mounts_run *run,
			 struct mounts_set *set, int *fd, struct err *e)
{
	*fd = -1;
	if (!p->src)
		return 0;
	if (p->mode == VOLUME_COW) {
		if (p->cow_index >= run->n_cow)
			return err_set(e, EINVAL, "no overlay for the volume '%s'", p->dst);
		*fd = run->cow_fds[p->cow_index];
		return set_add(set, *fd, false);
	}
	uint64_t attrs = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
	if (p->mode == VOLUME_RO)
		attrs |= MOUNT_ATTR_RDONLY;
	*fd = clone_tree(AT_FDCWD, p->src, attrs, AT_RECURSIVE);
	if (*fd < 0) {
		err_set(e, -*fd, "bind the volume '%s': %s", p->src, strerror(-*fd));
		return err_path(e, p->src);
	}
	return set_add(set, *fd, true);
}

static int prepare_places(const struct mounts *m, const struct mounts_run *run,
			  struct mounts_set *set, struct err *e)
{
	int fds[SPEC_VOLUMES_MAX + SPEC_TMPFS_MAX];
	for (size_t i = 0; i < m->places.n; i++) {
		const struct place *p = vec_at(&m->places, i);
		int r = prepare_place(p, run, set, &fds[i], e);
		/* what lies in a tmpfs is made by the program */
		if (!r && p->parent >= 0 && fds[p->parent] >= 0)
			r = mounts_make_nested(m, p, fds[p->parent], e);
		if (r)
			return r;
	}
	return 0;
}

static int prepare_root(const struct mounts *m, int root_fd, struct err *e)
{
	int r = mounts_make_points(m, root_fd, e);
	if (r < 0)
		return r;
	if (!m->read_only_root)
		return 0;
	r = sys_mount_setattr(root_fd, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0);
	return r ? err_set(e, -r, "make the root read-only: %s", strerror(-r)) : 0;
}

int mounts_prepare(struct mounts *m, const struct mounts_run *run, struct mounts_set *out,
		   struct err *e)
{
	struct mounts_set s = MOUNTS_SET_INIT;
	s.hostname = run->hostname;
	s.last_pid = run->last_pid;
	s.pid_max = run->pid_max;
	int r = prepare_root(m, run->root_fd, e);
	if (!r) {
		(void)!set_add(&s, run->root_fd, false);
		r = set_add(&s, clone_tree(m->scratch_fd, "dev", MOUNT_ATTR_RDONLY, 0), true);
		if (!r)
			r = set_add(&s, new_run(run->generation), true);
		if (r)
			err_set(e, -r, "make /dev and /run/mulligan: %s", strerror(-r));
	}
	if (!r)
		r = prepare_places(m, run, &s, e);
	if (!r && m->bind_sys) {
		r = set_add(&s, clone_tree(AT_FDCWD, "/sys", MOUNT_ATTR_RDONLY, AT_RECURSIVE),
			    true);
		if (r)
			err_set(e, -r, "bind /sys: %s", strerror(-r));
	}
	if (r) {
		mounts_set_deinit(&s);
		return r;
	}
	*out = s;
	return 0;
}
