/*
 * path.c - descriptions that a path leads to: files and directories of the
 * sandbox's overlays, and nodes of what lies outside the cut (devices, /sys,
 * volumes), which are opened again as they are then.
 *
 * Paths are resolved by openat2(RESOLVE_IN_ROOT): nothing that a guest left
 * in its files leads outside.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "parts/kind.h"
#include "sys/fd.h"
#include "sys/file.h"

/* What F_GETFL and fdinfo add of their own on x86-64. */
enum { KERNEL_LARGEFILE = 0100000 };

/* Devices that are the same wherever they are opened. */
static bool is_plain_device(dev_t rdev)
{
	/* null, zero, full, random, urandom: Documentation/admin-guide/devices.txt */
	unsigned int minor_number = minor(rdev);
	return major(rdev) == 1 && (minor_number == 3 || minor_number == 5 || minor_number == 7 ||
				    minor_number == 8 || minor_number == 9);
}

/* Before the tree is made again there is no such process. */
static bool tells_of_a_process(const char *link)
{
	return !strncmp(link, "/proc/", 6) && isdigit((unsigned char)link[6]);
}

/* A name leads to it, and opening that has no effect of its own. */
static bool is_named(const struct kind_look *at, const struct image_file *f)
{
	return at->link[0] == '/' && !at->is_gone &&
	       ((f->flags & O_PATH) || S_ISREG(f->mode) || S_ISDIR(f->mode));
}

static bool is_node(const struct kind_look *at, const struct image_file *f)
{
	if (!(f->flags & O_PATH) && S_ISCHR(f->mode))
		return is_plain_device(at->fd->rdev);
	return f->mount == IMAGE_NONE && is_named(at, f) && !tells_of_a_process(at->link);
}

static bool is_path(const struct kind_look *at, const struct image_file *f)
{
	return f->mount != IMAGE_NONE && is_named(at, f);
}

/* Flags of a description that make sense when it is opened again. */
static int reopen_flags(const struct image_file *f)
{
	if (f->flags & O_PATH)
		return f->flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
	return f->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | KERNEL_LARGEFILE);
}

int kind_open_in_root(const struct files_open *o, const char *path, int flags)
{
	uint64_t how = (uint64_t)flags;
	if (!(flags & O_PATH))
		how = (how & ~(uint64_t)KERNEL_LARGEFILE) | O_NOCTTY;
	return sys_openat2(o->root_fd, path, how, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int kind_open_path(const struct files_open *o, const struct image_file *f)
{
	int flags = reopen_flags(f);
	int fd = kind_open_in_root(o, f->path, flags);
	if (fd == -EPERM && (flags & O_NOATIME))
		fd = kind_open_in_root(o, f->path, flags & ~O_NOATIME);
	if (fd < 0)
		return fd;
	int64_t r = !(f->flags & O_PATH) && f->pos ? sys_lseek(fd, (int64_t)f->pos, SEEK_SET) : 0;
	if (r >= 0)
		return fd;
	close(fd);
	return (int)r;
}

static int open_path(struct files_open *o, int file)
{
	int fd = kind_open_path(o, image_file(o->image, file));
	if (fd < 0)
		return fd;
	*kind_fd(o, file) = fd;
	return 0;
}

const struct file_kind kind_node = {
	.kind = FILE_NODE,
	.is = is_node,
	.open = open_path,
};

const struct file_kind kind_path = {
	.kind = FILE_PATH,
	.is = is_path,
	.open = open_path,
};
