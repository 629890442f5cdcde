/*
 * sock_unix.c - unix sockets.
 *
 * Which two are connected, only sock_diag(7) tells. A pair is made by a
 * process with the pid and ids that SO_PEERCRED shows; where one end has been
 * closed, it is made, used to fill the other's queue, and closed again.
 *
 * Order of making them again: pairs (sock_birth.c); connections (sock_calls.c);
 * names (sock_name.c); listening; connections that wait to be accepted;
 * datagrams that wait; what datagram sockets are connected to; queues of
 * connections; options and what is shut.
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

static int look_creds(const struct kind_look *at, struct image_sock *s)
{
	struct ucred creds;
	uint32_t len = sizeof(creds);
	int r = sys_getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &creds, &len);
	if (r)
		return r;
	s->creds = (struct sock_creds){ 0, creds.uid, creds.gid, creds.pid != 0 };
	s->has_creds = creds.pid != 0;
	for (size_t i = 0; i < at->l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(at->l->frozen, i);
		if (creds.pid != fp->pid)
			continue;
		s->creds.pid = fp->ns_pid;
		s->creds.unknown = false;
	}
	return 0;
}

static const char *why_not(const struct image_sock *s, int events)
{
	if (events & POLLPRI)
		return "a socket with urgent data";
	if ((events & POLLERR) && (s->type == SOCK_DGRAM || (s->type != SOCK_STREAM && s->in_bytes)))
		return "a socket with an error and messages";
	return NULL;
}

/* What sock_diag tells; 0 or -errno. */
static int look_diag(const struct kind_look *at, struct image_sock *s)
{
	struct sys_unix_diag d;
	int r = sys_unix_diag(at->l->diag_fd, (uint32_t)at->fd->ino, &d);
	if (r)
		return r;
	s->callers = d.callers;
	s->tcp_state = d.state;
	s->connected = d.has_peer;
	s->peer_ino = d.peer_ino;
	s->shutdown = d.shutdown;
	s->backlog = d.state == TCP_LISTEN ? (int)d.out_bytes : 0;
	s->has_sent = d.state != TCP_LISTEN && d.out_bytes;
	s->in_bytes = d.state == TCP_LISTEN ? 0 : d.in_bytes;
	r = sys_sockname(s->fd, false, &s->name);
	return r || !d.has_peer ? r : sys_sockname(s->fd, true, &s->peer_name);
}

int sock_unix_look(const struct kind_look *at, struct image_sock *s, struct err *e)
{
	int r = look_diag(at, s), events = 0;
	if (r == 0)
		r = events = sys_poll_now(s->fd, POLLIN | POLLPRI);
	if (r >= 0)
		r = look_creds(at, s);
	if (r < 0)
		return look_refuse(e, at->p, at->fd->fd, "a unix socket (%s): %s", at->link,
				   strerror(-r));
	s->reset = events & POLLERR;
	/* its length is that of the first message, which may be 0 */
	if (s->type != SOCK_STREAM && (events & POLLIN) && s->tcp_state != TCP_LISTEN)
		s->in_bytes = s->in_bytes ? s->in_bytes : 1;
	const char *why = why_not(s, events);
	return why ? kind_refuse(at, why, e) : sock_name_look(at, s, e);
}

static bool same_creds(const struct image_sock *a, const struct image_sock *b)
{
	return a->creds.pid == b->creds.pid && a->creds.uid == b->creds.uid &&
	       a->creds.gid == b->creds.gid;
}

/* Each is the other's peer. */
static bool is_mutual(const struct tree_image *im, const struct image_sock *s)
{
	const struct image_sock *peer = s->peer == IMAGE_NONE ? NULL : image_sock(im, s->peer);
	return peer && peer->connected && sock_find(im, peer->peer_ino) != IMAGE_NONE &&
	       image_sock(im, sock_find(im, peer->peer_ino)) == s;
}

