/*
 * sock_tcp.c - TCP connections whose two ends are in the sandbox.
 *
 * They are made again by connecting: sequence numbers are nobody's business,
 * all else of a loopback connection follows from what was written and read.
 * What one end has to read is what it has received already, and behind that
 * what the other one has written since: of what is not acknowledged, the part
 * that the first has not received. TCP_REPAIR tells.
 *
 * Where the other end was closed, one in its place is made and closed again.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "parts/sockets.h"
#include "sys/tcp.h"

/* What an ordinary user can have written before the first byte is read. */
enum { ORDINARY_BYTES = 128 << 10 };

static struct image_sock *tcp_at(const struct tree_image *im, int i)
{
	if (image_file(im, i)->kind != FILE_SOCKET)
		return NULL;
	struct image_sock *s = image_sock(im, i);
	return is_tcp(s) ? s : NULL;
}

static int find_peer(const struct tree_image *im, const struct image_sock *s)
{
	for (int i = 0; i < (int)im->files.n; i++) {
		const struct image_sock *other = tcp_at(im, i);
		if (other && other != s && other->connected &&
		    sock_same_address(&other->name, &s->peer_name) &&
		    sock_same_address(&other->peer_name, &s->name))
			return i;
	}
	return IMAGE_NONE;
}

static struct image_sock *find_listener(const struct tree_image *im,
					const struct sys_sockname *name, bool waits)
{
	for (int i = 0; i < (int)im->files.n; i++) {
		struct image_sock *s = tcp_at(im, i);
		if (s && s->tcp_state == TCP_LISTEN && sock_port(&s->name) == sock_port(name) &&
		    (!waits || s->known < s->waiting))
			return s;
	}
	return NULL;
}

