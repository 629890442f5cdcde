/*
 * sock_options.c - the options of sockets.
 *
 * All are read; those are set that a fresh socket has otherwise. Where setting
 * is not the contrary of reading, a row says so.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "parts/sockets.h"

enum option_kind {
	PLAIN,
	BUFFER,			/* a size */
	LATE,			/* not before it is connected and filled */
	EARLY,			/* not after it has a name, which may change it */
	DATAGRAM,		/* only of datagram sockets */
};

/* Bits of SO_BUF_LOCK: linux/socket.h. */
enum { SNDBUF_LOCKED = 1, RCVBUF_LOCKED = 2 };

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72		/* 5.14 */
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76		/* 6.5 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83	/* 6.16 */
#endif

static const struct row {
	int level, name;
	enum option_kind kind;
} rows[] = {
	{ SOL_SOCKET, SO_SNDBUF, BUFFER },
	{ SOL_SOCKET, SO_RCVBUF, BUFFER },
	{ SOL_SOCKET, SO_BUF_LOCK, PLAIN },
	{ SOL_SOCKET, SO_BINDTODEVICE, PLAIN },
	{ SOL_SOCKET, SO_BROADCAST, PLAIN },
	{ SOL_SOCKET, SO_DONTROUTE, PLAIN },
	{ SOL_SOCKET, SO_KEEPALIVE, PLAIN },
	{ SOL_SOCKET, SO_LINGER, LATE },
	{ SOL_SOCKET, SO_MARK, PLAIN },
	{ SOL_SOCKET, SO_NO_CHECK, PLAIN },
	{ SOL_SOCKET, SO_OOBINLINE, PLAIN },
	{ SOL_SOCKET, SO_PASSCRED, PLAIN },
	{ SOL_SOCKET, SO_PASSPIDFD, LATE },
	{ SOL_SOCKET, SO_PASSRIGHTS, LATE },
	{ SOL_SOCKET, SO_PASSSEC, PLAIN },
	{ SOL_SOCKET, SO_PEEK_OFF, LATE },
	{ SOL_SOCKET, SO_PRIORITY, PLAIN },
	{ SOL_SOCKET, SO_RCVLOWAT, PLAIN },
	{ SOL_SOCKET, SO_RCVTIMEO, LATE },
	{ SOL_SOCKET, SO_SNDTIMEO, LATE },
	{ SOL_SOCKET, SO_REUSEADDR, PLAIN },
	{ SOL_SOCKET, SO_REUSEPORT, PLAIN },
	{ SOL_SOCKET, SO_RXQ_OVFL, PLAIN },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE, PLAIN },
	{ SOL_SOCKET, SO_TIMESTAMP, PLAIN },
	{ SOL_SOCKET, SO_TIMESTAMPNS, PLAIN },
	{ SOL_SOCKET, SO_WIFI_STATUS, PLAIN },
	{ SOL_SOCKET, SO_ZEROCOPY, PLAIN },
	{ SOL_NETLINK, NETLINK_PKTINFO, PLAIN },
	{ SOL_NETLINK, NETLINK_BROADCAST_ERROR, PLAIN },
	{ SOL_NETLINK, NETLINK_NO_ENOBUFS, PLAIN },
	{ SOL_NETLINK, NETLINK_EXT_ACK, PLAIN },
	{ SOL_NETLINK, NETLINK_CAP_ACK, PLAIN },
	{ SOL_NETLINK, NETLINK_GET_STRICT_CHK, PLAIN },
	{ SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, PLAIN },
	{ IPPROTO_TCP, TCP_CONGESTION, PLAIN },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, PLAIN },
	{ IPPROTO_TCP, TCP_FASTOPEN, PLAIN },
	{ IPPROTO_TCP, TCP_KEEPCNT, PLAIN },
	{ IPPROTO_TCP, TCP_KEEPIDLE, PLAIN },
	{ IPPROTO_TCP, TCP_KEEPINTVL, PLAIN },
	{ IPPROTO_TCP, TCP_LINGER2, PLAIN },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, PLAIN },
	{ IPPROTO_TCP, TCP_SYNCNT, PLAIN },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, PLAIN },
	{ IPPROTO_TCP, TCP_NODELAY, LATE },
	{ IPPROTO_TCP, TCP_CORK, LATE },
	{ IPPROTO_IP, IP_TOS, PLAIN },
	{ IPPROTO_IP, IP_TTL, PLAIN },
	{ IPPROTO_IP, IP_PKTINFO, PLAIN },
	{ IPPROTO_IP, IP_RECVTTL, PLAIN },
	{ IPPROTO_IP, IP_RECVTOS, PLAIN },
	{ IPPROTO_IP, IP_RECVERR, PLAIN },
	{ IPPROTO_IP, IP_RECVORIGDSTADDR, PLAIN },
	{ IPPROTO_IP, IP_MTU_DISCOVER, PLAIN },
	{ IPPROTO_IP, IP_FREEBIND, PLAIN },
	{ IPPROTO_IP, IP_TRANSPARENT, PLAIN },
	{ IPPROTO_IP, IP_MINTTL, PLAIN },
	{ IPPROTO_IP, IP_MULTICAST_TTL, DATAGRAM },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, DATAGRAM },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, PLAIN },
	{ IPPROTO_IPV6, IPV6_V6ONLY, EARLY },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, PLAIN },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, PLAIN },
	{ IPPROTO_IPV6, IPV6_TCLASS, PLAIN },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, PLAIN },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, PLAIN },
	{ IPPROTO_IPV6, IPV6_RECVERR, PLAIN },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, PLAIN },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, DATAGRAM },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP, DATAGRAM },
	{ IPPROTO_IPV6, IPV6_FREEBIND, PLAIN },
	{ IPPROTO_IPV6, IPV6_DONTFRAG, PLAIN },
};

