/*
 * rehome.c - move the live processes to the new overlays.
 *
 * After a cut, descriptors still are of the old overlay: what is created
 * through a directory, locked, or waited for there would not meet what new
 * opens see. Each description is opened once again, with its offset and
 * locks, and every process puts the new one under its old numbers.
 *
 * Unlinked files stay where they are: nobody else can meet them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "checkpoint/take.h"
#include "sys/sock.h"

static bool on_cut_mount(const struct take *t, const struct image_file *f)
{
	if (f->mount == IMAGE_NONE || (f->kind != FILE_PATH && f->kind != FILE_FIFO))
		return false;
	const struct fs_mount *m = vec_at(&t->in->fs->mounts, (size_t)f->mount);
	return m->old_mnt_id != 0;
}

/* Descriptions that only a mapping has stay: carried files are the same. */
static bool has_descriptor(const struct tree_image *im, int file)
{
	vec_each(struct image_proc, p, &im->procs) {
		if (p->cwd == file || p->root == file)
			return true;
		vec_each(struct image_fd, fd, &p->fds)
			if (fd->file == file)
				return true;
	}
	return false;
}

int take_reopen(struct take *t, struct err *e)
{
	const struct tree_image *im = &t->next->image;
	for (size_t i = 0; i < im->files.n; i++) {
		bool *wanted = vec_add(&t->reopen);
		if (!wanted)
			return err_set(e, ENOMEM, "out of memory");
		*wanted = on_cut_mount(t, image_file(im, (int)i)) && has_descriptor(im, (int)i);
	}
	t->reopened = (struct files_open){ .image = im,
					   .root_fd = t->in->root_fd,
					   .wanted = &t->reopen };
	return files_open_all(&t->reopened, e);
}

static bool is_wanted(const struct take *t, int file)
{
	return file != IMAGE_NONE && t->reopen.n && *(bool *)vec_at(&t->reopen, (size_t)file);
}

bool rehome_wanted(const struct take *t, int proc)
{
	const struct image_proc *p = image_proc(&t->next->image, proc);
	if (is_wanted(t, p->cwd) || is_wanted(t, p->root))
		return true;
	vec_each(struct image_fd, fd, &p->fds)
		if (is_wanted(t, fd->file))
			return true;
	return false;
}

/* Files of one process in the order in which they are sent. */
static int collect(const struct take *t, const struct image_proc *p, struct vec *files)
{
	struct vec all = VEC_INIT(int);
	int r = 0;
	vec_each(struct image_fd, fd, &p->fds)
		if (is_wanted(t, fd->file))
			r |= vec_add(&all) ? (*(int *)vec_at(&all, all.n - 1) = fd->file, 0) : 1;
	if (is_wanted(t, p->cwd))
		r |= vec_add(&all) ? (*(int *)vec_at(&all, all.n - 1) = p->cwd, 0) : 1;
	if (is_wanted(t, p->root))
		r |= vec_add(&all) ? (*(int *)vec_at(&all, all.n - 1) = p->root, 0) : 1;
	vec_each(int, file, &all) {
		bool known = false;
		vec_each(int, f, files)
			known |= *f == *file;
		int *out = known ? NULL : vec_add(files);
		r |= !known && !out;
		if (out)
			*out = *file;
	}
	vec_deinit(&all);
	return r ? -ENOMEM : 0;
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

static unsigned int slot_of(const struct vec *files, unsigned int first, int file)
{
	for (size_t i = 0; i < files->n; i++)
		if (*(int *)vec_at(files, i) == file)
			return first + (unsigned int)i;
	return first;
}

static void write_dirs(const struct take *t, const struct image_proc *p, struct prog *prog,
		       const struct vec *files, unsigned int first)
{
	if (is_wanted(t, p->root)) {
		prog_sys(prog, SYS_fchdir, slot_of(files, first, p->root));
		prog_slots(prog, 1);
		prog_sys(prog, SYS_chroot, prog_string(prog->arena, "."));
	}
	if (is_wanted(t, p->cwd)) {
		prog_sys(prog, SYS_fchdir, slot_of(files, first, p->cwd));
		prog_slots(prog, 1);
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

int rehome_write(struct take *t, int proc, struct prog *p, unsigned int socket_slot,
		 int keeper_socket, struct err *e)
{
	const struct image_proc *ip = image_proc(&t->next->image, proc);
	struct vec files = VEC_INIT(int);
	int r = collect(t, ip, &files);
	if (r == 0)
		r = send_files(t, &files, keeper_socket);
	if (r) {
		vec_deinit(&files);
		return err_set(e, -r, "pass files to process %d: %s", ip->pid, strerror(-r));
	}
	unsigned int first = p->next_slot;
	p->next_slot += (unsigned int)files.n;
	const struct image_fd *last = ip->fds.n ? vec_at(&ip->fds, ip->fds.n - 1) : NULL;
	prog_op(p, PUP_OP_RECVFDS, socket_slot, files.n, last ? (uint64_t)last->fd + 1 : 3, first);
	prog_slots(p, 1);
	write_dirs(t, ip, p, &files, first);
	vec_each(struct image_fd, fd, &ip->fds) {
		if (!is_wanted(t, fd->file))
			continue;
		prog_sys(p, SYS_dup3, slot_of(&files, first, fd->file), (uint64_t)fd->fd,
			 fd->cloexec ? O_CLOEXEC : 0);
		prog_slots(p, 1);
	}
	for (size_t i = 0; i < files.n; i++) {
		prog_sys(p, SYS_close, first + (unsigned int)i);
		prog_slots(p, 1);
	}
	write_locks(t, ip, p);
	vec_deinit(&files);
	return 0;
}
