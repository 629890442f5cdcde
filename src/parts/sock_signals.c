/*
 * sock_signals.c - sockets that tell a process by a signal that they are ready.
 *
 * A process sets its signal's addressee itself (F_SETOWN_EX looks the number up
 * where the caller lives), when its numbers are in place. It is root then, and
 * the kernel remembers who asked: only what root asked for is saved. And it
 * must not be asked before the addressee is there: it, or one of those that
 * forked it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "parts/sockets.h"
#include "sys/fd.h"

/* linux/fcntl.h; glibc names it later */
#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

static pid_t pid_inside(const struct look *l, pid_t pid)
{
	vec_each(struct frozen_proc, p, &l->frozen->procs)
		if (p->pid == pid)
			return p->ns_pid;
	return 0;
}

int sock_signals_look(const struct kind_look *at, struct image_sock *s, struct err *e)
{
	struct f_owner_ex owner = { .type = F_OWNER_PID };
	uint32_t asked[2] = { 0, 0 };	/* real and effective user */
	int r = sys_fcntl(s->fd, F_GETOWN_EX, (long)&owner);
	if (r >= 0)
		r = s->signal = sys_fcntl(s->fd, F_GETSIG, 0);
	if (r >= 0 && owner.pid)
		r = sys_fcntl(s->fd, F_GETOWNER_UIDS, (long)asked);
	if (r < 0)
		return look_refuse(e, at->p, at->fd->fd, "whom a socket signals (%s): %s",
				   at->link, strerror(-r));
	if (!owner.pid)
		return 0;
	if (owner.type != F_OWNER_PID)
		return kind_refuse(at, "a socket that signals a thread or a group", e);
	if (asked[0] || asked[1])
		return kind_refuse(at, "a socket that signals for another user than root", e);
	s->owner = pid_inside(at->l, owner.pid);
	return s->owner ? 0 : kind_refuse(at, "a socket that signals who is not here", e);
}

static int first_holder(const struct tree_image *im, int file)
{
	for (int i = 0; i < (int)im->procs.n; i++)
		vec_each(struct image_fd, fd, &image_proc(im, i)->fds)
			if (fd->file == file)
				return i;
	return IMAGE_NONE;
}

int sock_signals_check(const struct look *l, int file, struct err *e)
{
	const struct image_file *f = image_file(l->image, file);
	const struct image_sock *s = f->own;
	if (!sock_sends_signals(f))
		return 0;
	if (sock_has_disk(s))
		return kind_refuse_file(l, file, "it signals, and has a file on a disk", e);
	int i = first_holder(l->image, file);
	while (s->owner && i != IMAGE_NONE && image_proc(l->image, i)->pid != s->owner)
		i = image_proc(l->image, i)->parent;
	if (i == IMAGE_NONE)
		return kind_refuse_file(l, file, "it signals a process that may not be there yet", e);
	return 0;
}

void sock_signals_load(struct load *l, const struct image_fd *fd, bool first)
{
	const struct image_file *f = image_file(l->image, fd->file);
	const struct image_sock *s = f->own;
	const struct f_owner_ex owner = { .type = F_OWNER_PID, .pid = s->owner };
	if (!first)
		return;
	if (s->signal)
		prog_sys(l->prog, SYS_fcntl, (uint64_t)fd->fd, F_SETSIG, (uint64_t)s->signal);
	if (s->owner)
		prog_sys(l->prog, SYS_fcntl, (uint64_t)fd->fd, F_SETOWN_EX,
			 prog_data(l->prog->arena, &owner, sizeof(owner)));
	if (f->flags & O_ASYNC)
		prog_sys(l->prog, SYS_fcntl, (uint64_t)fd->fd, F_SETFL,
			 (uint64_t)(f->flags & (O_NONBLOCK | O_ASYNC)));
}