/* Datagrams by socketpair(2) have credentials; by connect(2) they have none. */
static bool is_pair(const struct image_sock *s)
{
	return s->connected &&
	       (s->type == SOCK_DGRAM ? s->has_creds :
					!sock_is_named(&s->name) && !sock_is_named(&s->peer_name));
}

static const char *pair_up_pair(const struct tree_image *im, struct image_sock *s)
{
	s->role = SOCK_PAIR;
	s->others = !s->peer_ino;
	if (!s->peer_ino)
		return NULL;
	if (!is_mutual(im, s))
		return "it is connected one way only";
	return same_creds(s, image_sock(im, s->peer)) ? NULL : "its ends were made by two processes";
}

static int find_sender(const struct tree_image *im, const struct sys_sockname *from)
{
	for (int i = 0; sock_is_named(from) && i < (int)im->files.n; i++) {
		const struct image_file *f = image_file(im, i);
		if (f->kind == FILE_SOCKET && image_sock_of(f)->domain == AF_UNIX &&
		    image_sock_of(f)->type == SOCK_DGRAM &&
		    sock_same_name(&image_sock_of(f)->name, from))
			return i;
	}
	return IMAGE_NONE;
}

/* Who sent what: one socket in the place of each that was closed or has no name. */
static const char *pair_up_dgram(const struct tree_image *im, struct image_sock *s)
{
	bool mutual = is_mutual(im, s);
	if (s->connected && s->peer == IMAGE_NONE)
		return s->packets.n ? "messages of a socket whose other end is closed" : NULL;
	if (sock_has_disk(s) && (s->packets.n || s->connected))
		return "a datagram socket with a file on the sandbox's disk is in use";
	if (s->connected && sock_has_disk(image_sock(im, s->peer)))
		return "a datagram socket with a file on the sandbox's disk is in use";
	vec_each(struct sock_packet, p, &s->packets) {
		p->other = 0;
		p->sender = find_sender(im, &p->from);
		if (mutual && !sock_same_name(&p->from, &s->peer_name))
			return "messages from before it was connected";
		if (mutual || p->sender != IMAGE_NONE)
			continue;
		for (struct sock_packet *before = s->packets.data; before < p; before++)
			if (before->other && sock_same_name(&before->from, &p->from))
				p->other = before->other;
		if (!p->other)
			p->other = ++s->others;
	}
	return NULL;
}

const char *sock_unix_pair_up(struct tree_image *im, struct image_sock *s)
{
	s->peer = s->connected && s->peer_ino ? sock_find(im, s->peer_ino) : IMAGE_NONE;
	if (s->connected && s->peer_ino && s->peer == IMAGE_NONE)
		return "its other end is not in the sandbox";
	if (is_pair(s))
		return pair_up_pair(im, s);
	if (s->type == SOCK_DGRAM)
		return pair_up_dgram(im, s);
	return s->connected || s->tcp_state == TCP_LISTEN ? sock_calls_pair_up(im, s) : NULL;
}

/* One whose other end was closed: it must not take the name of another now. */
static int connect_to_closed(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	if (s->type != SOCK_DGRAM || s->role != SOCK_ALONE || !s->connected || s->peer != IMAGE_NONE)
		return 0;
	scoped_fd int other = sock_extra(o, s);
	int r = other < 0 ? other : sock_name_bind_nowhere(other, &s->peer_name);
	struct sys_sockname to;
	scoped_fd int hold = -1;
	r = r ? r : sock_name_reach(other, &s->peer_name, &to, &hold);
	return r ? r : sys_connect(*kind_fd(o, file), &to);
}

static int bind_name(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	return s->role == SOCK_CALLED || !sock_is_named(&s->name) ?
		       0 : sock_name_bind(o, s, *kind_fd(o, file));
}

