/*
 * sock_options.c - the options of sockets.
 *
 * All are read; those are set that a fresh socket has otherwise. Where setting
 * is not the contrary of reading, a row says so.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "parts/sockets.h"

enum option_kind { PLAIN, BUFFER };

static const struct row {
	int level, name;
	enum option_kind kind;
} rows[] = {
	{ SOL_SOCKET, SO_SNDBUF, BUFFER },
	{ SOL_SOCKET, SO_RCVBUF, BUFFER },
	{ SOL_SOCKET, SO_BROADCAST, PLAIN },
	{ SOL_SOCKET, SO_DONTROUTE, PLAIN },
	{ SOL_SOCKET, SO_KEEPALIVE, PLAIN },
	{ SOL_SOCKET, SO_LINGER, PLAIN },
	{ SOL_SOCKET, SO_MARK, PLAIN },
	{ SOL_SOCKET, SO_NO_CHECK, PLAIN },
	{ SOL_SOCKET, SO_OOBINLINE, PLAIN },
	{ SOL_SOCKET, SO_PASSCRED, PLAIN },
	{ SOL_SOCKET, SO_PEEK_OFF, PLAIN },
	{ SOL_SOCKET, SO_PRIORITY, PLAIN },
	{ SOL_SOCKET, SO_RCVLOWAT, PLAIN },
	{ SOL_SOCKET, SO_RCVTIMEO, PLAIN },
	{ SOL_SOCKET, SO_SNDTIMEO, PLAIN },
	{ SOL_SOCKET, SO_REUSEADDR, PLAIN },
	{ SOL_SOCKET, SO_REUSEPORT, PLAIN },
	{ SOL_SOCKET, SO_RXQ_OVFL, PLAIN },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE, PLAIN },
	{ SOL_SOCKET, SO_TIMESTAMP, PLAIN },
	{ SOL_SOCKET, SO_TIMESTAMPNS, PLAIN },
	{ SOL_SOCKET, SO_WIFI_STATUS, PLAIN },
	{ SOL_SOCKET, SO_ZEROCOPY, PLAIN },
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

int sock_options_look(struct image_sock *s)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sock_option value;
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

int sock_options_set(int fd, const struct image_sock *s)
{
	vec_each(struct sock_option, o, &s->options) {
		const struct row *row = row_of(o);
		struct sock_option now;
		int r = row ? read_option(fd, row, &now) : -EINVAL;
		if (r)
			return r;
		if (same(o, &now))
			continue;
		r = row->kind == BUFFER ? set_buffer(fd, o) :
					  sys_setsockopt(fd, o->level, o->name, o->value, o->len);
		if (r == 0)
			r = read_option(fd, row, &now);
		if (r)
			return r;
		if (!same(o, &now))
			return -EIO;
	}
	return 0;
}
