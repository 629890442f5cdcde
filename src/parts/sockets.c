/*
 * sockets.c - sockets: what all families have in common, and who does the
 * rest.
 */
#include "parts/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include "sys/fd.h"
#include "sys/proc.h"

static bool is_socket(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return !strncmp(at->link, "socket:[", 8);
}

static int refuse_errno(const struct kind_look *at, const char *what, int r, struct err *e)
{
	return look_refuse(e, at->p, at->fd->fd, "%s (%s): %s", what, at->link, strerror(-r));
}

static int has_filter(int fd)
{
	uint32_t n = 0;
	int r = sys_getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n);
	return r == -EACCES ? 1 : r ? r : n != 0;
}

static int look_socket(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct image_sock *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	*s = (struct image_sock){ .peer = IMAGE_NONE,
				  .options = VEC_INIT(struct sock_option),
				  .packets = VEC_INIT(struct sock_packet),
				  .groups = VEC_INIT(int),
				  .callers = VEC_INIT(uint32_t),
				  .mount = IMAGE_NONE,
				  .listener = IMAGE_NONE,
				  .caller = IMAGE_NONE,
				  .fd = -1 };
	f->own = s;
	s->fd = sys_pidfd_getfd(at->fp->pidfd, at->fd->fd);
	int r = s->fd < 0 ? s->fd : sys_sockopt_int(s->fd, SOL_SOCKET, SO_DOMAIN, &s->domain);
	if (r == 0)
		r = sys_sockopt_int(s->fd, SOL_SOCKET, SO_TYPE, &s->type);
	if (r == 0)
		r = sys_sockopt_int(s->fd, SOL_SOCKET, SO_PROTOCOL, &s->protocol);
	if (r == 0)
		r = has_filter(s->fd);
	if (r < 0)
		return refuse_errno(at, "a socket", r, e);
	if (r)
		return kind_refuse(at, "a socket with a filter", e);
	if (s->domain != AF_UNIX && s->domain != AF_NETLINK && !is_inet(s))
		return kind_refuse(at, "a socket of this family", e);
	r = sock_options_look(s);
	if (r)
		return refuse_errno(at, "the options of a socket", r, e);
	r = sock_signals_look(at, s, e);
	if (r)
		return r;
	return s->domain == AF_UNIX    ? sock_unix_look(at, s, e) :
	       s->domain == AF_NETLINK ? sock_netlink_look(at, s, e) :
					 sock_inet_look(at, s, e);
}

static int look_end(struct look *l, int file, struct err *e)
{
	return sock_queue_look(l, file, e);
}

size_t sock_count(const struct tree_image *im)
{
	size_t n = 0;
	for (int i = 0; i < (int)im->files.n; i++)
		if (image_file(im, i)->kind == FILE_SOCKET)
			n += 1 + image_sock(im, i)->others;
	return n;
}

static const char *pair_up(struct tree_image *im, int i, unsigned int *born)
{
	struct image_sock *s = image_sock(im, i);
	const char *why = s->domain == AF_UNIX ? sock_unix_pair_up(im, s) :
			  is_inet(s)	       ? sock_inet_pair_up(im, s) :
						 NULL;
	s->born = *born;
	*born += 1 + s->others;
	return why;
}

int sock_pair_up(struct look *l, struct err *e)
{
	struct tree_image *im = l->image;
	unsigned int born = 0;
	for (int i = 0; i < (int)im->files.n; i++) {
		const char *why = image_file(im, i)->kind == FILE_SOCKET ? pair_up(im, i, &born) :
									    NULL;
		if (why && kind_refuse_file(l, i, why, e))
			return why == sock_passes ? -EAGAIN : -ENOTSUP;
	}
	for (int i = 0; i < (int)im->files.n; i++) {
		if (image_file(im, i)->kind != FILE_SOCKET)
			continue;
		struct image_sock *s = image_sock(im, i);
		const char *why = is_inet(s) ? sock_inet_check(s) : NULL;
		if (why)
			return kind_refuse_file(l, i, why, e);
		int r = sock_signals_check(l, i, e);
		if (r)
			return r;
		cleanup_fd(&s->fd);
	}
	return 0;
}

