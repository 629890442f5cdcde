/*
 * pipes.c - pipes and named FIFOs, with what is queued in them.
 *
 * The queue is read by tee(2) into a pipe of ours, so the live one keeps it;
 * packets stay packets in the copy.
 * A pipe whose other end the keeper holds is a command's stream: it comes
 * back as a fresh pipe, and the handle gets the new outer end.
 */
#include "parts/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sys/fd.h"
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

int pipes_look(struct look *l, const struct image_proc *p, const struct frozen_proc *fp, int fd,
	       int file, struct err *e)
{
	struct image_file *f = image_file(l->image, file);
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
	scoped_fd int copy = sys_pidfd_getfd(fp->pidfd, fd);
	if (copy < 0)
		return look_refuse(e, p, fd, "copy its pipe: %s", strerror(-copy));
	if (is_new) {
		int capacity = sys_fcntl(copy, F_GETPIPE_SZ, 0);
		if (capacity < 0)
			return look_refuse(e, p, fd, "F_GETPIPE_SZ: %s", strerror(-capacity));
		pipe->capacity = (uint32_t)capacity;
	}
	int r = first_reader ? copy_queue(copy, pipe) : 0;
	if (r)
		return look_refuse(e, p, fd, "the queue of its pipe: %s", strerror(-r));
	return 0;
}
