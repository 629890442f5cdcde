/* Netlink sockets at rest: one that has a number and groups, one that has none. */
#include "guest.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static struct sockaddr_nl name_of(int fd)
{
	struct sockaddr_nl n;
	socklen_t len = sizeof(n);
	guest_sys(getsockname(fd, (struct sockaddr *)&n, &len));
	guest_eq(len, sizeof(n));
	return n;
}

/* The loopback is the first link. */
static void ask_links(int fd)
{
	struct {
		struct nlmsghdr head;
		struct rtgenmsg body;
	} q = {{sizeof(q), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}};
	union {
		struct nlmsghdr head;
		char bytes[32768];
	} answer;
	guest_eq(send(fd, &q, sizeof(q), 0), sizeof(q));
	bool first = true;
	do {
		guest_check(recv(fd, &answer, sizeof(answer), 0) > 0);
		if (first)
			guest_eq(answer.head.nlmsg_type, RTM_NEWLINK);
		first = false;
	} while (answer.head.nlmsg_type != NLMSG_DONE);
}

int main(int argc, char **argv)
{
	struct sockaddr_nl me = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int on = 1, group = RTNLGRP_NSID, value = 0;
	socklen_t len = sizeof(value);
	guest_start(argc, argv);
	int route = (int)guest_sys(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	int fresh = (int)guest_sys(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
	guest_sys(bind(route, (struct sockaddr *)&me, sizeof(me)));
	guest_sys(setsockopt(route, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	guest_sys(setsockopt(route, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)));
	ask_links(route);
	struct sockaddr_nl before = name_of(route);
	guest_ready();
	guest_wait_go();

	struct sockaddr_nl now = name_of(route);
	guest_eq(now.nl_pid, before.nl_pid);
	guest_eq(now.nl_groups, RTMGRP_LINK | 1u << (RTNLGRP_NSID - 1));
	guest_sys(getsockopt(route, SOL_NETLINK, NETLINK_EXT_ACK, &value, &len));
	guest_eq(value, 1);
	guest_eq(name_of(fresh).nl_pid, 0);
	ask_links(route);
	ask_links(fresh);
	return 0;
}