int sock_fetch(struct files_open *o, const struct image_sock *s, unsigned int k)
{
	return sys_pidfd_getfd(o->pid1_pidfd, (int)sock_born(o->born, s, k));
}

/* One that is accepted comes later; those that move are made in place. */
static int open_socket(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	int fd = o->wanted		  ? sock_extra(o, s) :
		 s->role == SOCK_CALLED ? -1 :
					  sock_fetch(o, s, 0);
	if (fd < 0)
		return s->role == SOCK_CALLED ? 0 : fd;
	*kind_fd(o, file) = fd;
	return 0;
}

int sock_join(struct files_open *o, int *file)
{
	const struct tree_image *im = o->image;
	/* accepted connections may be queued in unix sockets */
	int r = sock_unix_open(o, file);
	if (r == 0)
		r = sock_inet_join(o, file);
	if (r == 0)
		r = sock_unix_fill(o, file);
	if (r)
		return r;
	for (*file = 0; *file < (int)im->files.n; ++*file) {
		if (image_file(im, *file)->kind != FILE_SOCKET || !kind_is_wanted(o, *file) ||
		    is_inet(image_sock(im, *file)))
			continue;
		r = image_sock(im, *file)->domain == AF_UNIX ? sock_unix_join(o, *file) :
							       sock_netlink_join(o, *file);
		if (r)
			return r;
	}
	for (*file = 0; *file < (int)im->files.n; ++*file) {
		if (image_file(im, *file)->kind != FILE_SOCKET || !kind_is_wanted(o, *file))
			continue;
		r = sys_fcntl(*kind_fd(o, *file), F_SETFL,
			      image_file(im, *file)->flags & O_NONBLOCK);
		if (r < 0)
			return r;
	}
	return 0;
}

static void free_socket(struct image_file *f)
{
	struct image_sock *s = f->own;
	if (!s)
		return;
	cleanup_fd(&s->fd);
	vec_deinit(&s->options);
	vec_deinit(&s->groups);
	vec_deinit(&s->callers);
	free(s->place);
	sock_queue_free(s);
}

const struct file_kind kind_socket = {
	.kind = FILE_SOCKET,
	.is = is_socket,
	.look = look_socket,
	.look_end = look_end,
	.open = open_socket,
	.load = sock_signals_load,
	.free = free_socket,
};

/*
 * SO_PEERCRED names a process that has ended by a number which only a process
 * of the sandbox can read.
 */
static bool is_unknown(const struct tree_image *im, const struct image_fd *fd)
{
	const struct image_file *f = image_file(im, fd->file);
	return f->kind == FILE_SOCKET && ((struct image_sock *)f->own)->creds.unknown;
}

static int ask_creds(struct image_proc *p, struct asked *a)
{
	a->sock_first = a->prog->ops.n;
	vec_each(struct image_fd, fd, &p->fds) {
		if (!is_unknown(a->image, fd))
			continue;
		const uint32_t len = sizeof(struct ucred);
		struct ucred *out = prog_space(a->prog->arena, sizeof(*out), NULL);
		if (!out)
			return -ENOMEM;
		prog_sys(a->prog, SYS_getsockopt, (uint64_t)fd->fd, SOL_SOCKET, SO_PEERCRED,
			 prog_remote(a->prog->arena, out),
			 prog_data(a->prog->arena, &len, sizeof(len)));
	}
	return 0;
}

static int heard_creds(struct image_proc *p, const struct asked *a, struct err *e)
{
	size_t op = a->sock_first;
	(void)e;
	vec_each(struct image_fd, fd, &p->fds) {
		if (!is_unknown(a->image, fd))
			continue;
		const struct pup_op *asked = vec_at(&a->prog->ops, op++);
		const struct ucred *heard = (const void *)(a->prog->arena->local +
							   (asked->a[3] - a->prog->arena->remote));
		if (heard->pid > 0)
			image_sock(a->image, fd->file)->creds.pid = heard->pid;
	}
	return 0;
}

const struct part part_sockets = {
	.name = "sockets",
	.ask = ask_creds,
	.heard = heard_creds,
};
