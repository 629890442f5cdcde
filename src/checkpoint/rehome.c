/*
 * rehome.c - move the live processes to the new overlays.
 *
 * After a cut, descriptors still are of the old overlay: what is created
 * through a directory, locked, or waited for there would not meet what new
 * opens see. Each description is opened once again, with its offset and
 * locks, and every process puts the new one under its old numbers. Files of
 * the live upper go on as another inode with the same number (sandbox/keep.h):
 * shared mappings of these are made anew, too, in place of the old ones, and
 * private ones that nobody has written to.
 *
 * Unlinked files stay where they are: nobody else can meet them.
 *
 * A unix socket is found by the inode of its file, so one that has its file on
 * such an overlay is made anew (parts/sock_name.c). Who connects to it is told
 * who listens: that process says so again itself, or a child of ours in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "checkpoint/take.h"
#include "parts/epoll.h"
#include "parts/inotify.h"
#include "parts/sockets.h"
#include "sys/file.h"
#include "sys/sock.h"

static bool watches_cut_mount(const struct take *t, const struct image_file *f)
{
	vec_each(struct fs_mount, m, &t->in->fs->mounts)
		if (m->old_mnt_id &&
		    inotify_is_on(f, (int)(m - (struct fs_mount *)t->in->fs->mounts.data)))
			return true;
	return false;
}

static bool on_cut_mount(const struct take *t, const struct image_file *f)
{
	if (watches_cut_mount(t, f))
		return true;
	int mount = sock_is_placed(f)				    ? image_sock_of(f)->mount :
		    f->kind == FILE_PATH || f->kind == FILE_FIFO ? f->mount :
								    IMAGE_NONE;
	if (mount == IMAGE_NONE)
		return false;
	const struct fs_mount *m = vec_at(&t->in->fs->mounts, (size_t)mount);
	return m->old_mnt_id != 0;
}

/*
 * What is watched and moves must be watched where it goes. No need to undo
 * it: an epoll forgets what is closed.
 */
static int watch_moved(struct take *t, struct err *e)
{
	for (int i = 0; i < (int)t->next->image.files.n; i++) {
		if (!epoll_watches_moved(&t->reopened, i))
			continue;
		scoped_fd int epoll = epoll_copy(&t->look, i);
		int r = epoll < 0 ? epoll : epoll_add_moved(&t->reopened, i, epoll);
		if (r)
			return err_set(e, -r, "let an epoll watch what moves: %s", strerror(-r));
	}
	return 0;
}

int take_reopen(struct take *t, struct err *e)
{
	const struct tree_image *im = &t->next->image;
	for (size_t i = 0; i < im->files.n; i++) {
		bool *wanted = vec_add(&t->reopen);
		if (!wanted)
			return err_set(e, ENOMEM, "out of memory");
		/* mappings, too: what stays behind is known by a name of the past */
		*wanted = on_cut_mount(t, image_file(im, (int)i));
	}
	scoped_fd int netns = sys_sock_netns(t->in->diag_fd);
	t->reopened = (struct files_open){ .image = im,
					   .root_fd = t->in->root_fd,
					   .netns_fd = netns,
					   .wanted = &t->reopen };
	int r = files_open_all(&t->reopened, e);
	return r ? r : watch_moved(t, e);
}

static bool is_wanted(const struct take *t, int file)
{
	return file != IMAGE_NONE && t->reopen.n && *(bool *)vec_at(&t->reopen, (size_t)file);
}

static bool is_moved(const struct take *t, const struct image_vma *v)
{
	return v->kind == VMA_FILE_SHARED && is_wanted(t, v->object);
}

bool rehome_wanted(const struct take *t, int proc, struct rehome *r)
{
	const struct image_proc *p = image_proc(&t->next->image, proc);
	const struct image_fd *last = p->fds.n ? vec_at(&p->fds, p->fds.n - 1) : NULL;
	*r = (struct rehome){ .root = is_wanted(t, p->root),
			      .cwd = is_wanted(t, p->cwd),
			      .files = VEC_INIT(int),
			      .first_free_fd = last ? (unsigned int)last->fd + 1 : 3 };
	if (r->root || r->cwd)
		return true;
	vec_each(struct image_fd, fd, &p->fds)
		if (is_wanted(t, fd->file))
			return true;
	vec_each(struct image_vma, v, &p->vmas)
		if (is_moved(t, v))
			return true;
	return false;
}

