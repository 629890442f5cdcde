/*
 * sock_inet.c - TCP and UDP, v4 and v6, inside the sandbox's own network.
 *
 * Order of making them again: options; connections, as long as no listening
 * socket is in the way (sock_tcp.c); listening and bound sockets; connections
 * that wait to be accepted; datagrams that wait; what UDP sockets are
 * connected to; the rest of the options.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

#include "parts/sockets.h"
#include "sys/event.h"
#include "sys/tcp.h"

uint16_t sock_port(const struct sys_sockname *name)
{
	const struct sockaddr_in *v4 = (const void *)&name->at;
	const struct sockaddr_in6 *v6 = (const void *)&name->at;
	return !name->len ? 0 : name->at.ss_family == AF_INET ? v4->sin_port : v6->sin6_port;
}

static struct in6_addr address(const struct sys_sockname *name)
{
	const struct sockaddr_in *v4 = (const void *)&name->at;
	const struct sockaddr_in6 *v6 = (const void *)&name->at;
	struct in6_addr a = { 0 };
	if (name->at.ss_family == AF_INET6)
		return v6->sin6_addr;
	a.s6_addr[10] = a.s6_addr[11] = 0xff;
	memcpy(a.s6_addr + 12, &v4->sin_addr, 4);
	return a;
}

bool sock_same_address(const struct sys_sockname *a, const struct sys_sockname *b)
{
	struct in6_addr x = address(a), y = address(b);
	return sock_port(a) == sock_port(b) && !memcmp(&x, &y, sizeof(x));
}

static bool is_wildcard(const struct sys_sockname *name)
{
	struct in6_addr a = address(name);
	uint32_t last;
	memcpy(&last, a.s6_addr + 12, 4);
	return IN6_IS_ADDR_UNSPECIFIED(&a) || (IN6_IS_ADDR_V4MAPPED(&a) && !last);
}

static bool is_loopback(const struct sys_sockname *name)
{
	struct in6_addr a = address(name);
	return IN6_IS_ADDR_LOOPBACK(&a) ||
	       (IN6_IS_ADDR_V4MAPPED(&a) && a.s6_addr[12] == 127 && !a.s6_addr[13] &&
		!a.s6_addr[14] && a.s6_addr[15] == 1);
}

static bool has_ip_options(const struct image_sock *s)
{
	uint8_t bytes[64];
	uint32_t len = sizeof(bytes);
	return s->domain == AF_INET &&
	       sys_getsockopt(s->fd, IPPROTO_IP, IP_OPTIONS, bytes, &len) == 0 && len;
}

static const char *look_tcp(struct image_sock *s, int events, int *r)
{
	struct sys_tcp_state t;
	char ulp[16];
	uint32_t len = sizeof(ulp);
	*r = sys_tcp_state(s->fd, &t);
	if (*r)
		return NULL;
	if (sys_getsockopt(s->fd, IPPROTO_TCP, TCP_ULP, ulp, &len) == 0 && len)
		return "a connection with a protocol above TCP";
	s->tcp_state = t.state;
	s->backlog = (int)t.backlog;
	s->waiting = t.state == TCP_LISTEN ? t.waiting : 0;
	s->has_sent = t.segments_sent;
	switch (t.state) {
	case TCP_CLOSE:
		return events & (POLLIN | POLLRDHUP) ? "a connection that has ended" : NULL;
	case TCP_LISTEN:
		return NULL;
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSE_WAIT:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		s->connected = true;
		return NULL;
	default:
		return "a connection that is being made";
	}
}

static const char *look_udp(struct image_sock *s, int events)
{
	s->connected = s->peer_name.len;
	s->in_bytes = events & POLLIN ? 1 : 0;	/* not how many */
	return events & POLLRDHUP ? "a datagram socket that was shut down" : NULL;
}

static bool is_known(const struct image_sock *s)
{
	return (s->type == SOCK_STREAM && s->protocol == IPPROTO_TCP) ||
	       (s->type == SOCK_DGRAM && s->protocol == IPPROTO_UDP);
}

