#include "sandbox/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/probe.h"

enum {
	FD_PATH_BYTES = 32,      /* "/proc/self/fd/" and a number */
	OPTION_BYTES = 4096 - 1, /* mount(2) takes one page of options */
};

const char *overlay_xattr_prefix(bool userxattr)
{
	return userxattr ? "user.overlay." : "trusted.overlay.";
}

int overlay_dir_replaces(int dir_fd, const char *prefix)
{
	static const char *const mark[] = {"opaque", "redirect"};
	for (size_t i = 0; i < 2; i++) {
		char name[64], value[8];
		snprintf(name, sizeof(name), "%s%s", prefix, mark[i]);
		ssize_t n = sys_fgetxattr(dir_fd, name, value, sizeof(value));
		/* ERANGE: a redirect longer than what we look at. */
		if (n >= 0 || n == -ERANGE)
			return 1;
		if (n != -ENODATA && n != -EOPNOTSUPP)
			return (int)n;
	}
	return 0;
}

/* No directory twice: the kernel would say ELOOP, and not which. */
static int check_layers(const struct overlay *o, struct err *e)
{
	if (o->n_lowers > OVERLAY_LOWERS_MAX) {
		err_set(e, E2BIG, "%zu layers are more than the %d that an overlay can have",
			o->n_lowers, OVERLAY_LOWERS_MAX);
		return err_remedy(e, "roll back to an older checkpoint, or export and start anew");
	}
	if (!o->n_lowers || (o->upper_fd < 0 && o->n_lowers < 2))
		return err_set(e, EINVAL, "an overlay needs %d layers", o->upper_fd < 0 ? 2 : 1);
	struct stat seen[OVERLAY_LOWERS_MAX + 1];
	size_t n = 0;
	for (size_t i = 0; i < o->n_lowers + (o->upper_fd >= 0); i++) {
		int fd = i < o->n_lowers ? o->lower_fds[i] : o->upper_fd;
		int r = sys_fstat(fd, &seen[n]);
		if (r)
			return err_set(e, -r, "cannot look at layer %zu of an overlay: %s", i,
				       strerror(-r));
		for (size_t k = 0; k < n; k++)
			if (seen[k].st_dev == seen[n].st_dev && seen[k].st_ino == seen[n].st_ino)
				return err_set(e, EEXIST,
					       "layers %zu and %zu of an overlay are "
					       "the same directory",
					       k, i);
		n++;
	}
	return 0;
}

static const char *fd_path(char text[FD_PATH_BYTES], int fd)
{
	snprintf(text, FD_PATH_BYTES, "/proc/self/fd/%d", fd);
	return text;
}

static int set_dir(int fs_fd, const char *key, int dir_fd, bool by_fd)
{
	char path[FD_PATH_BYTES];
	if (by_fd)
		return sys_fsconfig_fd(fs_fd, key, dir_fd);
	return sys_fsconfig_string(fs_fd, key, fd_path(path, dir_fd));
}

/*
 * index=off: a layer becomes a lower while its mount still exists, which the
 * index refuses. xino=off: inode numbers stay those of the files. volatile:
 * what must be durable is synced by store_sync(), not by every fsync.
 */
static int set_options(int fs_fd, const struct overlay *o)
{
	int r = sys_fsconfig_string(fs_fd, "index", "off");
	if (r == 0)
		r = sys_fsconfig_string(fs_fd, "xino", "off");
	if (r == 0 && o->upper_fd >= 0)
		r = sys_fsconfig_flag(fs_fd, "volatile");
	if (r == 0 && o->userxattr)
		return sys_fsconfig_flag(fs_fd, "userxattr");
	if (r == 0)
		r = sys_fsconfig_string(fs_fd, "redirect_dir", o->upper_fd >= 0 ? "on" : "follow");
	if (r == 0)
		r = sys_fsconfig_string(fs_fd, "metacopy", "off");
	return r;
}

static int configure(int fs_fd, const struct overlay *o, bool by_fd)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < o->n_lowers; i++)
		r = set_dir(fs_fd, "lowerdir+", o->lower_fds[i], by_fd);
	if (r == 0 && o->upper_fd >= 0)
		r = set_dir(fs_fd, "upperdir", o->upper_fd, by_fd);
	if (r == 0 && o->upper_fd >= 0)
		r = set_dir(fs_fd, "workdir", o->work_fd, by_fd);
	if (r == 0)
		r = set_options(fs_fd, o);
	if (r == 0)
		r = sys_fsconfig_create(fs_fd);
	return r;
}