/* What this kernel or this family does not know has no value. */
static bool is_unsupported(int r)
{
	return r == -ENOPROTOOPT || r == -EOPNOTSUPP || r == -EINVAL;
}

static int read_option(int fd, const struct row *row, struct sock_option *out)
{
	*out = (struct sock_option){ row->level, row->name, SOCK_OPTION_BYTES, { 0 } };
	return sys_getsockopt(fd, row->level, row->name, out->value, &out->len);
}

/* Of another family, whose numbers may mean something else here. */
static bool is_foreign(const struct image_sock *s, const struct row *row)
{
	if (row->level == SOL_SOCKET)
		return false;
	if (!is_inet(s))
		return s->domain != AF_NETLINK || row->level != SOL_NETLINK;
	return row->level == SOL_NETLINK || (row->level == IPPROTO_TCP && !is_tcp(s)) ||
	       (row->kind == DATAGRAM && is_tcp(s));
}

int sock_options_look(struct image_sock *s)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sock_option value;
		if (is_foreign(s, &rows[i]))
			continue;
		int r = read_option(s->fd, &rows[i], &value);
		if (is_unsupported(r))
			continue;
		if (r)
			return r;
		struct sock_option *out = vec_add(&s->options);
		if (!out)
			return -ENOMEM;
		*out = value;
	}
	return 0;
}

static const struct row *row_of(const struct sock_option *o)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].level == o->level && rows[i].name == o->name)
			return &rows[i];
	return NULL;
}

/* The kernel doubles what is asked for: socket(7). Above the limit: root. */
static int set_buffer(int fd, const struct sock_option *o)
{
	int want;
	memcpy(&want, o->value, sizeof(want));
	int r = sys_sockopt_set(fd, o->level,
				o->name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, want / 2);
	return r == -EPERM ? sys_sockopt_set(fd, o->level, o->name, want / 2) : r;
}

static bool same(const struct sock_option *a, const struct sock_option *b)
{
	return a->len == b->len && !memcmp(a->value, b->value, a->len);
}

/* The size that the kernel chose for a buffer is a hint; the program's is not. */
static bool is_chosen(const struct image_sock *s, const struct sock_option *o)
{
	vec_each(struct sock_option, lock, &s->options)
		if (lock->level == SOL_SOCKET && lock->name == SO_BUF_LOCK)
			return lock->value[0] & (o->name == SO_SNDBUF ? SNDBUF_LOCKED :
									RCVBUF_LOCKED);
	return true;
}

static int set_option(int fd, const struct image_sock *s, const struct row *row,
		      const struct sock_option *o)
{
	struct sock_option now;
	int r = read_option(fd, row, &now);
	if (r || same(o, &now))
		return r;
	if (row->kind == BUFFER)
		r = set_buffer(fd, o);
	else
		r = sys_setsockopt(fd, o->level, o->name, o->value, o->len);
	if (r == 0)
		r = read_option(fd, row, &now);
	if (r || same(o, &now) || (row->kind == BUFFER && is_tcp(s) && !is_chosen(s, o)))
		return r;
	return -EIO;
}

int sock_options_set(int fd, const struct image_sock *s, bool early)
{
	vec_each(struct sock_option, o, &s->options) {
		const struct row *row = row_of(o);
		if (row && row->kind == (early ? LATE : EARLY))
			continue;
		int r = row ? set_option(fd, s, row, o) : -EINVAL;
		if (r)
			return r;
	}
	return 0;
}

void sock_make_room(int fd)
{
	enum { ROOM = 1 << 30 };
	if (sys_sockopt_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, ROOM))
		(void)!sys_sockopt_set(fd, SOL_SOCKET, SO_SNDBUF, ROOM);
}
