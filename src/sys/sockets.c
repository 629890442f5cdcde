#include "sys/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/errand.h"
#include "sys/fault.h"

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0)	/* linux/un.h */
#endif

enum { FDS_MAX = 253, CREDS_MAX = 256 };	/* SCM_MAX_FD; room for all else */

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX) + CREDS_MAX];
};

int sys_getsockopt(int fd, int level, int name, void *value, uint32_t *len)
{
	int r = sys_fault("getsockopt");
	if (r)
		return r;
	return getsockopt(fd, level, name, value, len) ? -errno : 0;
}

int sys_setsockopt(int fd, int level, int name, const void *value, uint32_t len)
{
	int r = sys_fault("setsockopt");
	if (r)
		return r;
	return setsockopt(fd, level, name, value, len) ? -errno : 0;
}

int sys_sockopt_int(int fd, int level, int name, int *value)
{
	uint32_t len = sizeof(*value);
	return sys_getsockopt(fd, level, name, value, &len);
}

int sys_sockopt_set(int fd, int level, int name, int value)
{
	return sys_setsockopt(fd, level, name, &value, sizeof(value));
}

int sys_sockname(int fd, bool peer, struct sys_sockname *out)
{
	int r = sys_fault(peer ? "getpeername" : "getsockname");
	if (r)
		return r;
	struct sys_sockname name = { .len = sizeof(name.at) };
	r = peer ? getpeername(fd, (struct sockaddr *)&name.at, &name.len) :
		   getsockname(fd, (struct sockaddr *)&name.at, &name.len);
	if (r)
		return -errno;
	if (name.len > sizeof(name.at))
		return -ENAMETOOLONG;
	*out = name;
	return 0;
}

/* Neither is close-on-exec by itself. */
static int ask_descriptor(int fd, unsigned long command)
{
	int r = sys_fault("ioctl");
	if (r)
		return r;
	int got = ioctl(fd, command);
	if (got < 0)
		return -errno;
	return fcntl(got, F_SETFD, FD_CLOEXEC) ? -errno : got;
}

int sys_sock_file(int fd)
{
	return ask_descriptor(fd, SIOCUNIXFILE);
}

int sys_sock_netns(int fd)
{
	return ask_descriptor(fd, SIOCGSKNS);
}

int sys_socket(int domain, int type, int protocol)
{
	int r = sys_fault("socket");
	if (r)
		return r;
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	return fd < 0 ? -errno : fd;
}

struct fresh {
	int domain, type, protocol;
	int number;		/* where it goes: an open descriptor */
};

