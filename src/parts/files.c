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
#include "parts/kind.h"
#include "parts/named.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "parts/pidfd.h"
#include "parts/sockets.h"
#include "sys/proc.h"

/* As sys_kcmp(), of which there is an order among the files of one inode. */
static int compare(pid_t pid, const struct procfs_fd *fd, const struct look_seen *s)
{
	if (fd->dev != s->dev)
		return fd->dev < s->dev ? 1 : 2;
	if (fd->ino != s->ino)
		return fd->ino < s->ino ? 1 : 2;
	return sys_kcmp(pid, s->pid, SYS_KCMP_FILE, (unsigned long)fd->fd,
			(unsigned long)s->fd);
}

/* Has it been seen? *file is what or IMAGE_NONE, *at its place among the seen. */
static int find_seen(const struct look *l, pid_t pid, const struct procfs_fd *fd, int *file,
		     size_t *at)
{
	size_t low = 0, high = l->seen.n;
	*file = IMAGE_NONE;
	while (low < high && *file == IMAGE_NONE) {
		size_t mid = low + (high - low) / 2;
		const struct look_seen *s = vec_at(&l->seen, mid);
		int r = compare(pid, fd, s);
		if (r < 0 || r > 2)
			return r < 0 ? r : -EOPNOTSUPP;
		if (r == 0)
			*file = s->file;
		if (r == 2)
			low = mid + 1;
		else
			high = mid;
	}
	*at = low;
	return 0;
}

const struct part_mount *files_find_mount(const struct look *l, uint64_t mnt_id)
{
	vec_each(struct part_mount, m, &l->mounts)
		if (m->mnt_id == mnt_id)
			return m;
	return NULL;
}

static bool tells_of_a_process(const char *link)
{
	return !strncmp(link, "/proc/", 6) && isdigit((unsigned char)link[6]);
}

/* Why no kind has taken it. */
static const char *why_not(const struct kind_look *at, const struct image_file *f)
{
	bool opened = !(f->flags & O_PATH);
	if (!strncmp(at->link, "socket:[", 8) || S_ISSOCK(f->mode))
		return "a socket";
	if (!strncmp(at->link, "anon_inode:", 11))
		return at->link;
	if (f->mount == IMAGE_NONE && tells_of_a_process(at->link))
		return "what /proc tells of a process";
	if (opened && (S_ISCHR(f->mode) || S_ISBLK(f->mode)))
		return "a device";
	if (opened && S_ISFIFO(f->mode) && !at->is_gone)
		return "a FIFO on a file system outside the checkpoint";
	if (opened && S_ISREG(f->mode) && !strncmp(at->link, "/memfd:", 7))
		return "a memfd";
	return at->is_gone ? "something that was deleted" : "a file of an unknown kind";
}

static int look_kind(const struct kind_look *at, struct image_file *f, struct err *e)
{
	for (size_t i = 0; i < kind_count; i++) {
		if (!kind_table[i]->is(at, f))
			continue;
		f->kind = kind_table[i]->kind;
		return kind_table[i]->look ? kind_table[i]->look(at, f, e) : 0;
	}
	int r = kind_refuse(at, why_not(at, f), e);
	/* as a rule for a moment: closefrom(3) of a child, a look at oneself */
	bool passes = f->mount == IMAGE_NONE && tells_of_a_process(at->link);
	return r && passes ? -EAGAIN : r;
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

static int refuse_name(const struct kind_look *at, int r, struct err *e)
{
	if (r != -ENOTSUP)
		return look_refuse(e, at->p, at->fd->fd, "look for %s: %s", at->link, strerror(-r));
	look_refuse(e, at->p, at->fd->fd, "its name was removed, and it had others (%s)",
		    at->link);
	return err_remedy(e, "let the process open it by another name, or end");
}

/* All of `at` is there but the index, which it returns. */
static int new_file(struct kind_look *at, struct err *e)
{
	struct look *l = at->l;
	const struct procfs_fd *fd = at->fd;
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_file){ .flags = (int)at->info->flags & ~O_CLOEXEC,
				  .pos = at->info->pos,
				  .mode = fd->mode,
				  .mount = IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .content_fd = -1,
				  .twin = IMAGE_NONE,
				  .dev = fd->dev,
				  .ino = fd->ino,
				  .locks = VEC_INIT(struct image_lock) };
	const struct part_mount *m = files_find_mount(l, fd->mnt_id);
	f->mount = m ? m->index : IMAGE_NONE;
	at->file = (int)l->image->files.n - 1;
	scoped_free char *other = NULL;
	int r = named_is_gone(l, fd, at->link, &other);
	if (r < 0)
		return refuse_name(at, r, e);
	at->is_gone = r;
	at->link = other ? other : at->link;
	r = look_locks(at->info, at->fp->ns_pid, f);
	if (r == -EOPNOTSUPP)
		return look_refuse(e, at->p, fd->fd, "a lease (%s)", at->link);
	f->path = strdup(at->link);
	if (r || !f->path)
		return err_set(e, ENOMEM, "out of memory");
	r = look_kind(at, f, e);
	if (r < 0)
		return r;
	if ((f->flags & O_ASYNC) && f->kind != FILE_SOCKET)
		return kind_refuse(at, "a descriptor that sends signals (O_ASYNC)", e);
	f->carry = f->kind == FILE_PATH && S_ISREG(f->mode) && !(f->flags & O_PATH) &&
		   (f->flags & O_ACCMODE) != O_RDONLY;
	return at->file;
}