int sock_inet_look(const struct kind_look *at, struct image_sock *s, struct err *e)
{
	if (!is_known(s))
		return kind_refuse(at, "a socket of this protocol", e);
	int r = sys_sockname(s->fd, false, &s->name);
	if (r == 0)
		r = sys_sockname(s->fd, true, &s->peer_name);
	if (r == -ENOTCONN)
		r = 0;
	int events = r ? r : sys_poll_now(s->fd, POLLIN | POLLPRI | POLLRDHUP);
	const char *why = NULL;
	if (events >= 0)
		why = s->type == SOCK_STREAM ? look_tcp(s, events, &r) : look_udp(s, events);
	if (events < 0 || r < 0)
		return look_refuse(e, at->p, at->fd->fd, "a socket (%s): %s", at->link,
				   strerror(events < 0 ? -events : -r));
	if (at->l->shares_net && (sock_port(&s->name) || s->connected))
		why = "a socket of a network that is not the sandbox's own";
	if (has_ip_options(s))
		why = "a socket with IP options";
	if (events & POLLERR)
		why = "a socket with an error that was not told yet";
	if (events & POLLPRI)
		why = "a socket with urgent data";
	return why ? kind_refuse(at, why, e) : 0;
}

/* The socket that sends from this address. */
static int find_sender(const struct tree_image *im, const struct sys_sockname *from)
{
	for (int i = 0; i < (int)im->files.n; i++) {
		if (image_file(im, i)->kind != FILE_SOCKET)
			continue;
		const struct image_sock *s = image_sock(im, i);
		if (!is_inet(s) || s->type != SOCK_DGRAM ||
		    sock_port(&s->name) != sock_port(from))
			continue;
		if (sock_same_address(&s->name, from) || (is_wildcard(&s->name) && is_loopback(from)))
			return i;
	}
	return IMAGE_NONE;
}

static bool shares_port(const struct tree_image *im, const struct image_sock *s)
{
	for (int i = 0; i < (int)im->files.n; i++) {
		if (image_file(im, i)->kind != FILE_SOCKET || image_sock(im, i) == s)
			continue;
		const struct image_sock *other = image_sock(im, i);
		if (is_inet(other) && other->type == s->type &&
		    sock_port(&other->name) == sock_port(&s->name))
			return true;
	}
	return false;
}

/* Who sent what: one socket in the place of each that was closed. */
static const char *pair_up_udp(struct tree_image *im, struct image_sock *s)
{
	vec_each(struct sock_packet, p, &s->packets) {
		p->sender = find_sender(im, &p->from);
		if (p->sender != IMAGE_NONE)
			continue;
		for (struct sock_packet *before = s->packets.data; before < p; before++)
			if (before->sender == IMAGE_NONE &&
			    sock_same_address(&before->from, &p->from))
				p->other = before->other;
		if (!p->other)
			p->other = ++s->others;
	}
	if (s->packets.n && shares_port(im, s))
		return "datagrams wait for one of several sockets with one port";
	if (s->packets.n && !is_wildcard(&s->name) && !is_loopback(&s->name))
		return "datagrams wait that came by another way than the loopback";
	return NULL;
}

const char *sock_inet_pair_up(struct tree_image *im, struct image_sock *s)
{
	return is_tcp(s) ? sock_tcp_pair_up(im, s) : pair_up_udp(im, s);
}

const char *sock_inet_check(const struct image_sock *s)
{
	return s->waiting != s->known ? "connections wait to be accepted that cannot be made again" :
					NULL;
}

/* Its port may be that of connections, or of others that allow it. */
static int bind_socket(int fd, const struct image_sock *s)
{
	if (!sock_port(&s->name))
		return 0;
	int r = is_tcp(s) ? sys_sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1) : 0;
	if (r == 0)
		r = sys_bind(fd, &s->name);
	if (r == 0 && s->tcp_state == TCP_LISTEN)
		r = sys_listen(fd, s->backlog);
	return r;
}

