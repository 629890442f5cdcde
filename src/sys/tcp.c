#include "sys/tcp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "sys/sockets.h"

enum { OFF_NO_PROBE = -1 };	/* TCP_REPAIR_OFF_NO_WP */

int sys_tcp_state(int fd, struct sys_tcp_state *out)
{
	struct tcp_info info = { 0 };
	uint32_t len = sizeof(info);
	int r = sys_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	if (r)
		return r;
	/* of a listening socket these two are its queue: tcp_get_info() */
	*out = (struct sys_tcp_state){ .state = info.tcpi_state,
				       .waiting = info.tcpi_unacked,
				       .backlog = info.tcpi_sacked,
				       .segments_sent = info.tcpi_data_segs_out };
	return 0;
}

static int read_sequence(int fd, int queue, uint32_t *out)
{
	uint32_t len = sizeof(*out);
	int r = sys_sockopt_set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
	return r ? r : sys_getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, out, &len);
}

static int read_queues(int fd, struct sys_tcp_queues *out)
{
	int r = read_sequence(fd, TCP_RECV_QUEUE, &out->receive_next);
	if (r == 0)
		r = read_sequence(fd, TCP_SEND_QUEUE, &out->write_seq);
	int queued = r ? r : sys_sock_queued(fd, true);
	if (queued <= 0)
		return queued;
	if (vec_reserve(&out->send, (size_t)queued))
		return -ENOMEM;
	ssize_t n = recv(fd, out->send.data, (size_t)queued, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	out->send.n = (size_t)n;
	return 0;
}

/* Repair mode changes SO_REUSEADDR when it begins and when it ends. */
int sys_tcp_queues(int fd, struct sys_tcp_queues *out)
{
	int reuse;
	int r = sys_sockopt_int(fd, SOL_SOCKET, SO_REUSEADDR, &reuse);
	if (r == 0)
		r = sys_sockopt_set(fd, IPPROTO_TCP, TCP_REPAIR, 1);
	if (r)
		return r;
	r = read_queues(fd, out);
	int off = sys_sockopt_set(fd, IPPROTO_TCP, TCP_REPAIR, OFF_NO_PROBE);
	if (off)
		off = sys_sockopt_set(fd, IPPROTO_TCP, TCP_REPAIR, OFF_NO_PROBE);
	int back = sys_sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
	if (back)
		back = sys_sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
	return r ? r : off ? off : back;
}
