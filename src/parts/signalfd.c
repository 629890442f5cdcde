/*
 * signalfd.c - signalfd(2): a mask. What can be read is the reader's own
 * pending signals (signals.c).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "parts/kind.h"
#include "sys/event.h"

static bool is_signalfd(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return !strcmp(at->link, "anon_inode:[signalfd]");
}

static int look_signalfd(const struct kind_look *at, struct image_file *f, struct err *e)
{
	const char *mask = procfs_field(at->info->rest, "sigmask");
	if (!mask)
		return kind_refuse(at, "a signalfd whose mask the kernel does not tell", e);
	f->count = strtoull(mask, NULL, 16);
	return 0;
}

static int open_signalfd(struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	int fd = sys_signalfd(f->count, f->flags & O_NONBLOCK);
	if (fd < 0)
		return fd;
	*kind_fd(o, file) = fd;
	return 0;
}

const struct file_kind kind_signalfd = {
	.kind = FILE_SIGNALFD,
	.is = is_signalfd,
	.look = look_signalfd,
	.open = open_signalfd,
};
