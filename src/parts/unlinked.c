/*
 * unlinked.c - open files that have no name left: their bytes go with the
 * image, in a memfd that keeps holes.
 */
#include "parts/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "parts/unlinked.h"
#include "sys/fd.h"
#include "sys/file.h"

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

int unlinked_look(struct look *l, const struct image_proc *p, const struct frozen_proc *fp, int fd,
		  int file, struct err *e)
{
	struct image_file *f = image_file(l->image, file);
	/* two descriptions of one unlinked file share its bytes */
	for (int i = 0; i < file; i++) {
		const struct image_file *other = image_file(l->image, i);
		if (other->kind != FILE_UNLINKED || other->ino != f->ino || other->dev != f->dev ||
		    other->twin != IMAGE_NONE)
			continue;
		f->twin = i;
		return 0;
	}
	char name[32];
	snprintf(name, sizeof(name), "fd/%d", fd);
	scoped_fd int from = procfs_openat(l->procfs, fp->pid, 0, name, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return look_refuse(e, p, fd, "read the unlinked file %s: %s", f->path,
				   strerror(-from));
	scoped_fd int to = sys_memfd("mulligan-unlinked", 0);
	if (to < 0)
		return err_set(e, -to, "memfd_create: %s", strerror(-to));
	int r = unlinked_copy(from, to);
	if (r)
		return look_refuse(e, p, fd, "copy the unlinked file %s: %s", f->path,
				   strerror(-r));
	f->content_fd = take_fd(&to);
	return 0;
}
