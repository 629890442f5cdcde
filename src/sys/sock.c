#include "sys/sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "sys/fault.h"

/* Control data aligned as the kernel wants it. */
union sock_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * SYS_SOCK_FDS)];
};

int sys_sock_pair(int pair[2])
{
	int r = sys_fault("socketpair");
	if (r)
		return r;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
}

int sys_sock_send(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds, int flags)
{
	int r = sys_fault("sendmsg");
	if (r)
		return r;
	if (n_fds > SYS_SOCK_FDS)
		return -E2BIG;
	union sock_control control;
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (n_fds) {
		size_t fds_bytes = n_fds * sizeof(int);
		memset(&control, 0, CMSG_SPACE(fds_bytes));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(fds_bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds_bytes);
		memcpy(CMSG_DATA(c), fds, fds_bytes);
	}
	ssize_t sent;
	do
		sent = sendmsg(fd, &msg, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == len ? 0 : -EMSGSIZE;
}

/*
 * Move the descriptors of a message to fds while there is room, close the
 * others. Returns how many there were.
 */
static size_t sock_take_fds(struct msghdr *msg, int *fds, size_t cap)
{
	size_t n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n_here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_here; i++, n++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < cap)
				fds[n] = fd;
			else
				close(fd);
		}
	}
	return n;
}

long sys_sock_recv(int fd, void *bytes, size_t cap, int *fds, size_t *n_fds, int flags)
{
	int r = sys_fault("recvmsg");
	if (r)
		return r;
	union sock_control control;
	struct iovec iov = {.iov_base = bytes, .iov_len = cap};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t len;
	do
		len = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	size_t room = n_fds ? *n_fds : 0;
	size_t n = sock_take_fds(&msg, fds, room);
	if (n > room || msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
		for (size_t i = 0; i < n && i < room; i++)
			close(fds[i]);
		return -EMSGSIZE;
	}
	if (n_fds)
		*n_fds = n;
	return len;
}
