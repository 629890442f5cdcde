/* message.c - datagrams with descriptors, without a libc. */
#include "puppet/internal.h"

#include <asm/unistd.h>

enum {
	SOCKET_LEVEL = 1,		/* SOL_SOCKET */
	RIGHTS = 1,			/* SCM_RIGHTS */
	RECV_CLOEXEC = 0x40000000,	/* MSG_CMSG_CLOEXEC */
	NO_SIGNAL = 0x4000,		/* MSG_NOSIGNAL */
	HEAD_BYTES = 16,		/* of a struct cmsghdr */
};

static void prepare(struct message *m, void *bytes, uint64_t len)
{
	memset(&m->header, 0, sizeof(m->header));
	m->iov.base = bytes;
	m->iov.len = len;
	m->header.iov = &m->iov;
	m->header.iov_len = 1;
}

long message_receive(struct message *m, long socket, void *bytes, uint64_t len)
{
	prepare(m, bytes, len);
	m->header.control = &m->control;
	m->header.control_len = sizeof(m->control);
	m->control.len = 0;
	m->n_fds = 0;
	long ret = raw_syscall3(__NR_recvmsg, socket, (long)&m->header,
				RECV_CLOEXEC);
	if (ret > 0 && m->control.len > HEAD_BYTES)
		m->n_fds = (unsigned int)(m->control.len - HEAD_BYTES) / 4;
	return ret;
}

long message_send(struct message *m, long socket, void *bytes, uint64_t len,
		  int fd)
{
	prepare(m, bytes, len);
	if (fd >= 0) {
		m->control.len = HEAD_BYTES + 4;
		m->control.level = SOCKET_LEVEL;
		m->control.type = RIGHTS;
		m->control.fd[0] = fd;
		m->header.control = &m->control;
		m->header.control_len = HEAD_BYTES + 8;
	}
	long ret = raw_syscall3(__NR_sendmsg, socket, (long)&m->header,
				NO_SIGNAL);
	return ret < 0 ? ret : 0;
}
