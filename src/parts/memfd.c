/*
 * memfd.c - files of memfd_create(2): contents, name, seals. A shared mapping
 * of one, or of another file that has lost its name, is made from the
 * description that has the bytes (shm.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "parts/kind.h"
#include "parts/unlinked.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/lookup.h"
#include "sys/proc.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

struct memfd {
	char name[NAME_MAX + 1];
	int seals;
};

static bool is_memfd(const struct kind_look *at, const struct image_file *f)
{
	return !(f->flags & O_PATH) && S_ISREG(f->mode) && !strncmp(at->link, "/memfd:", 7);
}

/* "/memfd:NAME (deleted)" */
static void take_name(struct memfd *m, const char *link)
{
	static const char deleted[] = " (deleted)";
	size_t n = strlen(link + 7), tail = sizeof(deleted) - 1;
	if (n >= tail && !strcmp(link + 7 + n - tail, deleted))
		n -= tail;
	snprintf(m->name, sizeof(m->name), "%.*s", (int)n, link + 7);
}

int memfd_become(struct image_file *f, const char *name)
{
	struct memfd *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	snprintf(m->name, sizeof(m->name), "%s", name);
	f->kind = FILE_MEMFD;
	f->own = m;
	return 0;
}

static int look_memfd(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct memfd *m = f->own = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, ENOMEM, "out of memory");
	take_name(m, at->link);
	scoped_fd int copy = sys_pidfd_getfd(at->fp->pidfd, at->fd->fd);
	struct statfs fs;
	int r = copy < 0 ? copy : fstatfs(copy, &fs) ? -errno : 0;
	if (r == 0 && fs.f_type == HUGETLBFS_MAGIC)
		return kind_refuse(at, "a memfd in huge pages", e);
	if (r == 0)
		r = m->seals = sys_fcntl(copy, F_GET_SEALS, 0);
	/* mappings that are older than the seal cannot be made again */
	if (r >= 0 && m->seals & F_SEAL_FUTURE_WRITE && !(m->seals & F_SEAL_WRITE))
		return kind_refuse(at, "a memfd sealed against future writing", e);
	return r < 0 ? look_refuse(e, at->p, at->fd->fd, "its seals: %s", strerror(-r)) :
		       unlinked_look(at, f, e);
}

static int make_memfd(struct files_open *o, const struct image_file *f)
{
	const struct memfd *m = f->own;
	/* 0777 is what the kernel gives; without exec it is sealed that way */
	scoped_fd int rw = sys_memfd(m->name, MFD_ALLOW_SEALING);
	if (rw < 0)
		return rw;
	int r = unlinked_copy(f->content_fd, rw);
	if (r == 0)
		r = sys_fchmod(rw, f->mode & 07777);
	if (r == 0 && m->seals)
		r = sys_fcntl(rw, F_ADD_SEALS, m->seals);
	return r < 0 ? r : unlinked_open_again(rw, f);
}

static int open_memfd(struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	int fd = f->twin != IMAGE_NONE ? unlinked_open_again(*kind_fd(o, f->twin), f) :
					 make_memfd(o, f);
	if (fd < 0)
		return fd;
	*kind_fd(o, file) = fd;
	return 0;
}

bool memfd_is_sealed(const struct image_file *f)
{
	const struct memfd *m = f->own;
	return f->kind == FILE_MEMFD && m->seals & F_SEAL_WRITE;
}

const struct file_kind kind_memfd = {
	.kind = FILE_MEMFD,
	.is = is_memfd,
	.look = look_memfd,
	.open = open_memfd,
	.free = unlinked_free,
};
