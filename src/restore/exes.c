/*
 * exes.c - executables, for /proc/<pid>/exe.
 *
 * Templates hold each executable open, but through the mount of the
 * incarnation that it was found in; when that is gone, the path that a process
 * reads of itself begins at the mount's own root ("/bin/bash" of a volume at
 * /usr). So it is opened again by its path, if that still leads to the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "restore/build.h"
#include "sys/inroot.h"
#include "sys/proc.h"

int exes_list(struct build *b)
{
	vec_each(struct image_proc, p, &b->image->procs) {
		bool known = p->state != PROC_LIVE;
		vec_each(int, exe, &b->exes)
			known |= *exe == p->mm.exe;
		int *exe = known ? NULL : vec_add(&b->exes);
		if (!known && !exe)
			return -ENOMEM;
		if (exe)
			*exe = p->mm.exe;
	}
	return 0;
}

/* Inode numbers survive a change of overlays, device numbers do not. */
static bool is_same(int a_fd, int b_fd)
{
	struct stat a, b;
	return fstat(a_fd, &a) == 0 && fstat(b_fd, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
	       a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

static int open_exe(struct build *b, const struct image_map_file *f, int template_pidfd)
{
	scoped_fd int held = sys_pidfd_getfd(template_pidfd, f->template_fd);
	if (held < 0)
		return held;
	scoped_fd int found = sys_inroot_open(b->in->root_fd, f->path, O_RDONLY);
	return found >= 0 && is_same(held, found) ? take_fd(&found) : take_fd(&held);
}

int exes_open(struct build *b, struct vec *fds, struct err *e)
{
	if (!b->exes.n)
		return 0;
	scoped_fd int pidfd = sys_pidfd_open(b->from->template.pid);
	if (pidfd < 0)
		return err_set(e, -pidfd, "the template is gone: %s", strerror(-pidfd));
	vec_each(int, exe, &b->exes) {
		const struct image_map_file *f = vec_at(&b->image->map_files, (size_t)*exe);
		int fd = open_exe(b, f, pidfd);
		if (fd < 0)
			return err_set(e, -fd, "the executable %s: %s", f->path, strerror(-fd));
		int *out = vec_add(fds);
		if (!out) {
			close(fd);
			return err_set(e, ENOMEM, "out of memory");
		}
		*out = fd;
	}
	return 0;
}
