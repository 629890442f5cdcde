/*
 * sockdiag.h - what only netlink tells of unix sockets: sock_diag(7).
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct sys_unix_diag {
	uint8_t state;		/* TCP_ESTABLISHED, TCP_LISTEN, TCP_CLOSE */
	uint8_t shutdown;	/* 1: no more receiving, 2: no more sending */
	int has_peer;		/* connected, maybe to what is closed or was
				 * not accepted: peer_ino is 0 then */
	uint32_t peer_ino;
	uint32_t in_bytes;	/* queued here; LISTEN: connections that wait */
	uint32_t out_bytes;	/* sent and not read; LISTEN: the backlog */
	struct vec callers;	/* uint32_t: LISTEN: inode numbers of those that
				 * wait to be accepted, the first first; 0: closed */
};

/*
 * Ask about the socket with this inode number, through nl, a socket of
 * AF_NETLINK, NETLINK_SOCK_DIAG in its network namespace. -ENOENT: not there.
 * -EMSGSIZE: more callers than an answer can name. out->callers is the
 * caller's, who frees it.
 */
must_check int sys_unix_diag(int nl, uint32_t ino, struct sys_unix_diag *out);