/* One peek from the start, wherever SO_PEEK_OFF is: TCP has had it since 6.9 only. */
static int peek_all(const struct image_sock *s, struct sys_packet *p)
{
	int offset, r = 0;
	int queued = sys_sock_queued(s->fd, false);
	bool moves = sys_sockopt_int(s->fd, SOL_SOCKET, SO_PEEK_OFF, &offset) == 0 && offset >= 0;
	if (queued <= 0)
		return queued;
	if (moves)
		r = sys_sockopt_set(s->fd, SOL_SOCKET, SO_PEEK_OFF, -1);
	long n = r ? r : sys_packet_recv(s->fd, p, (size_t)queued, MSG_PEEK);
	if (moves && sys_sockopt_set(s->fd, SOL_SOCKET, SO_PEEK_OFF, offset))
		r = sys_sockopt_set(s->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	return n < 0 ? (int)n : r;
}

static int receive_next(const struct image_sock *s, uint32_t *out)
{
	struct sys_tcp_queues q = { .send = VEC_INIT(char) };
	int r = sys_tcp_queues(s->fd, &q);
	*out = q.receive_next;
	vec_deinit(&q.send);
	return r;
}

/*
 * Nobody runs, but the kernel may be moving bytes from one end to the other.
 * until: NULL, or where what was read ends in the other's sequence.
 */
static int read_received(struct image_sock *s, uint32_t *until)
{
	enum { TRIES = 8 };
	int r = -EBUSY;
	for (int i = 0; r == -EBUSY && i < TRIES; i++) {
		uint32_t after = 0;
		struct sys_packet p;
		sys_packet_init(&p);
		r = until ? receive_next(s, until) : 0;
		if (r == 0)
			r = peek_all(s, &p);
		if (r == 0 && until)
			r = receive_next(s, &after);
		if (r == 0 && until && after != *until)
			r = -EBUSY;
		if (r == 0)
			r = sock_queue_add(s, p.bytes.data, p.bytes.n);
		sys_packet_deinit(&p);
	}
	return r;
}

/*
 * What `to` has to read: what it has received, and behind it what `from` has
 * written and it has not received. That is looked at first: then all that is
 * gone from there meanwhile is here.
 */
static int read_all(struct image_sock *to, const struct image_sock *from)
{
	if (sys_sock_queued(from->fd, true) == 0)
		return read_received(to, NULL);
	struct sys_tcp_queues sent = { .send = VEC_INIT(char) };
	uint32_t until = 0;
	int r = sys_tcp_queues(from->fd, &sent);
	if (r == 0)
		r = read_received(to, &until);
	size_t missing = sent.write_seq - until;
	if (r == 0 && missing && is_shut(from))
		missing--;	/* its end counts as a byte */
	if (r == 0 && missing > sent.send.n)
		r = -EPROTO;
	if (r == 0 && missing)
		r = sock_queue_add(to, (char *)sent.send.data + sent.send.n - missing, missing);
	vec_deinit(&sent.send);
	return r;
}

static bool is_ordinary(void)
{
	scoped_fd int probe = sys_socket(AF_UNIX, SOCK_DGRAM, 0);
	return probe < 0 || sys_sockopt_set(probe, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20) < 0;
}

static const char *check_size(const struct image_sock *s)
{
	size_t bytes = 0;
	vec_each(struct sock_packet, p, &s->packets)
		bytes += p->bytes.n;
	return bytes > ORDINARY_BYTES && is_ordinary() ?
		       "more has to be read from it than an ordinary user can write again" :
		       NULL;
}

static const char *pair_up_both(struct tree_image *im, struct image_sock *s)
{
	struct image_sock *peer = image_sock(im, s->peer);
	if (read_all(s, peer))
		return "what is on its way to it cannot be read";
	if (peer->role != SOCK_ALONE)
		s->role = peer->role == SOCK_CALLS ? SOCK_CALLED : SOCK_CALLS;
	else
		s->role = find_listener(im, &s->name, false) ? SOCK_CALLED : SOCK_CALLS;
	s->others = s->role == SOCK_CALLS;
	return check_size(s);
}

const char *sock_tcp_pair_up(struct tree_image *im, struct image_sock *s)
{
	if (!s->connected)
		return NULL;
	s->peer = find_peer(im, s);
	if (s->peer != IMAGE_NONE)
		return pair_up_both(im, s);
	if (s->tcp_state == TCP_CLOSE_WAIT) {
		s->role = SOCK_CALLS;
		s->others = 1;
		return read_received(s, NULL) ? "it cannot be read" : check_size(s);
	}
	struct image_sock *listener = find_listener(im, &s->peer_name, true);
	if (!listener)
		return "its other end is not in the sandbox";
	if (s->tcp_state != TCP_ESTABLISHED || s->has_sent || sys_sock_queued(s->fd, true))
		return "it waits to be accepted, and has sent something";
	s->role = SOCK_WAITS;
	listener->known++;
	return NULL;
}

static int listen_for(int fd, const struct image_sock *caller, const struct image_sock *called)
{
	int r = called ? sock_options_set(fd, called, true) : 0;
	if (r == 0)
		r = sys_sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = sys_bind(fd, called ? &called->name : &caller->peer_name);
	return r ? r : sys_listen(fd, 1);
}

static int call(int fd, const struct image_sock *s)
{
	int r = sys_sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = sys_bind(fd, &s->name);
	return r ? r : sys_connect(fd, &s->peer_name);
}

static int fill(struct files_open *o, const struct image_sock *s, int from)
{
	if (!s->packets.n)
		return 0;
	sock_make_room(from);
	int r = sys_sockopt_set(from, IPPROTO_TCP, TCP_NODELAY, 1);
	return r ? r : sock_queue_fill(o, s, from);
}

int sock_tcp_connect(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	const struct image_sock *peer = s->peer == IMAGE_NONE ? NULL : image_sock(o->image, s->peer);
	int own = *kind_fd(o, file);
	scoped_fd int listener = sock_fetch(o, s, 1);
	int r = listener < 0 ? listener : listen_for(listener, s, peer);
	if (r == 0)
		r = call(own, s);
	scoped_fd int other = r ? -1 : sys_accept(listener);
	if (r || other < 0)
		return r ? r : other;
	r = fill(o, s, other);
	if (r == 0 && peer)
		r = fill(o, peer, own);
	/* nobody listens there any more, whoever has the descriptor */
	if (r == 0)
		r = sys_shutdown(listener, SHUT_RD);
	if (r == 0 && peer)
		*kind_fd(o, s->peer) = take_fd(&other);
	return r;
}