static int add_seen(struct look *l, pid_t pid, const struct procfs_fd *fd, int file)
{
	int known;
	size_t at;
	/* once more: what is queued in it may have been seen meanwhile */
	int r = find_seen(l, pid, fd, &known, &at);
	if (r)
		return r;
	struct look_seen *s = vec_insert(&l->seen, at);
	if (!s)
		return -ENOMEM;
	*s = (struct look_seen){ pid, fd->fd, fd->dev, fd->ino, file };
	return 0;
}

/*
 * What only its process can put right, or move to another overlay, cannot be
 * on its way from one to another.
 */
static bool must_be_held(const struct image_file *f)
{
	if (f->kind == FILE_SOCKET)
		return sock_sends_signals(f) || sock_is_placed(f);
	return kind_of(f->kind)->load || f->kind == FILE_FIFO || f->kind == FILE_PATH ||
	       f->kind == FILE_INOTIFY || pidfd_is_late(f);
}

static int new_own(struct look *l, const struct procfs_fd *fd, const char *link, struct err *e)
{
	if (l->self.pidfd < 0)
		l->self = (struct frozen_proc){ .pid = getpid(), .pidfd = sys_pidfd_open(getpid()) };
	if (l->self.pidfd < 0)
		return err_set(e, -l->self.pidfd, "pidfd_open: %s", strerror(-l->self.pidfd));
	const struct image_proc nobody = { .comm = "in a queue" };
	struct procfs_fdinfo info;
	int r = procfs_fdinfo(l->procfs, l->self.pid, fd->fd, &info);
	if (r < 0)
		return look_refuse(e, &nobody, fd->fd, "%s", strerror(-r));
	struct kind_look at = { l, &nobody, &l->self, fd, link, &info, IMAGE_NONE };
	int file = new_file(&at, e);
	if (file < 0)
		return file;
	r = add_seen(l, l->self.pid, fd, file);
	return r ? err_set(e, -r, "compare descriptors: %s", strerror(-r)) : file;
}

int files_look_own(struct look *l, int queue, int fd, struct err *e)
{
	int *held = vec_add(&l->held);
	if (!held) {
		cleanup_fd(&fd);
		return err_set(e, ENOMEM, "out of memory");
	}
	*held = fd;
	char name[32], link[4096];
	struct procfs_fd st;
	snprintf(name, sizeof(name), "fd/%d", fd);
	int r = procfs_link(l->procfs, getpid(), name, &st, link, sizeof(link));
	if (r < 0)
		return err_set(e, -r, "a descriptor in a queue: %s", strerror(-r));
	st.fd = fd;
	int file;
	size_t at;
	r = find_seen(l, getpid(), &st, &file, &at);
	if (r)
		return err_set(e, -r, "compare descriptors: %s", strerror(-r));
	if (file == IMAGE_NONE)
		file = new_own(l, &st, link, e);
	if (file < 0 || !must_be_held(image_file(l->image, file)))
		return file;
	char why[4160];
	snprintf(why, sizeof(why), "'%s' is on its way through it", link);
	return kind_refuse_file(l, queue, why, e);
}