static int collect_one(const struct take *t, int file, struct vec *files)
{
	if (!is_wanted(t, file))
		return 0;
	vec_each(int, f, files)
		if (*f == file)
			return 0;
	int *out = vec_add(files);
	if (!out)
		return -ENOMEM;
	*out = file;
	return 0;
}

/* Files of one process in the order in which they are sent. */
static int collect(const struct take *t, const struct image_proc *p, struct vec *files)
{
	int r = 0;
	vec_each(struct image_fd, fd, &p->fds)
		r = r ? r : collect_one(t, fd->file, files);
	vec_each(struct image_vma, v, &p->vmas)
		if (v->kind == VMA_FILE_SHARED)
			r = r ? r : collect_one(t, v->object, files);
	r = r ? r : collect_one(t, p->cwd, files);
	return r ? r : collect_one(t, p->root, files);
}

static int send_files(struct take *t, const struct vec *files, int socket)
{
	int batch[PUP_FDS_MAX];
	uint64_t byte = 0;
	for (size_t at = 0; at < files->n;) {
		size_t n = 0;
		while (n < PUP_FDS_MAX && at < files->n)
			batch[n++] = *(int *)vec_at(&t->reopened.fds,
						    (size_t)*(int *)vec_at(files, at++));
		int r = sys_sock_send(socket, &byte, sizeof(byte), batch, n, 0);
		if (r)
			return r;
	}
	return 0;
}

static unsigned int slot_of(const struct rehome *r, int file)
{
	for (size_t i = 0; i < r->files.n; i++)
		if (*(int *)vec_at(&r->files, i) == file)
			return r->first_slot + (unsigned int)i;
	return r->first_slot;
}

static void write_dirs(const struct image_proc *p, const struct rehome *r, struct prog *prog)
{
	if (r->root) {
		prog_sys(prog, SYS_fchdir, slot_of(r, p->root));
		prog_slots(prog, 1);
		prog_sys(prog, SYS_chroot, prog_string(prog->arena, "."));
	}
	if (r->cwd) {
		prog_sys(prog, SYS_fchdir, slot_of(r, p->cwd));
		prog_slots(prog, 1);
	}
}

/*
 * Unmapped first: what is locked counts until then, and where all mappings
 * to come are locked the new one would not be allowed beside it.
 */
static void write_mappings(const struct take *t, const struct image_proc *p,
			   const struct rehome *r, struct prog *prog)
{
	vec_each(struct image_vma, v, &p->vmas) {
		uint64_t bytes = v->end - v->start;
		if (!is_moved(t, v))
			continue;
		prog_sys(prog, SYS_munmap, v->start, bytes);
		prog_sys(prog, SYS_mmap, v->start, bytes, (uint64_t)v->prot,
			 (v->is_private ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED,
			 slot_of(r, v->object), v->offset);
		prog_slots(prog, 1 << 4);
		if (v->lock == LOCK_NONE && p->lock_future == LOCK_NONE)
			continue;
		if (v->lock == LOCK_NONE)
			prog_sys(prog, SYS_munlock, v->start, bytes);
		else
			prog_sys(prog, SYS_mlock2, v->start, bytes,
				 v->lock == LOCK_ON_FAULT ? MLOCK_ONFAULT : 0);
		/* ENOMEM: nothing to fault in, or the limit came down since */
		prog_mayfail(prog);
	}
}

static void write_locks(const struct take *t, const struct image_proc *p, struct prog *prog)
{
	vec_each(struct image_fd, fd, &p->fds) {
		const struct image_file *f = image_file(&t->next->image, fd->file);
		vec_each(struct image_lock, lock, &f->locks) {
			if (lock->kind != LOCK_POSIX || lock->pid != p->pid ||
			    !is_wanted(t, fd->file))
				continue;
			struct flock fl = { .l_type = lock->exclusive ? F_WRLCK : F_RDLCK,
					    .l_whence = SEEK_SET,
					    .l_start = (off_t)lock->start,
					    .l_len = lock->len };
			prog_sys(prog, SYS_fcntl, (uint64_t)fd->fd, F_SETLK,
				 prog_data(prog->arena, &fl, sizeof(fl)));
		}
	}
}

int rehome_receive(struct take *t, int proc, struct rehome *r, struct prog *p,
		   unsigned int socket, int keeper_socket, struct err *e)
{
	const struct image_proc *ip = image_proc(&t->next->image, proc);
	int ret = collect(t, ip, &r->files);
	if (ret == 0)
		ret = send_files(t, &r->files, keeper_socket);
	if (ret)
		return err_set(e, -ret, "pass files to process %d: %s", ip->pid, strerror(-ret));
	r->first_slot = p->next_slot;
	p->next_slot += (unsigned int)r->files.n;
	prog_op(p, PUP_OP_RECVFDS, socket, r->files.n, r->first_free_fd, r->first_slot);
	return 0;
}

static bool listens(const struct image_file *f, const struct image_proc *p)
{
	return sock_is_placed(f) && image_sock_of(f)->tcp_state == TCP_LISTEN &&
	       image_sock_of(f)->creds.pid == p->pid;
}

static bool may_listen(const struct image_file *f, const struct image_proc *p)
{
	const struct sock_creds *c = &image_sock_of(f)->creds;
	return listens(f, p) && p->cred.uid[1] == c->uid && p->cred.gid[1] == c->gid;
}

/* By a process that has it. */
static bool is_listened_to(const struct take *t, int file)
{
	const struct tree_image *im = &t->next->image;
	for (int k = 0; k < (int)im->procs.n; k++)
		vec_each(struct image_fd, fd, &image_proc(im, k)->fds)
			if (fd->file == file && may_listen(image_file(im, file), image_proc(im, k)))
				return true;
	return false;
}

/* Who did it has ended, as of a program that goes on in a child: a child of ours has its number. */
static int listen_as_gone(struct take *t, int file)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", t->in->pid1);
	scoped_fd int pidns = sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	t->reopened.pidns_fd = pidns;
	return pidns < 0 ? pidns : sock_listen_as(&t->reopened, file);
}

