#include "sandbox/init/internal.h"

/* The kernel's 64-bit layout of recvmsg(2) and its control data. */
struct header {
	void *name;
	uint64_t name_len;
	void *iov;
	uint64_t iov_len;
	void *control;
	uint64_t control_len;
	uint64_t flags;
};

struct iovec_ {
	void *base;
	uint64_t len;
};

struct control {
	uint64_t len;
	int32_t level;
	int32_t type;
	int32_t fd[INIT_SPAWN_FDS];
};

enum {
	SOL_SOCKET_ = 1,
	SCM_RIGHTS_ = 1,
	MSG_CTRUNC_ = 0x8,
	MSG_TRUNC_ = 0x20,
	MSG_NOSIGNAL_ = 0x4000,
	MSG_CMSG_CLOEXEC_ = 0x40000000,
};

void *memcpy(void *dst, const void *src, size_t n)
{
	unsigned char *d = dst;
	const unsigned char *s = src;
	while (n--)
		*d++ = *s++;
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	unsigned char *d = dst;
	while (n--)
		*d++ = (unsigned char)c;
	return dst;
}

static void close_all(int *fds, unsigned int *n_fds)
{
	while (*n_fds)
		init_close(fds[--*n_fds]);
}

long init_receive(struct init_msg *msg, int *fds, unsigned int *n_fds)
{
	struct control control = {0};
	struct iovec_ iov = {msg, sizeof(*msg)};
	struct header header = {
		.iov = &iov,
		.iov_len = 1,
		.control = &control,
		.control_len = sizeof(control),
	};
	*n_fds = 0;
	long len = sys3(__NR_recvmsg, INIT_SOCKET_FD, (long)&header, MSG_CMSG_CLOEXEC_);
	if (len <= 0)
		return len;
	if (header.control_len >= 16 && control.level == SOL_SOCKET_ &&
	    control.type == SCM_RIGHTS_ && control.len >= 16)
		*n_fds = (unsigned int)(control.len - 16) / sizeof(int32_t);
	if (*n_fds > INIT_SPAWN_FDS)
		*n_fds = INIT_SPAWN_FDS;
	for (unsigned int i = 0; i < *n_fds; i++)
		fds[i] = control.fd[i];
	if (len != sizeof(*msg) || (header.flags & MSG_TRUNC_) || msg->magic != INIT_MAGIC ||
	    msg->version != INIT_VERSION) {
		close_all(fds, n_fds);
		return -EBADMSG;
	}
	/* A guest may lower init's limits: then a request fails, init does not. */
	if (header.flags & MSG_CTRUNC_)
		close_all(fds, n_fds);
	return 1;
}

void init_send(struct init_msg *msg)
{
	msg->magic = INIT_MAGIC;
	msg->version = INIT_VERSION;
	long ret = -EIO;
	for (int i = 0; (i < INIT_TRIES || ret == -EINTR) && ret < 0 && !init_hung_up(ret); i++)
		ret = sys6(__NR_sendto, INIT_SOCKET_FD, (long)msg, sizeof(*msg), MSG_NOSIGNAL_, 0,
			   0);
	if (ret < 0)
		init_exit(init_hung_up(ret) ? 0 : 1);
}
