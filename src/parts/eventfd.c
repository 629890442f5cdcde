/* eventfd.c - eventfd(2): a count and whether it is a semaphore. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "parts/kind.h"
#include "sys/fd.h"

static bool is_eventfd(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return !strcmp(at->link, "anon_inode:[eventfd]");
}

static int look_eventfd(const struct kind_look *at, struct image_file *f, struct err *e)
{
	const char *count = procfs_field(at->info->rest, "eventfd-count");
	const char *semaphore = procfs_field(at->info->rest, "eventfd-semaphore");
	if (!count)
		return kind_refuse(at, "an eventfd whose count the kernel does not tell", e);
	f->count = strtoull(count, NULL, 16);
	f->semaphore = semaphore && atoi(semaphore) == 1;
	return 0;
}

static int open_eventfd(struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	scoped_fd int fd = sys_eventfd((f->flags & O_NONBLOCK ? EFD_NONBLOCK : 0) |
				       (f->semaphore ? EFD_SEMAPHORE : 0));
	if (fd < 0)
		return fd;
	uint64_t count = f->count;
	if (count && sys_write(fd, &count, sizeof(count)) != sizeof(count))
		return -EIO;
	*kind_fd(o, file) = take_fd(&fd);
	return 0;
}

const struct file_kind kind_eventfd = {
	.kind = FILE_EVENTFD,
	.is = is_eventfd,
	.look = look_eventfd,
	.open = open_eventfd,
};
