/*
 * open.c - the other direction of files.c: every description of an image is
 * opened again, by the keeper, inside the root of the new incarnation.
 * How is the business of each kind (kind.h); the locks are the same for all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "parts/epoll.h"
#include "parts/inotify.h"
#include "parts/kind.h"
#include "parts/sockets.h"
#include "parts/tty.h"
#include "sys/fd.h"
#include "sys/file.h"

static int take_locks(int fd, const struct image_file *f)
{
	vec_each(struct image_lock, lock, &f->locks) {
		struct flock fl = { .l_type = lock->exclusive ? F_WRLCK : F_RDLCK,
				    .l_whence = SEEK_SET,
				    .l_start = (off_t)lock->start,
				    .l_len = lock->len };
		int r = 0;
		if (lock->kind == LOCK_FLOCK)
			r = sys_flock(fd, (lock->exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
		else if (lock->kind == LOCK_OFD)
			r = sys_fcntl_lock(fd, F_OFD_SETLK, &fl);
		if (r)
			return r;
	}
	return 0;
}

static int open_one(struct files_open *o, int file, struct err *e)
{
	const struct image_file *f = image_file(o->image, file);
	if (!kind_is_wanted(o, file))
		return 0;
	int r = *kind_fd(o, file) < 0 ? kind_of(f->kind)->open(o, file) : 0;
	if (r)
		return err_set(e, -r, "open '%s' again: %s", f->path, strerror(-r));
	r = take_locks(*kind_fd(o, file), f);
	return r ? err_set(e, -r, "lock '%s' again: %s", f->path, strerror(-r)) : 0;
}

/* Inotifys are last: nothing of all this is to be told. */
static int join(struct files_open *o, struct err *e)
{
	int file;
	int r = sock_join(o, &file);
	if (r == 0)
		r = inotify_join(o, &file);
	return r ? err_set(e, -r, "set up '%s' again: %s", image_file(o->image, file)->path,
			   strerror(-r)) :
		   0;
}

int files_open_all(struct files_open *o, struct err *e)
{
	o->fds = VEC_INIT(int);
	o->ends = VEC_INIT(int);
	o->outers = VEC_INIT(struct files_outer);
	o->timers = VEC_INIT(struct files_timer);
	o->inotifys = VEC_INIT(int);
	o->ttys = VEC_INIT(struct tty_ends);
	if (vec_reserve(&o->fds, o->image->files.n) || vec_reserve(&o->ends, o->image->files.n))
		return err_set(e, ENOMEM, "out of memory");
	for (size_t i = 0; i < o->image->files.n; i++)
		*(int *)vec_add(&o->fds) = *(int *)vec_add(&o->ends) = -1;
	int r = o->wanted ? 0 : tty_open_all(o, e);
	for (size_t i = 0; r == 0 && i < o->image->files.n; i++)
		r = open_one(o, (int)i, e);
	if (r == 0 && !o->wanted)
		r = tty_open_end(o, e);
	if (r == 0)
		r = join(o, e);
	if (r)
		return r;
	r = epoll_join(o);
	return r ? err_set(e, -r, "let an epoll watch again: %s", strerror(-r)) : 0;
}

void files_open_deinit(struct files_open *o)
{
	vec_each(int, fd, &o->fds)
		cleanup_fd(fd);
	vec_each(int, fd, &o->ends)
		cleanup_fd(fd);
	vec_each(struct files_outer, outer, &o->outers)
		cleanup_fd(&outer->fd);
	tty_open_deinit(o);
	vec_deinit(&o->fds);
	vec_deinit(&o->ends);
	vec_deinit(&o->outers);
	files_timers_deinit(&o->timers);
	inotify_quiet(&o->inotifys);
}