static int make_fresh(void *ctx)
{
	const struct fresh *f = ctx;
	int fd = socket(f->domain, f->type | SOCK_CLOEXEC, f->protocol);
	if (fd < 0)
		return -errno;
	int r = dup3(fd, f->number, O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return r;
}

int sys_socket_in(int netns_fd, int domain, int type, int protocol)
{
	struct sys_errand there = SYS_ERRAND_INIT;
	there.netns_fd = netns_fd;
	struct fresh f = { domain, type, protocol, fcntl(netns_fd, F_DUPFD_CLOEXEC, 0) };
	if (f.number < 0)
		return -errno;
	int r = sys_errand(&there, make_fresh, &f);
	if (r)
		close(f.number);
	return r ? r : f.number;
}

int sys_bind(int fd, const struct sys_sockname *name)
{
	int r = sys_fault("bind");
	if (r)
		return r;
	return bind(fd, (const struct sockaddr *)&name->at, name->len) ? -errno : 0;
}

int sys_connect(int fd, const struct sys_sockname *name)
{
	int r = sys_fault("connect");
	if (r)
		return r;
	return connect(fd, (const struct sockaddr *)&name->at, name->len) ? -errno : 0;
}

int sys_listen(int fd, int backlog)
{
	int r = sys_fault("listen");
	if (r)
		return r;
	return listen(fd, backlog) ? -errno : 0;
}

int sys_accept(int fd)
{
	int r = sys_fault("accept");
	if (r)
		return r;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (poll(&p, 1, 0) != 1)
		return -EAGAIN;
	int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return got < 0 ? -errno : got;
}

int sys_shutdown(int fd, int how)
{
	int r = sys_fault("shutdown");
	if (r)
		return r;
	return shutdown(fd, how) ? -errno : 0;
}

int sys_sock_queued(int fd, bool out)
{
	int r = sys_fault("ioctl");
	if (r)
		return r;
	int n;
	return ioctl(fd, out ? SIOCOUTQ : SIOCINQ, &n) ? -errno : n;
}

void sys_packet_init(struct sys_packet *p)
{
	*p = (struct sys_packet){ .bytes = VEC_INIT(char), .fds = VEC_INIT(int) };
}

void sys_packet_deinit(struct sys_packet *p)
{
	vec_each(int, fd, &p->fds)
		cleanup_fd(fd);
	vec_deinit(&p->fds);
	vec_deinit(&p->bytes);
}

enum { CMSG_PIDFD = 4 /* SCM_PIDFD, Linux 6.5 */ };

/* Own every descriptor of the message, whatever else it has. */
static int take_control(struct sys_packet *p, struct msghdr *msg)
{
	int r = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred creds;
			memcpy(&creds, CMSG_DATA(c), sizeof(creds));
			p->has_creds = creds.pid != 0;
			p->is_message = true;
		}
		if (c->cmsg_type == CMSG_PIDFD) {
			int pidfd;
			memcpy(&pidfd, CMSG_DATA(c), sizeof(pidfd));
			cleanup_fd(&pidfd);
			p->has_creds = true;
		}
		size_t n = c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) :
							0;
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			int *out = vec_add(&p->fds);
			if (out)
				*out = fd;
			else
				r = (close(fd), -ENOMEM);
		}
	}
	return r;
}

long sys_packet_recv(int fd, struct sys_packet *p, size_t cap, int flags)
{
	int r = sys_fault("recvmsg");
	if (r)
		return r;
	if (vec_reserve(&p->bytes, cap ? cap : 1))
		return -ENOMEM;
	union control control;
	struct iovec iov = { .iov_base = p->bytes.data, .iov_len = cap };
	struct msghdr msg = { .msg_name = &p->from.at,
			      .msg_namelen = sizeof(p->from.at),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	p->bytes.n = (size_t)n < cap ? (size_t)n : cap;
	p->from.len = msg.msg_namelen;
	p->flags = msg.msg_flags;
	r = take_control(p, &msg);
	if (r)
		return r;
	return msg.msg_flags & MSG_CTRUNC ? -EMSGSIZE : n;
}

/* A buffer is copied whole or, where its last byte finds no memory, not at all. */
long sys_stream_whole(int fd, size_t len)
{
	int r = sys_fault("recvmsg");
	if (r)
		return r;
	scoped_free char *bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	struct iovec iov[2] = { { bytes, len - 1 }, { (void *)1, 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	return n >= 0 ? n : errno == EFAULT ? 0 : -errno;
}

int sys_packet_send(int fd, const struct sys_packet *p, const struct sys_sockname *to)
{
	int r = sys_fault("sendmsg");
	if (r)
		return r;
	union control control;
	struct iovec iov = { .iov_base = p->bytes.data, .iov_len = p->bytes.n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (p->fds.n > FDS_MAX)
		return -E2BIG;
	if (to) {
		msg.msg_name = (void *)&to->at;
		msg.msg_namelen = to->len;
	}
	if (p->fds.n) {
		size_t bytes = p->fds.n * sizeof(int);
		memset(&control, 0, CMSG_SPACE(bytes));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), p->fds.data, bytes);
	}
	ssize_t n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return (size_t)n == p->bytes.n ? 0 : -EMSGSIZE;
}
