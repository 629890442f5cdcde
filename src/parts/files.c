/*
 * files.c - descriptors and the open file descriptions behind them.
 *
 * What dup and fork share is the description: it is saved once, recognised by
 * kcmp(2) among descriptors of the same inode. The kinds that can be saved
 * are in the table below; what is in none of them is refused by name.
 *
 * Restoring: the keeper opens every description once inside the new root
 * (open.c) and passes them to PID 1, which forks the tree; each process puts
 * its descriptors in place and closes the rest.
 */
#include "parts/files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "sys/proc.h"

static int find_seen(struct look *l, pid_t pid, const struct procfs_fd *fd)
{
	vec_each(struct look_seen, s, &l->seen)
		if (s->ino == fd->ino && s->dev == fd->dev &&
		    sys_kcmp(pid, s->pid, SYS_KCMP_FILE, (unsigned long)fd->fd,
			     (unsigned long)s->fd) == 0)
			return s->file;
	return IMAGE_NONE;
}

static const struct part_mount *find_mount(const struct look *l, uint64_t mnt_id)
{
	vec_each(struct part_mount, m, &l->mounts)
		if (m->mnt_id == mnt_id)
			return m;
	return NULL;
}

/* Devices that are the same wherever they are opened. */
static bool is_plain_device(dev_t rdev)
{
	/* null, zero, full, random, urandom: Documentation/admin-guide/devices.txt */
	unsigned int minor_number = minor(rdev);
	return major(rdev) == 1 && (minor_number == 3 || minor_number == 5 || minor_number == 7 ||
				    minor_number == 8 || minor_number == 9);
}

static int classify_path(struct look *l, const struct procfs_fd *fd, const char *link,
			 struct image_file *f, const char **why)
{
	const struct part_mount *m = find_mount(l, fd->mnt_id);
	f->mount = m ? m->index : IMAGE_NONE;
	if (f->flags & O_PATH)
		f->kind = m ? FILE_PATH : FILE_NODE;
	else if (S_ISCHR(fd->mode) && is_plain_device(fd->rdev)) {
		f->kind = FILE_NODE;
	} else if (S_ISCHR(fd->mode) || S_ISBLK(fd->mode)) {
		*why = "a terminal or another device";
	} else if (S_ISREG(fd->mode) && fd->nlink == 0) {
		f->kind = FILE_UNLINKED;
		if (!strncmp(link, "/memfd:", 7))
			*why = "a memfd";
	} else if (fd->nlink == 0) {
		*why = "a directory or socket that was deleted";
	} else if (S_ISFIFO(fd->mode)) {
		f->kind = FILE_FIFO;
	} else if (S_ISSOCK(fd->mode)) {
		*why = "a socket";
	} else {
		f->kind = m ? FILE_PATH : FILE_NODE;
	}
	/* before the tree is made again there is no such process */
	if (!m && !strncmp(link, "/proc/", 6) && isdigit((unsigned char)link[6]))
		*why = "what /proc tells of a process";
	if (f->kind == FILE_FIFO && !m)
		*why = "a FIFO on a file system outside the checkpoint";
	return 0;
}

static int classify_eventfd(struct image_file *f, const char *info)
{
	const char *count = procfs_field(info, "eventfd-count");
	const char *semaphore = procfs_field(info, "eventfd-semaphore");
	f->kind = FILE_EVENTFD;
	f->count = count ? strtoull(count, NULL, 16) : 0;
	f->semaphore = semaphore && atoi(semaphore) == 1;
	return 0;
}

/* Kind of a description; *why when it cannot be saved. */
static int classify(struct look *l, const struct procfs_fd *fd, const char *link,
		    const struct procfs_fdinfo *info, struct image_file *f, const char **why)
{
	if (!strncmp(link, "pipe:[", 6)) {
		f->kind = FILE_PIPE;
		return 0;
	}
	if (!strcmp(link, "anon_inode:[eventfd]"))
		return classify_eventfd(f, info->rest);
	if (!strncmp(link, "socket:[", 8)) {
		*why = "a socket";
		return 0;
	}
	if (!strncmp(link, "anon_inode:", 11)) {
		*why = link;
		return 0;
	}
	return classify_path(l, fd, link, f, why);
}