static int refuse(const struct overlay *o, int r, const char *kernel, struct err *e)
{
	err_set(e, -r, "the kernel refuses an overlay of %zu layers: %s%s%s", o->n_lowers,
		strerror(-r), *kernel ? ": " : "", kernel);
	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "make room where the state directory lies, or run 'mulligan gc'");
	else if (strstr(kernel, "upper"))
		err_remedy(e, "set MULLIGAN_STATE to a directory on ext4, XFS, btrfs or tmpfs");
	return r;
}

static int build_context(const struct overlay *o, bool by_fd, struct err *e)
{
	scoped_fd int fs_fd = sys_fsopen("overlay");
	if (fs_fd < 0) {
		err_set(e, -fs_fd, "this kernel has no overlay file system for us: %s",
			strerror(-fs_fd));
		err_remedy(e, "load the module 'overlay'; without root Linux 5.11 is needed");
		return fs_fd;
	}
	int r = configure(fs_fd, o, by_fd);
	if (r == 0)
		r = sys_fsmount(fs_fd, MOUNT_ATTR_NODEV);
	if (r < 0) {
		char kernel[ERR_CAUSE_BYTES / 2];
		return refuse(o, r, sys_fslog(fs_fd, kernel, sizeof(kernel)), e);
	}
	return r;
}

/* Descriptors' numbers serve as paths: the process stands in /proc/self/fd. */
static int option_string(const struct overlay *o, struct buf *b)
{
	buf_str(b, "lowerdir=");
	for (size_t i = 0; i < o->n_lowers; i++)
		buf_printf(b, "%s%d", i ? ":" : "", o->lower_fds[i]);
	if (o->upper_fd >= 0)
		buf_printf(b, ",upperdir=%d,workdir=%d,volatile", o->upper_fd, o->work_fd);
	buf_str(b, ",index=off,xino=off");
	if (o->userxattr)
		buf_str(b, ",userxattr");
	else
		buf_printf(b, ",redirect_dir=%s,metacopy=off", o->upper_fd >= 0 ? "on" : "follow");
	if (b->failed)
		return -ENOMEM;
	return b->len <= OPTION_BYTES ? 0 : -E2BIG;
}

/* Mount on scratch/mnt, take a detached copy, unmount. */
static int mount_and_detach(const struct overlay *o, const char *options)
{
	char target[FD_PATH_BYTES + 8], scratch[FD_PATH_BYTES];
	snprintf(target, sizeof(target), "%s/mnt", fd_path(scratch, o->scratch_fd));
	int r = sys_mkdirat(o->scratch_fd, "mnt", 0700);
	if (r && r != -EEXIST)
		return r;
	r = sys_mount("overlay", target, "overlay", MS_NODEV, options);
	int fd = r;
	if (r == 0) {
		fd = sys_open_tree(o->scratch_fd, "mnt", OPEN_TREE_CLONE);
		r = sys_umount2(target, MNT_DETACH);
		if (r && fd >= 0) {
			close(fd);
			fd = r;
		}
	}
	int gone = sys_unlinkat(o->scratch_fd, "mnt", AT_REMOVEDIR);
	(void)gone; /* an empty directory beside a layer: harmless */
	return fd;
}

static int build_mount(const struct overlay *o, struct err *e)
{
	if (o->scratch_fd < 0)
		return err_set(e, EOPNOTSUPP, "this kernel needs a place to mount overlays on");
	struct buf options = BUF_INIT;
	int r = option_string(o, &options);
	scoped_fd int cwd = sys_openat(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0);
	scoped_fd int fds = sys_openat(AT_FDCWD, "/proc/self/fd", O_PATH | O_DIRECTORY, 0);
	if (r == 0 && (cwd < 0 || fds < 0))
		r = cwd < 0 ? cwd : fds;
	if (r == 0)
		r = sys_fchdir(fds);
	if (r == 0) {
		r = mount_and_detach(o, options.data);
		if (fchdir(cwd) && r >= 0) {
			close(r);
			r = -EIO;
		}
	}
	buf_deinit(&options);
	return r < 0 ? refuse(o, r, "", e) : r;
}

int overlay_build(const struct overlay *o, struct err *e)
{
	int r = check_layers(o, e);
	if (r)
		return r;
	enum overlay_method method = o->method;
	if (method == OVERLAY_ANY)
		method = sys_has(SYS_F_LOWERDIR_FD)     ? OVERLAY_BY_FD
			 : sys_has(SYS_F_LOWERDIR_PATH) ? OVERLAY_BY_PATH
							: OVERLAY_BY_MOUNT;
	if (method == OVERLAY_BY_MOUNT)
		return build_mount(o, e);
	return build_context(o, method == OVERLAY_BY_FD, e);
}
