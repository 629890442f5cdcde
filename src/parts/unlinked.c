/*
 * unlinked.c - open files that have no name left: their bytes go with the
 * image, in a memfd that keeps holes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "parts/kind.h"
#include "parts/unlinked.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/lookup.h"

#ifndef O_TMPFILE
#define O_TMPFILE (020000000 | O_DIRECTORY)
#endif

static int copy_bytes(int from, int to, off_t start, off_t end)
{
	char block[65536];
	while (start < end) {
		size_t want = (size_t)(end - start) < sizeof(block) ? (size_t)(end - start) :
								      sizeof(block);
		ssize_t n = sys_pread(from, block, want, (uint64_t)start);
		if (n <= 0)
			return (int)n;
		ssize_t done = sys_pwrite(to, block, (size_t)n, (uint64_t)start);
		if (done != n)
			return done < 0 ? (int)done : -EIO;
		start += n;
	}
	return 0;
}

/* Copy the data ranges of a file; its length too. */
int unlinked_copy(int from, int to)
{
	struct stat st;
	int r = sys_fstat(from, &st);
	if (r == 0)
		r = sys_ftruncate(to, (uint64_t)st.st_size);
	if (r)
		return r;
	off_t at = 0;
	while (at < st.st_size) {
		off_t data = sys_lseek(from, at, SEEK_DATA);
		if (data == -ENXIO)
			return 0;
		if (data < 0)
			data = at;
		off_t hole = sys_lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			hole = st.st_size;
		r = copy_bytes(from, to, data, hole);
		if (r)
			return r;
		at = hole;
	}
	return 0;
}

static bool is_unlinked(const struct kind_look *at, const struct image_file *f)
{
	return !(f->flags & O_PATH) && S_ISREG(f->mode) && at->is_gone &&
	       strncmp(at->link, "/memfd:", 7) != 0;
}

/* The description of the same file that has its bytes, or IMAGE_NONE. */
int unlinked_find(const struct tree_image *im, uint64_t dev, uint64_t ino, int end)
{
	for (int i = 0; i < end; i++) {
		const struct image_file *other = image_file(im, i);
		if ((other->kind == FILE_UNLINKED || other->kind == FILE_MEMFD) &&
		    other->ino == ino && other->dev == dev && other->twin == IMAGE_NONE)
			return i;
	}
	return IMAGE_NONE;
}

int unlinked_look(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct look *l = at->l;
	/* two descriptions of one unlinked file share its bytes */
	f->twin = unlinked_find(l->image, f->dev, f->ino, at->file);
	if (f->twin != IMAGE_NONE)
		return 0;
	char name[32];
	snprintf(name, sizeof(name), "fd/%d", at->fd->fd);
	scoped_fd int from = procfs_openat(l->procfs, at->fp->pid, 0, name, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return look_refuse(e, at->p, at->fd->fd, "read the unlinked file %s: %s", at->link,
				   strerror(-from));
	scoped_fd int to = sys_memfd("mulligan-unlinked", 0);
	if (to < 0)
		return err_set(e, -to, "memfd_create: %s", strerror(-to));
	int r = unlinked_copy(from, to);
	if (r)
		return look_refuse(e, at->p, at->fd->fd, "copy the unlinked file %s: %s", at->link,
				   strerror(-r));
	f->content_fd = take_fd(&to);
	return 0;
}

int unlinked_open_again(int fd, const struct image_file *f)
{
	scoped_fd int again = sys_reopen(fd, f->flags & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	if (again < 0)
		return again;
	int64_t at = sys_lseek(again, (int64_t)f->pos, SEEK_SET);
	return at < 0 ? (int)at : take_fd(&again);
}

static int make_unlinked(struct files_open *o, const struct image_file *f)
{
	if (f->twin != IMAGE_NONE)
		return unlinked_open_again(*kind_fd(o, f->twin), f);
	scoped_fd int rw = kind_open_in_root(o, "/tmp", O_TMPFILE | O_RDWR);
	if (rw < 0) {
		/* no O_TMPFILE on this overlay (before 6.3): the image's own copy */
		rw = sys_memfd("unlinked", 0);
		if (rw < 0)
			return rw;
	}
	int r = unlinked_copy(f->content_fd, rw);
	if (r == 0)
		r = sys_fchmod(rw, f->mode & 07777);
	return r ? r : unlinked_open_again(rw, f);
}

static int open_unlinked(struct files_open *o, int file)
{
	int fd = make_unlinked(o, image_file(o->image, file));
	if (fd < 0)
		return fd;
	*kind_fd(o, file) = fd;
	return 0;
}

void unlinked_free(struct image_file *f)
{
	cleanup_fd(&f->content_fd);
}

const struct file_kind kind_unlinked = {
	.kind = FILE_UNLINKED,
	.is = is_unlinked,
	.look = unlinked_look,
	.open = open_unlinked,
	.free = unlinked_free,
};