static int send_one(struct files_open *o, const struct image_sock *s, const struct sock_packet *p,
		    const struct sys_sockname *to)
{
	if (p->sender != IMAGE_NONE) {
		sock_make_room(*kind_fd(o, p->sender));
		return sock_queue_send(o, p, *kind_fd(o, p->sender), to);
	}
	scoped_fd int other = sock_fetch(o, s, p->other);
	struct sys_sockname now;
	int r = other < 0 ? other : sys_sockname(other, false, &now);
	if (r == 0 && sock_is_named(&p->from) && !sock_is_named(&now))
		r = sock_name_bind_nowhere(other, &p->from);
	sock_make_room(other);
	return r ? r : sock_queue_send(o, p, other, to);
}

/* What came to a datagram socket, before that is connected itself. */
static int fill_dgram(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	struct sys_sockname to;
	scoped_fd int hold = -1;
	if (s->type != SOCK_DGRAM || s->role != SOCK_ALONE || !s->packets.n ||
	    is_mutual(o->image, s))
		return 0;
	int r = sock_name_reach(*kind_fd(o, file), &s->name, &to, &hold);
	vec_each(struct sock_packet, p, &s->packets)
		r = r ? r : send_one(o, s, p, &to);
	return r;
}

static bool connects(const struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	const struct image_sock *s = f->own;
	return f->kind == FILE_SOCKET && kind_is_wanted(o, file) && s->domain == AF_UNIX &&
	       s->type == SOCK_DGRAM && s->role == SOCK_ALONE && s->peer != IMAGE_NONE;
}

/* Only who is connected to nobody, or to the caller, can be connected to. */
static int connect_dgram(struct files_open *o, int file)
{
	if (!connects(o, file))
		return 0;
	const struct image_sock *s = image_sock(o->image, file);
	struct sys_sockname to, now;
	int r = sys_sockname(*kind_fd(o, file), true, &now);
	if (r != -ENOTCONN)
		return r;
	for (int i = 0; i < (int)o->image->files.n; i++) {
		if (i == s->peer || !connects(o, i) || image_sock(o->image, i)->peer != file)
			continue;
		r = connect_dgram(o, i);
		if (r && r != -ENOTCONN)
			return r;
	}
	scoped_fd int hold = -1;
	r = sock_name_reach(*kind_fd(o, s->peer), &s->peer_name, &to, &hold);
	return r ? r : sys_connect(*kind_fd(o, file), &to);
}

typedef int join_round(struct files_open *o, int file);

static int each_unix(struct files_open *o, int *file, join_round *const *round, size_t n)
{
	for (size_t k = 0; k < n; k++)
		for (*file = 0; *file < (int)o->image->files.n; ++*file) {
			if (image_file(o->image, *file)->kind != FILE_SOCKET ||
			    !kind_is_wanted(o, *file) ||
			    image_sock(o->image, *file)->domain != AF_UNIX)
				continue;
			int r = round[k](o, *file);
			if (r)
				return r;
		}
	return 0;
}

int sock_unix_open(struct files_open *o, int *file)
{
	static join_round *const round[] = { connect_to_closed, sock_call, bind_name, sock_listen,
					     sock_wait };
	return each_unix(o, file, round, sizeof(round) / sizeof(round[0]));
}

int sock_unix_fill(struct files_open *o, int *file)
{
	static join_round *const round[] = { fill_dgram, connect_dgram };
	return each_unix(o, file, round, sizeof(round) / sizeof(round[0]));
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
	if (!s->connected || s->role == SOCK_WAITS ||
	    (s->role == SOCK_ALONE && !is_mutual(o->image, s)))
		return finish(o, file);
	if (s->peer != IMAGE_NONE) {
		r = fill(o, s, own, *kind_fd(o, s->peer));
		if (r || s->peer > file)
			return r;
		r = finish(o, file);
		return r || s->peer == file ? r : finish(o, s->peer);
	}
	int *end = vec_at(&o->ends, (size_t)file);
	scoped_fd int other = s->role == SOCK_PAIR ? sock_fetch(o, s, 1) : take_fd(end);
	if (other < 0)
		return other;
	r = fill(o, s, own, other);
	return r ? r : finish(o, file);
}