static int add_lock(struct image_file *f, const char *line)
{
	char kind[16], access[16], end[32];
	int pid;
	long long start;
	if (sscanf(line, "lock:%*[ \t]%*d: %15s %*s %15s %d %*s %lld %31s", kind, access, &pid,
		   &start, end) != 5)
		return -EPROTO;
	struct image_lock *lock = vec_add(&f->locks);
	if (!lock)
		return -ENOMEM;
	lock->kind = !strcmp(kind, "FLOCK") ? LOCK_FLOCK :
		     !strcmp(kind, "OFDLCK") ? LOCK_OFD : LOCK_POSIX;
	if (!strcmp(kind, "LEASE") || !strcmp(kind, "DELEG"))
		return -EOPNOTSUPP;
	lock->exclusive = !strcmp(access, "WRITE");
	lock->start = (uint64_t)start;
	lock->len = !strcmp(end, "EOF") ? 0 : atoll(end) - start + 1;
	lock->pid = pid;
	return 0;
}

static int look_locks(const struct procfs_fdinfo *info, pid_t pid, struct image_file *f)
{
	for (const char *line = info->n_locks ? info->locks : NULL; line && *line;) {
		if (!strncmp(line, "lock:", 5)) {
			int r = add_lock(f, line);
			if (r)
				return r;
			struct image_lock *lock = vec_at(&f->locks, f->locks.n - 1);
			lock->pid = pid;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return 0;
}

static int new_file(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
		    const struct procfs_fd *fd, struct err *e)
{
	const char *link = procfs_fd_link(&l->fds, fd);
	struct procfs_fdinfo info;
	int r = procfs_fdinfo(l->procfs, fp->pid, fd->fd, &info);
	if (r < 0)
		return look_refuse(e, p, fd->fd, "%s", strerror(-r));
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_file){ .flags = (int)info.flags & ~O_CLOEXEC,
				  .pos = info.pos,
				  .mode = fd->mode,
				  .mount = IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .content_fd = -1,
				  .twin = IMAGE_NONE,
				  .dev = fd->dev,
				  .ino = fd->ino,
				  .locks = VEC_INIT(struct image_lock) };
	const char *why = NULL;
	r = classify(l, fd, link, &info, f, &why);
	if (!why && (f->flags & O_ASYNC))
		why = "a descriptor that sends signals (O_ASYNC)";
	if (why)
		return look_refuse(e, p, fd->fd, "%s cannot be saved yet (%s)", why, link);
	r = look_locks(&info, fp->ns_pid, f);
	if (r == -EOPNOTSUPP)
		return look_refuse(e, p, fd->fd, "a lease (%s)", link);
	f->path = strdup(link);
	if (r || !f->path)
		return err_set(e, ENOMEM, "out of memory");
	f->carry = f->kind == FILE_PATH && S_ISREG(f->mode) && !(f->flags & O_PATH) &&
		   (f->flags & O_ACCMODE) != O_RDONLY;
	int index = (int)l->image->files.n - 1;
	if (f->kind == FILE_PIPE || f->kind == FILE_FIFO)
		r = pipes_look(l, p, fp, fd->fd, index, e);
	else if (f->kind == FILE_UNLINKED)
		r = unlinked_look(l, p, fp, fd->fd, index, e);
	return r < 0 ? r : index;
}

static int look_fd(struct look *l, struct image_proc *p, const struct frozen_proc *fp,
		   const struct procfs_fd *fd, struct err *e)
{
	int file = find_seen(l, fp->pid, fd);
	struct procfs_fdinfo info;
	int r = procfs_fdinfo(l->procfs, fp->pid, fd->fd, &info);
	if (r < 0)
		return look_refuse(e, p, fd->fd, "%s", strerror(-r));
	bool cloexec = info.flags & O_CLOEXEC;
	if (file == IMAGE_NONE) {
		file = new_file(l, p, fp, fd, e);
		if (file < 0)
			return file;
		struct look_seen *s = vec_add(&l->seen);
		if (!s)
			return err_set(e, ENOMEM, "out of memory");
		*s = (struct look_seen){ fp->pid, fd->fd, fd->dev, fd->ino, file };
	} else if (info.n_locks) {
		/* a POSIX lock of this process on a file it shares */
		r = look_locks(&info, fp->ns_pid, image_file(l->image, file));
		if (r)
			return look_refuse(e, p, fd->fd, "its locks: %s", strerror(-r));
	}
	struct image_fd *out = vec_add(&p->fds);
	if (!out)
		return err_set(e, ENOMEM, "out of memory");
	*out = (struct image_fd){ fd->fd, file, cloexec };
	return 0;
}

static int look_files(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *fp = frozen_proc(l->frozen, (size_t)i);
	p->fds = VEC_INIT(struct image_fd);
	if (fp->shares_files)
		return look_refuse(e, p, -1, "it shares its descriptors with another process");
	int r = procfs_fds(l->procfs, fp->pid, &l->fds);
	if (r < 0)
		return look_refuse(e, p, -1, "its descriptors: %s", strerror(-r));
	vec_each(struct procfs_fd, fd, &l->fds.fds) {
		r = look_fd(l, p, fp, fd, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int files_max_fd(const struct tree_image *im)
{
	int max = 2;
	vec_each(struct image_proc, p, &im->procs)
		if (p->fds.n) {
			const struct image_fd *last = vec_at(&p->fds, p->fds.n - 1);
			max = last->fd > max ? last->fd : max;
		}
	return max;
}

static void load_posix_locks(struct load *l, const struct image_proc *p, const struct image_fd *fd)
{
	const struct image_file *f = image_file(l->image, fd->file);
	vec_each(struct image_lock, lock, &f->locks) {
		if (lock->kind != LOCK_POSIX || lock->pid != p->pid)
			continue;
		struct flock fl = { .l_type = lock->exclusive ? F_WRLCK : F_RDLCK,
				    .l_whence = SEEK_SET,
				    .l_start = (off_t)lock->start,
				    .l_len = lock->len };
		prog_sys(l->prog, SYS_fcntl, (uint64_t)fd->fd, F_SETLK,
			 prog_data(l->prog->arena, &fl, sizeof(fl)));
	}
}

/* Locks come last: closing any descriptor of a file drops the process's. */
static void load_files(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	prog_sys(l->prog, SYS_close_range, 0, l->fd_base - 1, 0);
	vec_each(struct image_fd, fd, &p->fds) {
		prog_sys(l->prog, SYS_dup3, l->file_slot + (unsigned int)fd->file,
			 (uint64_t)fd->fd, fd->cloexec ? O_CLOEXEC : 0);
		prog_slots(l->prog, 1);
	}
}

void files_load_end(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	prog_sys(l->prog, SYS_close_range, l->fd_base, ~0u, 0);
	vec_each(struct image_fd, fd, &p->fds)
		load_posix_locks(l, p, fd);
}

const struct part part_files = {
	.name = "files",
	.look = look_files,
	.load = load_files,
};

/* Working and root directory. */

static int look_dir(struct look *l, struct image_proc *p, const struct frozen_proc *fp,
		    const char *name, int *file, struct err *e)
{
	char link[4096];
	struct procfs_fd st;
	int r = procfs_link(l->procfs, fp->pid, name, &st, link, sizeof(link));
	if (r < 0)
		return look_refuse(e, p, -1, "its %s: %s", name, strerror(-r));
	*file = IMAGE_NONE;
	if (!strcmp(link, "/"))
		return 0;
	if (st.nlink == 0)
		return look_refuse(e, p, -1, "its %s directory was deleted (%s)", name, link);
	const struct part_mount *m = find_mount(l, st.mnt_id);
	if (!m && !strncmp(link, "/proc/", 6) && isdigit((unsigned char)link[6]))
		return look_refuse(e, p, -1, "its %s is in /proc (%s)", name, link);
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_file){ .kind = m ? FILE_PATH : FILE_NODE,
				  .flags = O_PATH | O_DIRECTORY,
				  .mode = st.mode,
				  .mount = m ? m->index : IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .content_fd = -1,
				  .twin = IMAGE_NONE,
				  .path = strdup(link),
				  .locks = VEC_INIT(struct image_lock) };
	*file = (int)l->image->files.n - 1;
	return f->path ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int look_cwd(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *fp = frozen_proc(l->frozen, (size_t)i);
	if (fp->shares_fs)
		return look_refuse(e, p, -1, "it shares its directory with another process");
	int r = look_dir(l, p, fp, "root", &p->root, e);
	if (r)
		return r;
	return look_dir(l, p, fp, "cwd", &p->cwd, e);
}

/* Before load_files(): the directories are among what it closes. */
static void load_cwd(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	if (p->root != IMAGE_NONE) {
		prog_sys(l->prog, SYS_fchdir, l->file_slot + (unsigned int)p->root);
		prog_slots(l->prog, 1);
		prog_sys(l->prog, SYS_chroot, prog_string(l->prog->arena, "."));
	}
	if (p->cwd != IMAGE_NONE) {
		prog_sys(l->prog, SYS_fchdir, l->file_slot + (unsigned int)p->cwd);
		prog_slots(l->prog, 1);
	} else {
		prog_sys(l->prog, SYS_chdir, prog_string(l->prog->arena, "/"));
	}
}

const struct part part_cwd = {
	.name = "directories",
	.look = look_cwd,
	.load = load_cwd,
};
