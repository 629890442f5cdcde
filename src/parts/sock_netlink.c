/*
 * sock_netlink.c - netlink sockets that nothing is queued in: their number,
 * the groups they listen to, options.
 *
 * Of the protocols named here the kernel keeps nothing more of a socket.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>

#include "parts/sockets.h"
#include "sys/event.h"

enum { WORD_BITS = 32 };

static bool is_plain(int protocol)
{
	return protocol == NETLINK_ROUTE || protocol == NETLINK_SOCK_DIAG ||
	       protocol == NETLINK_KOBJECT_UEVENT || protocol == NETLINK_GENERIC;
}

static int look_groups(struct image_sock *s)
{
	uint32_t words[64] = { 0 }, len = sizeof(words);
	int r = sys_getsockopt(s->fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words, &len);
	if (r)
		return r;
	if (len > sizeof(words))
		return -E2BIG;
	for (unsigned int i = 0; i < len * 8; i++) {
		if (!(words[i / WORD_BITS] & 1u << i % WORD_BITS))
			continue;
		int *group = vec_add(&s->groups);
		if (!group)
			return -ENOMEM;
		*group = (int)i + 1;
	}
	return 0;
}

int sock_netlink_look(const struct kind_look *at, struct image_sock *s, struct err *e)
{
	if (!is_plain(s->protocol))
		return kind_refuse(at, "a netlink socket of this protocol", e);
	int r = sys_sockname(s->fd, false, &s->name);
	if (r == 0)
		r = sys_sockname(s->fd, true, &s->peer_name);
	if (r == 0)
		r = look_groups(s);
	int events = r ? r : sys_poll_now(s->fd, POLLIN);
	if (events < 0)
		return look_refuse(e, at->p, at->fd->fd, "a netlink socket (%s): %s", at->link,
				   strerror(-events));
	const struct sockaddr_nl *name = (const void *)&s->name.at;
	const struct sockaddr_nl *peer = (const void *)&s->peer_name.at;
	if (events)
		return kind_refuse(at, "a netlink socket with messages", e);
	if (peer->nl_pid || peer->nl_groups)
		return kind_refuse(at, "a connected netlink socket", e);
	if (at->l->shares_net && name->nl_pid)
		return kind_refuse(at, "a socket of a network that is not the sandbox's own", e);
	return 0;
}

int sock_netlink_join(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	const struct sockaddr_nl *name = (const void *)&s->name.at;
	int fd = *kind_fd(o, file);
	int r = sock_options_set(fd, s, true);
	if (r == 0)
		r = sock_options_set(fd, s, false);
	if (r == 0 && name->nl_pid)
		r = sys_bind(fd, &s->name);
	vec_each(int, group, &s->groups)
		if (r == 0)
			r = sys_sockopt_set(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, *group);
	return r;
}