int rehome_check(struct take *t, struct err *e)
{
	const struct tree_image *im = &t->next->image;
	for (int i = 0; i < (int)im->files.n; i++) {
		if (!is_wanted(t, i) || !sock_is_placed(image_file(im, i)) ||
		    image_sock(im, i)->tcp_state != TCP_LISTEN || is_listened_to(t, i))
			continue;
		pid_t pid = image_sock(im, i)->creds.pid;
		int r = pid && image_find_pid(im, pid) == IMAGE_NONE ? listen_as_gone(t, i) : -EEXIST;
		if (r == -EEXIST)
			return kind_refuse_file(&t->look, i, "the process that listens closed it or "
							     "changed its ids, or its number is in use",
						e);
		if (r)
			return err_set(e, -r, "listen again: %s", strerror(-r));
	}
	return 0;
}

static void write_listen(const struct take *t, const struct image_proc *p, struct prog *prog)
{
	vec_each(struct image_fd, fd, &p->fds) {
		const struct image_file *f = image_file(&t->next->image, fd->file);
		if (is_wanted(t, fd->file) && listens(f, p))
			prog_sys(prog, SYS_listen, (uint64_t)fd->fd,
				 (uint64_t)image_sock_of(f)->backlog);
	}
}

/* Each step may be done again: see visit.c. */
void rehome_write(struct take *t, int proc, const struct rehome *r, struct prog *p)
{
	const struct image_proc *ip = image_proc(&t->next->image, proc);
	write_dirs(ip, r, p);
	write_mappings(t, ip, r, p);
	vec_each(struct image_fd, fd, &ip->fds) {
		if (!is_wanted(t, fd->file))
			continue;
		prog_sys(p, SYS_dup3, slot_of(r, fd->file), (uint64_t)fd->fd,
			 fd->cloexec ? O_CLOEXEC : 0);
		prog_slots(p, 1);
	}
	write_listen(t, ip, p);
	/* before the locks: closing any descriptor of a file drops them */
	prog_sys(p, SYS_close_range, r->first_free_fd, ~0u, 0);
	write_locks(t, ip, p);
}

/*
 * The live epolls forget a description when it is closed, and these stay open
 * for a while. Where that fails they are closed at once.
 */
void rehome_forget(struct take *t)
{
	vec_each(struct look_inotify, in, &t->look.inotifys)
		if (is_wanted(t, in->file) && epoll_forget(&t->look, in->file, in->fd))
			in->file = IMAGE_NONE;
}

void rehome_leave(struct take *t)
{
	struct vec *left = &t->en->left;
	vec_each(struct look_inotify, in, &t->look.inotifys)
		if (t->moved && is_wanted(t, in->file))
			inotify_leave(left, take_fd(&in->fd),
				      inotify_of(image_file(&t->next->image, in->file)));
	if (t->look.inotify_fd >= 0)
		inotify_leave(left, take_fd(&t->look.inotify_fd), NULL);
}
