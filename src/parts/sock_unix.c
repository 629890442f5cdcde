/*
 * sock_unix.c - unix sockets.
 *
 * Which two are connected, only sock_diag(7) tells. A pair is made by a
 * process with the pid and ids that SO_PEERCRED shows; where one end has been
 * closed, it is made, used to fill the other's queue, and closed again.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "parts/sockets.h"
#include "sys/event.h"
#include "sys/proc.h"

static bool is_named(const struct sys_sockname *name)
{
	return name->len > offsetof(struct sockaddr_un, sun_path);
}

static int look_creds(const struct kind_look *at, struct image_sock *s)
{
	struct ucred creds;
	uint32_t len = sizeof(creds);
	int r = sys_getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &creds, &len);
	if (r)
		return r;
	s->creds = (struct sock_creds){ 0, creds.uid, creds.gid, creds.pid != 0 };
	for (size_t i = 0; i < at->l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(at->l->frozen, i);
		if (creds.pid != fp->pid)
			continue;
		s->creds.pid = fp->ns_pid;
		s->creds.unknown = false;
	}
	return 0;
}

static const char *why_not(const struct image_sock *s, const struct sys_unix_diag *d, int events,
			   const struct sys_sockname *name, const struct sys_sockname *peer)
{
	if (d->state == TCP_LISTEN)
		return "a listening unix socket";
	if (is_named(name) || is_named(peer))
		return "a unix socket with a name";
	if (events & POLLPRI)
		return "a socket with urgent data";
	if ((events & POLLERR) && (s->type == SOCK_DGRAM || (s->type != SOCK_STREAM && s->in_bytes)))
		return "a socket with an error and messages";
	return NULL;
}

int sock_unix_look(const struct kind_look *at, struct image_sock *s, struct err *e)
{
	struct sys_unix_diag d;
	struct sys_sockname name, peer = { 0 };
	int events = 0;
	int r = sys_unix_diag(at->l->diag_fd, (uint32_t)at->fd->ino, &d);
	if (r == 0)
		r = sys_sockname(s->fd, false, &name);
	if (r == 0 && d.has_peer)
		r = sys_sockname(s->fd, true, &peer);
	if (r == 0)
		r = events = sys_poll_now(s->fd, POLLIN | POLLPRI);
	if (r >= 0)
		r = look_creds(at, s);
	if (r < 0)
		return look_refuse(e, at->p, at->fd->fd, "a unix socket (%s): %s", at->link,
				   strerror(-r));
	s->connected = d.has_peer;
	s->peer_ino = d.peer_ino;
	s->shutdown = d.shutdown;
	s->in_bytes = d.in_bytes;
	s->reset = events & POLLERR;
	/* its length is that of the first message, which may be 0 */
	if (s->type != SOCK_STREAM && (events & POLLIN))
		s->in_bytes = d.in_bytes ? d.in_bytes : 1;
	const char *why = why_not(s, &d, events, &name, &peer);
	return why ? kind_refuse(at, why, e) : 0;
}

static int find_socket(const struct tree_image *im, uint32_t ino)
{
	vec_each(struct image_file, f, &im->files)
		if (f->kind == FILE_SOCKET && f->ino == ino)
			return (int)(f - (struct image_file *)im->files.data);
	return IMAGE_NONE;
}

static bool same_creds(const struct image_sock *a, const struct image_sock *b)
{
	return a->creds.pid == b->creds.pid && a->creds.uid == b->creds.uid &&
	       a->creds.gid == b->creds.gid;
}

const char *sock_unix_pair_up(struct tree_image *im, struct image_sock *s)
{
	s->peer = s->connected && s->peer_ino ? find_socket(im, s->peer_ino) : IMAGE_NONE;
	if (!s->connected)
		return s->packets.n ? "unread messages of a socket that is not connected" : NULL;
	s->others = !s->peer_ino;
	if (!s->peer_ino)
		return NULL;
	if (s->peer == IMAGE_NONE)
		return "its other end is not in the sandbox";
	const struct image_sock *peer = image_sock(im, s->peer);
	if (!peer->connected || find_socket(im, peer->peer_ino) == IMAGE_NONE ||
	    image_sock(im, find_socket(im, peer->peer_ino)) != s)
		return "it is connected one way only";
	return same_creds(s, peer) ? NULL : "it was accepted from a listening socket";
}

/* Its queue, where the other end is an open descriptor. */
static int fill(struct files_open *o, const struct image_sock *s, int own, int other)
{
	sock_make_room(other);
	int r = sock_queue_fill(o, s, other);
	if (r || s->peer != IMAGE_NONE || !s->reset)
		return r;
	/* what the other end leaves unread makes its end a reset */
	struct sys_packet unread;
	sys_packet_init(&unread);
	char *byte = vec_add(&unread.bytes);
	r = byte ? sys_packet_send(own, &unread, NULL) : -ENOMEM;
	sys_packet_deinit(&unread);
	return r;
}

static int finish(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	int fd = *kind_fd(o, file), r = sock_options_set(fd, s, false);
	/* SHUT_RD, SHUT_WR and SHUT_RDWR are 0, 1 and 2 */
	if (r == 0 && s->shutdown)
		r = sys_shutdown(fd, s->shutdown - 1);
	return r;
}

/* Both ends are filled before the first of them is shut. */
int sock_unix_join(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	int own = *kind_fd(o, file), r = 0;
	if (!s->connected)
		return finish(o, file);
	if (s->peer != IMAGE_NONE) {
		r = fill(o, s, own, *kind_fd(o, s->peer));
		if (r || s->peer > file)
			return r;
		r = finish(o, file);
		return r || s->peer == file ? r : finish(o, s->peer);
	}
	scoped_fd int other = sock_fetch(o, s, 1);
	if (other < 0)
		return other;
	r = fill(o, s, own, other);
	return r ? r : finish(o, file);
}
