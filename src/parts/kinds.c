#include "parts/kind.h"

#include <errno.h>

#include "parts/part.h"

/* Order of asking: the special before the general; a path is what is left. */
const struct file_kind *const kind_table[] = {
	&kind_pipe, &kind_eventfd, &kind_socket, &kind_epoll, &kind_timerfd, &kind_signalfd,
	&kind_pidfd, &kind_inotify, &kind_tty, &kind_memfd, &kind_unlinked, &kind_fifo, &kind_node,
	&kind_path,
};
const size_t kind_count = sizeof(kind_table) / sizeof(kind_table[0]);

const struct file_kind *kind_of(enum image_file_kind kind)
{
	for (size_t i = 0; i < kind_count; i++)
		if (kind_table[i]->kind == kind)
			return kind_table[i];
	return NULL;
}

int kind_refuse(const struct kind_look *at, const char *what, struct err *e)
{
	return look_refuse(e, at->p, at->fd->fd, "%s cannot be saved yet (%s)", what, at->link);
}

int kind_refuse_file(const struct look *l, int file, const char *why, struct err *e)
{
	const char *link = image_file(l->image, file)->path;
	vec_each(struct image_proc, p, &l->image->procs)
		vec_each(struct image_fd, fd, &p->fds)
			if (fd->file == file)
				return look_refuse(e, p, fd->fd, "%s (%s)", why, link);
	return err_set(e, ENOTSUP, "cannot save %s: %s", link, why);
}