static int look_fd(struct look *l, int i, const struct procfs_fd *fd, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *fp = frozen_proc(l->frozen, (size_t)i);
	const struct procfs_fds *fds = vec_at(&l->fds, (size_t)i);
	int file;
	size_t at;
	struct procfs_fdinfo info;
	int r = find_seen(l, fp->pid, fd, &file, &at);
	if (r == 0)
		r = procfs_fdinfo(l->procfs, fp->pid, fd->fd, &info);
	if (r < 0)
		return look_refuse(e, p, fd->fd, "%s", strerror(-r));
	bool cloexec = info.flags & O_CLOEXEC;
	if (file == IMAGE_NONE) {
		struct kind_look seen = { l, p, fp, fd, procfs_fd_link(fds, fd), &info, IMAGE_NONE };
		file = new_file(&seen, e);
		if (file < 0)
			return file;
		r = add_seen(l, fp->pid, fd, file);
		if (r)
			return look_refuse(e, p, fd->fd, "%s", strerror(-r));
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
	const struct procfs_fds *fds = vec_at(&l->fds, (size_t)i);
	vec_each(struct procfs_fd, fd, &fds->fds) {
		int r = look_fd(l, i, fd, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int files_look_begin(struct look *l, struct err *e)
{
	for (size_t i = 0; i < l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(l->frozen, i);
		struct procfs_fds *fds = vec_add(&l->fds);
		if (!fds)
			return err_set(e, ENOMEM, "out of memory");
		*fds = PROCFS_FDS_INIT;
		int r = fp->zombie ? 0 : procfs_fds(l->procfs, fp->pid, fds);
		if (r >= 0)
			continue;
		struct image_proc p = { .pid = fp->ns_pid };
		snprintf(p.comm, sizeof(p.comm), "%s", fp->stat.comm);
		return look_refuse(e, &p, -1, "its descriptors: %s", strerror(-r));
	}
	return 0;
}

int files_look_end(struct look *l, struct err *e)
{
	for (int i = 0; i < (int)l->image->files.n; i++) {
		const struct file_kind *kind = kind_of(image_file(l->image, i)->kind);
		int r = kind->look_end ? kind->look_end(l, i, e) : 0;
		if (r)
			return r;
	}
	return sock_pair_up(l, e);
}

/* Of some descriptions /proc does not tell whether a descriptor is close-on-exec. */
static int ask_files(struct image_proc *p, struct asked *a)
{
	a->files_first = a->prog->ops.n;
	vec_each(struct image_fd, fd, &p->fds)
		if (image_file(a->image, fd->file)->says_cloexec)
			prog_sys(a->prog, SYS_fcntl, (uint64_t)fd->fd, F_GETFD);
	return 0;
}

static int heard_files(struct image_proc *p, const struct asked *a, struct err *e)
{
	size_t at = a->files_first;
	vec_each(struct image_fd, fd, &p->fds)
		if (image_file(a->image, fd->file)->says_cloexec)
			fd->cloexec = prog_result(a->prog, at++) & FD_CLOEXEC;
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
	pidfd_load(l);
	vec_each(struct image_fd, fd, &p->fds) {
		prog_sys(l->prog, SYS_dup3, l->file_slot + (unsigned int)fd->file,
			 (uint64_t)fd->fd, fd->cloexec ? O_CLOEXEC : 0);
		prog_slots(l->prog, 1);
	}
}

/* Has a process before this one the description, or a descriptor before? */
static bool is_first(const struct load *l, const struct image_fd *fd)
{
	for (int i = 0; i <= l->proc; i++)
		vec_each(struct image_fd, other, &image_proc(l->image, i)->fds)
			if (other->file == fd->file)
				return other == fd;
	return true;
}

void files_load_end(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	vec_each(struct image_fd, fd, &p->fds) {
		const struct file_kind *kind = kind_of(image_file(l->image, fd->file)->kind);
		if (kind->load)
			kind->load(l, fd, is_first(l, fd));
	}
	prog_sys(l->prog, SYS_close_range, l->fd_base, ~0u, 0);
	vec_each(struct image_fd, fd, &p->fds)
		load_posix_locks(l, p, fd);
}

const struct part part_files = {
	.name = "files",
	.look = look_files,
	.ask = ask_files,
	.heard = heard_files,
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
	scoped_free char *other = NULL;
	r = named_is_gone(l, &st, link, &other);
	if (r < 0)
		return look_refuse(e, p, -1, "look for its %s (%s): %s", name, link, strerror(-r));
	if (r)
		return look_refuse(e, p, -1, "its %s directory was deleted (%s)", name, link);
	const struct part_mount *m = files_find_mount(l, st.mnt_id);
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