static int early(struct files_open *o, int i)
{
	const struct image_sock *s = image_sock(o->image, i);
	return s->role == SOCK_CALLED ? 0 : sock_options_set(*kind_fd(o, i), s, true);
}

static int connections(struct files_open *o, int i)
{
	return image_sock(o->image, i)->role == SOCK_CALLS ? sock_tcp_connect(o, i) : 0;
}

static int names(struct files_open *o, int i)
{
	const struct image_sock *s = image_sock(o->image, i);
	return s->role == SOCK_ALONE ? bind_socket(*kind_fd(o, i), s) : 0;
}

static int waiting(struct files_open *o, int i)
{
	const struct image_sock *s = image_sock(o->image, i);
	if (s->role != SOCK_WAITS)
		return 0;
	int r = bind_socket(*kind_fd(o, i), s);
	return r ? r : sys_connect(*kind_fd(o, i), &s->peer_name);
}

static struct sys_sockname reachable(const struct image_sock *s)
{
	struct sys_sockname to = s->name;
	struct sockaddr_in *v4 = (void *)&to.at;
	struct sockaddr_in6 *v6 = (void *)&to.at;
	if (!is_wildcard(&to))
		return to;
	if (to.at.ss_family == AF_INET)
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		v6->sin6_addr = in6addr_loopback;
	return to;
}

static int send_from_other(struct files_open *o, const struct image_sock *s,
			   const struct sock_packet *p, const struct sys_sockname *to)
{
	scoped_fd int fd = sock_fetch(o, s, p->other);
	struct sys_sockname now;
	int r = fd < 0 ? fd : sys_sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = sys_sockname(fd, false, &now);
	if (r == 0 && !sock_port(&now))
		r = sys_bind(fd, &p->from);
	return r ? r : sock_queue_send(o, p, fd, to);
}

/* v4 datagrams of a v6 socket came to a v4 address of it. */
static int datagrams(struct files_open *o, int i)
{
	const struct image_sock *s = image_sock(o->image, i);
	if (s->type != SOCK_DGRAM)
		return 0;
	int r = 0;
	vec_each(struct sock_packet, p, &s->packets) {
		struct sys_sockname to = reachable(s);
		struct in6_addr from = address(&p->from);
		if (is_wildcard(&s->name) && s->domain == AF_INET6 &&
		    IN6_IS_ADDR_V4MAPPED(&from)) {
			struct sockaddr_in6 *v6 = (void *)&to.at;
			v6->sin6_addr = (struct in6_addr){
				.s6_addr = { [10] = 0xff, 0xff, 127, 0, 0, 1 }
			};
		}
		if (r == 0)
			r = p->sender == IMAGE_NONE ? send_from_other(o, s, p, &to) :
						      sock_queue_send(o, p, *kind_fd(o, p->sender),
								      &to);
	}
	return r;
}

static int udp_peers(struct files_open *o, int i)
{
	const struct image_sock *s = image_sock(o->image, i);
	return s->type == SOCK_DGRAM && s->connected ? sys_connect(*kind_fd(o, i), &s->peer_name) :
						       0;
}

static int late(struct files_open *o, int i)
{
	const struct image_sock *s = image_sock(o->image, i);
	int r = sock_options_set(*kind_fd(o, i), s, false);
	return r || !is_tcp(s) || !is_shut(s) ? r : sys_shutdown(*kind_fd(o, i), SHUT_WR);
}

int sock_inet_join(struct files_open *o, int *file)
{
	static int (*const round[])(struct files_open *o, int i) = {
		early, connections, names, waiting, datagrams, udp_peers, late,
	};
	for (size_t k = 0; k < sizeof(round) / sizeof(round[0]); k++)
		for (*file = 0; *file < (int)o->image->files.n; ++*file) {
			if (image_file(o->image, *file)->kind != FILE_SOCKET ||
			    !kind_is_wanted(o, *file) ||
			    !is_inet(image_sock(o->image, *file)))
				continue;
			int r = round[k](o, *file);
			if (r)
				return r;
		}
	return 0;
}
