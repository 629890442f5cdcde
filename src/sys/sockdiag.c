#include "sys/sockdiag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "sys/fault.h"

struct request {
	struct nlmsghdr head;
	struct unix_diag_req ask;
};

static int send_request(int nl, uint32_t ino)
{
	const struct request q = {
		.head = { .nlmsg_len = sizeof(q),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST },
		.ask = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0u,
			 .udiag_ino = ino,
			 .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_ICONS,
			 .udiag_cookie = { ~0u, ~0u } },
	};
	ssize_t n = send(nl, &q, sizeof(q), MSG_DONTWAIT);
	return n == sizeof(q) ? 0 : n < 0 ? -errno : -EIO;
}

static int read_attribute(const struct rtattr *a, struct sys_unix_diag *out)
{
	const void *data = RTA_DATA(a);
	size_t len = RTA_PAYLOAD(a);
	struct unix_diag_rqlen queue;
	if (a->rta_type == UNIX_DIAG_PEER && len >= sizeof(out->peer_ino)) {
		out->has_peer = 1;
		memcpy(&out->peer_ino, data, sizeof(out->peer_ino));
	} else if (a->rta_type == UNIX_DIAG_SHUTDOWN && len >= 1) {
		memcpy(&out->shutdown, data, 1);
	} else if (a->rta_type == UNIX_DIAG_RQLEN && len >= sizeof(queue)) {
		memcpy(&queue, data, sizeof(queue));
		out->in_bytes = queue.udiag_rqueue;
		out->out_bytes = queue.udiag_wqueue;
	} else if (a->rta_type == UNIX_DIAG_ICONS) {
		size_t n = len / sizeof(uint32_t);
		if (vec_reserve(&out->callers, n))
			return -ENOMEM;
		if (n)
			memcpy(out->callers.data, data, n * sizeof(uint32_t));
		out->callers.n = n;
	}
	return 0;
}

int sys_unix_diag(int nl, uint32_t ino, struct sys_unix_diag *out)
{
	int r = sys_fault("sock_diag");
	if (r)
		return r;
	r = send_request(nl, ino);
	if (r)
		return r;
	union {
		struct nlmsghdr head;
		char bytes[32768];	/* 8,000 callers */
	} reply;
	/* the kernel answers before send() returns */
	ssize_t n = recv(nl, &reply, sizeof(reply), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0)
		return -errno;
	if (n > (ssize_t)sizeof(reply))
		return -EMSGSIZE;
	if (!NLMSG_OK(&reply.head, (unsigned int)n))
		return -EPROTO;
	if (reply.head.nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = NLMSG_DATA(&reply.head);
		return error->error ? error->error : -EPROTO;
	}
	const struct unix_diag_msg *m = NLMSG_DATA(&reply.head);
	if (reply.head.nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return -EPROTO;
	struct sys_unix_diag d = { .state = m->udiag_state, .callers = VEC_INIT(uint32_t) };
	int left = (int)(reply.head.nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (r == 0)
			r = read_attribute(a, &d);
	if (r) {
		vec_deinit(&d.callers);
		return r;
	}
	*out = d;
	return 0;
}
