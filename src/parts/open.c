/*
 * open.c - the other direction of files.c: every description of an image is
 * opened again, by the keeper, inside the root of the new incarnation.
 *
 * Paths are resolved by openat2(RESOLVE_IN_ROOT): nothing that a guest left
 * in its files leads outside.
 */
#include "parts/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "parts/unlinked.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/lookup.h"

#ifndef O_TMPFILE
#define O_TMPFILE (020000000 | O_DIRECTORY)
#endif

/* Flags of a description that make sense when it is opened again. */
static int reopen_flags(const struct image_file *f)
{
	if (f->flags & O_PATH)
		return f->flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
	return f->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | 0100000 /* O_LARGEFILE */);
}

static int open_in_root(int root_fd, const char *path, int flags)
{
	uint64_t how = (uint64_t)flags;
	if (!(flags & O_PATH))
		how = (how & ~0100000ull) | O_NOCTTY;
	return sys_openat2(root_fd, path, how, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/*
 * O_NONBLOCK opens a FIFO without waiting for the other side; the flags of
 * the description are set after.
 */
static int open_path(struct files_open *o, const struct image_file *f)
{
	int flags = reopen_flags(f);
	int fd = open_in_root(o->root_fd, f->path, flags);
	if (fd == -EPERM && (flags & O_NOATIME))
		fd = open_in_root(o->root_fd, f->path, flags & ~O_NOATIME);
	if (fd < 0)
		return fd;
	int64_t r = !(f->flags & O_PATH) && f->pos ? sys_lseek(fd, (int64_t)f->pos, SEEK_SET) : 0;
	if (r >= 0)
		return fd;
	close(fd);
	return (int)r;
}

/* The file behind fd once more, as f had it. */
static int open_again(int fd, const struct image_file *f)
{
	scoped_fd int again = sys_reopen(fd, f->flags & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	if (again < 0)
		return again;
	int64_t at = sys_lseek(again, (int64_t)f->pos, SEEK_SET);
	return at < 0 ? (int)at : take_fd(&again);
}

static int open_unlinked(struct files_open *o, const struct image_file *f)
{
	if (f->twin != IMAGE_NONE)
		return open_again(*(int *)vec_at(&o->fds, (size_t)f->twin), f);
	scoped_fd int rw = open_in_root(o->root_fd, "/tmp", O_TMPFILE | O_RDWR);
	if (rw < 0) {
		/* no O_TMPFILE on this overlay (before 6.3): the image's own copy */
		rw = sys_memfd("unlinked", 0);
		if (rw < 0)
			return rw;
	}
	int r = unlinked_copy(f->content_fd, rw);
	if (r == 0)
		r = sys_fchmod(rw, f->mode & 07777);
	return r ? r : open_again(rw, f);
}

static int open_eventfd(const struct image_file *f)
{
	scoped_fd int fd = sys_eventfd((f->flags & O_NONBLOCK ? EFD_NONBLOCK : 0) |
				       (f->semaphore ? EFD_SEMAPHORE : 0));
	if (fd < 0)
		return fd;
	uint64_t count = f->count;
	if (count && sys_write(fd, &count, sizeof(count)) != sizeof(count))
		return -EIO;
	return take_fd(&fd);
}

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

/* Both ends of every pipe, as the image's first reader and writer. */
struct pipe_ends {
	int reader, writer;	/* -1: none */
};

static int make_pipe(struct files_open *o, const struct image_file *f,
		     const struct image_pipe *pipe, struct pipe_ends *ends)
{
	int fds[2];
	if (f->kind == FILE_FIFO) {
		int both = open_in_root(o->root_fd, f->path, O_RDWR | O_NONBLOCK);
		if (both < 0)
			return both;
		*ends = (struct pipe_ends){ both, sys_dup(both) };
		if (ends->writer < 0)
			return ends->writer;
	} else {
		/* a queue that does not fit is an error, never a wait */
		int r = sys_pipe_with(fds, O_NONBLOCK | (pipe->packets ? O_DIRECT : 0));
		if (r)
			return r;
		*ends = (struct pipe_ends){ fds[0], fds[1] };
	}
	int r = sys_fcntl(ends->writer, F_SETPIPE_SZ, pipe->capacity);
	if (r < 0 && r != -EPERM)
		return r;
	size_t at = 0;
	vec_each(uint32_t, piece, &pipe->pieces) {
		ssize_t n = sys_write(ends->writer, (char *)pipe->data.data + at, *piece);
		if (n != (ssize_t)*piece)
			return n < 0 ? (int)n : -EIO;
		at += *piece;
	}
	return 0;
}

/* One end as the guest had it: a new description with its own flags. */
static int open_end(struct files_open *o, const struct image_file *f, struct pipe_ends *ends)
{
	int access = f->flags & O_ACCMODE;
	scoped_fd int fd = f->kind == FILE_FIFO ?
				   open_in_root(o->root_fd, f->path, access | O_NONBLOCK) :
				   sys_reopen(access == O_RDONLY ? ends->reader : ends->writer,
					      access | O_NONBLOCK);
	if (fd < 0)
		return fd;
	int r = sys_fcntl(fd, F_SETFL, f->flags & (O_NONBLOCK | O_APPEND | O_DIRECT));
	return r < 0 ? r : take_fd(&fd);
}

/* The keeper's end of a command's stream. */
static int add_outer(struct files_open *o, const struct image_pipe *pipe, struct pipe_ends *ends)
{
	if (pipe->stream == IMAGE_NONE)
		return 0;
	struct files_outer *outer = vec_add(&o->outers);
	if (!outer)
		return -ENOMEM;
	int *ours = pipe->stream == 0 ? &ends->writer : &ends->reader;
	outer->command = pipe->command;
	outer->stream = pipe->stream;
	outer->fd = take_fd(ours);
	return sys_fcntl(outer->fd, F_SETFL, O_NONBLOCK);
}

static bool is_wanted(const struct files_open *o, size_t file)
{
	return !o->wanted || *(bool *)vec_at(o->wanted, file);
}

static bool is_end(const struct image_file *f)
{
	return (f->kind == FILE_PIPE || f->kind == FILE_FIFO) && !(f->flags & O_PATH);
}

static const struct image_file *first_of_pipe(const struct files_open *o, int pipe)
{
	for (size_t i = 0; i < o->image->files.n; i++) {
		const struct image_file *f = image_file(o->image, (int)i);
		if (is_end(f) && f->pipe == pipe && is_wanted(o, i))
			return f;
	}
	return NULL;
}

static int open_pipe(struct files_open *o, int index)
{
	const struct image_pipe *pipe = image_pipe(o->image, index);
	const struct image_file *first = first_of_pipe(o, index);
	if (!first)
		return 0;
	struct pipe_ends ends = { -1, -1 };
	int r = make_pipe(o, first, pipe, &ends);
	for (size_t i = 0; r == 0 && i < o->image->files.n; i++) {
		const struct image_file *f = image_file(o->image, (int)i);
		if (!is_end(f) || f->pipe != index || !is_wanted(o, i))
			continue;
		int fd = open_end(o, f, &ends);
		if (fd < 0)
			r = fd;
		else
			*(int *)vec_at(&o->fds, i) = fd;
	}
	if (r == 0)
		r = add_outer(o, pipe, &ends);
	cleanup_fd(&ends.reader);
	cleanup_fd(&ends.writer);
	return r;
}

static int open_file(struct files_open *o, const struct image_file *f)
{
	switch (f->kind) {
	case FILE_PATH:
	case FILE_NODE:
		return open_path(o, f);
	case FILE_UNLINKED:
		return open_unlinked(o, f);
	case FILE_EVENTFD:
		return open_eventfd(f);
	case FILE_PIPE:
	case FILE_FIFO:
		return f->flags & O_PATH ? open_path(o, f) : -1;
	}
	return -EINVAL;
}

static int open_one(struct files_open *o, size_t i, struct err *e)
{
	const struct image_file *f = image_file(o->image, (int)i);
	if (is_end(f) || !is_wanted(o, i))
		return 0;
	int fd = open_file(o, f);
	if (fd < 0)
		return err_set(e, -fd, "open '%s' again: %s", f->path, strerror(-fd));
	*(int *)vec_at(&o->fds, i) = fd;
	int r = take_locks(fd, f);
	if (r)
		return err_set(e, -r, "lock '%s' again: %s", f->path, strerror(-r));
	return 0;
}

int files_open_all(struct files_open *o, struct err *e)
{
	o->fds = VEC_INIT(int);
	o->outers = VEC_INIT(struct files_outer);
	if (vec_reserve(&o->fds, o->image->files.n))
		return err_set(e, ENOMEM, "out of memory");
	for (size_t i = 0; i < o->image->files.n; i++)
		*(int *)vec_add(&o->fds) = -1;
	for (size_t i = 0; i < o->image->files.n; i++) {
		int r = open_one(o, i, e);
		if (r)
			return r;
	}
	for (size_t i = 0; i < o->image->pipes.n; i++) {
		int r = open_pipe(o, (int)i);
		if (r)
			return err_set(e, -r, "make pipe %zu again: %s", i, strerror(-r));
	}
	return 0;
}

void files_open_deinit(struct files_open *o)
{
	vec_each(int, fd, &o->fds)
		cleanup_fd(fd);
	vec_each(struct files_outer, outer, &o->outers)
		cleanup_fd(&outer->fd);
	vec_deinit(&o->fds);
	vec_deinit(&o->outers);
}
