/*
 * tcp.h - connections as tcp(7) shows them, and what only TCP_REPAIR shows.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct sys_tcp_state {
	uint8_t state;		/* TCP_ESTABLISHED ... of netinet/tcp.h */
	uint32_t waiting;	/* LISTEN: connections to be accepted */
	uint32_t backlog;	/* LISTEN */
	uint32_t segments_sent;	/* with data */
};

must_check int sys_tcp_state(int fd, struct sys_tcp_state *out);

struct sys_tcp_queues {
	uint32_t write_seq;	/* behind all that was ever written, FIN too */
	uint32_t receive_next;	/* what the other end is expected to send next */
	struct vec send;	/* char: written, and not acknowledged yet */
};

/*
 * Look at a connection in repair mode, which leaves it as it is. Needs
 * CAP_NET_ADMIN over its network namespace. out->send must be empty.
 */
must_check int sys_tcp_queues(int fd, struct sys_tcp_queues *out);
