/*
 * pipes.c - pipes and named FIFOs, with what is queued in them.
 *
 * The queue is read by tee(2) into a pipe of ours, so the live one keeps it;
 * packets stay packets in the copy.
 * A pipe whose other end the keeper holds is a command's stream: it comes
 * back as a fresh pipe, and the handle gets the new outer end.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "parts/kind.h"
#include "sys/fd.h"
#include "sys/lookup.h"
#include "sys/proc.h"

static int copy_queue(int fd, struct image_pipe *pipe)
{
	int queued = sys_queued(fd);
	if (queued <= 0)
		return queued;
	int ends[2];
	int r = sys_pipe_with(ends, O_NONBLOCK);
	if (r)
		return r;
	scoped_fd int out = ends[0];
	scoped_fd int in = ends[1];
	/* EPERM: this user's pipes are used up; a short queue fits all the same */
	r = sys_fcntl(in, F_SETPIPE_SZ, pipe->capacity);
	if (r < 0 && r != -EPERM)
		return r;
	ssize_t n = sys_tee(fd, in, (size_t)queued);
	if (n < 0)
		return (int)n;
	if (vec_reserve(&pipe->data, (size_t)queued))
		return -ENOMEM;
	size_t got = 0;
	while (got < (size_t)n) {
		ssize_t k = sys_read(out, (char *)pipe->data.data + got, (size_t)n - got);
		if (k <= 0)
			return k < 0 ? (int)k : -EIO;
		uint32_t *piece = vec_add(&pipe->pieces);
		if (!piece)
			return -ENOMEM;
		*piece = (uint32_t)k;
		got += (size_t)k;
	}
	pipe->data.n = got;
	return n == queued ? 0 : -EIO;
}

static int find_pipe(struct look *l, uint64_t dev, uint64_t ino)
{
	vec_each(struct image_pipe, p, &l->image->pipes)
		if (p->dev == dev && p->ino == ino)
			return (int)(p - (struct image_pipe *)l->image->pipes.data);
	return IMAGE_NONE;
}

static int new_pipe(struct look *l, const struct image_file *f)
{
	struct image_pipe *pipe = vec_add(&l->image->pipes);
	if (!pipe)
		return -ENOMEM;
	*pipe = (struct image_pipe){ .ino = f->ino,
				     .dev = f->dev,
				     .data = VEC_INIT(char),
				     .pieces = VEC_INIT(uint32_t),
				     .stream = IMAGE_NONE };
	vec_each(struct part_outer, o, &l->outers)
		if (o->dev == f->dev && o->ino == f->ino) {
			pipe->command = o->command;
			pipe->stream = o->stream;
		}
	return (int)l->image->pipes.n - 1;
}

/* A FIFO that no name leads to is one, too: nobody else can meet it. */
static bool is_pipe(const struct kind_look *at, const struct image_file *f)
{
	return !strncmp(at->link, "pipe:[", 6) ||
	       (S_ISFIFO(f->mode) && at->is_gone && !(f->flags & O_PATH));
}

static bool is_fifo(const struct kind_look *at, const struct image_file *f)
{
	return !(f->flags & O_PATH) && S_ISFIFO(f->mode) && f->mount != IMAGE_NONE &&
	       !at->is_gone;
}

static int look_end(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct look *l = at->l;
	f->pipe = find_pipe(l, f->dev, f->ino);
	bool is_new = f->pipe == IMAGE_NONE;
	if (is_new)
		f->pipe = new_pipe(l, f);
	if (f->pipe < 0)
		return err_set(e, ENOMEM, "out of memory");
	struct image_pipe *pipe = image_pipe(l->image, f->pipe);
	if ((f->flags & O_DIRECT) && f->kind == FILE_PIPE)
		pipe->packets = true;
	int access = f->flags & O_ACCMODE;
	bool first_reader = access != O_WRONLY && !pipe->has_reader;
	pipe->has_reader |= access != O_WRONLY;
	pipe->has_writer |= access != O_RDONLY;
	if (!first_reader && !is_new)
		return 0;
	scoped_fd int copy = sys_pidfd_getfd(at->fp->pidfd, at->fd->fd);
	if (copy < 0)
		return look_refuse(e, at->p, at->fd->fd, "copy its pipe: %s", strerror(-copy));
	if (is_new) {
		int capacity = sys_fcntl(copy, F_GETPIPE_SZ, 0);
		if (capacity < 0)
			return look_refuse(e, at->p, at->fd->fd, "F_GETPIPE_SZ: %s", strerror(-capacity));
		pipe->capacity = (uint32_t)capacity;
	}
	int r = first_reader ? copy_queue(copy, pipe) : 0;
	if (r)
		return look_refuse(e, at->p, at->fd->fd, "the queue of its pipe: %s", strerror(-r));
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
		int both = kind_open_in_root(o, f->path, O_RDWR | O_NONBLOCK);
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
				   kind_open_in_root(o, f->path, access | O_NONBLOCK) :
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

static bool is_end_of(const struct image_file *f, int pipe)
{
	return (f->kind == FILE_PIPE || f->kind == FILE_FIFO) && !(f->flags & O_PATH) &&
	       f->pipe == pipe;
}

/* A pipe is made once, with all its ends that are wanted. */
static int open_ends(struct files_open *o, int file)
{
	const struct image_file *first = image_file(o->image, file);
	const struct image_pipe *pipe = image_pipe(o->image, first->pipe);
	struct pipe_ends ends = { -1, -1 };
	int r = make_pipe(o, first, pipe, &ends);
	for (int i = file; r == 0 && i < (int)o->image->files.n; i++) {
		const struct image_file *f = image_file(o->image, i);
		if (!is_end_of(f, first->pipe) || !kind_is_wanted(o, i))
			continue;
		int fd = open_end(o, f, &ends);
		if (fd < 0)
			r = fd;
		else
			*kind_fd(o, i) = fd;
	}
	if (r == 0)
		r = add_outer(o, pipe, &ends);
	cleanup_fd(&ends.reader);
	cleanup_fd(&ends.writer);
	return r;
}

const struct file_kind kind_pipe = {
	.kind = FILE_PIPE,
	.is = is_pipe,
	.look = look_end,
	.open = open_ends,
};

const struct file_kind kind_fifo = {
	.kind = FILE_FIFO,
	.is = is_fifo,
	.look = look_end,
	.open = open_ends,
};
