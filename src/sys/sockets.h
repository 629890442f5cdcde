/*
 * sockets.h - sockets of any family, as one looks at them from outside and
 * makes them again. All return -errno; nothing blocks, nothing raises SIGPIPE.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/vec.h"

/* An address as the kernel gives it: every byte of it counts. */
struct sys_sockname {
	socklen_t len;		/* 0: none */
	struct sockaddr_storage at;
};

/* Of the whole len bytes, or -errno. *len becomes what there is. */
must_check int sys_getsockopt(int fd, int level, int name, void *value, uint32_t *len);
must_check int sys_setsockopt(int fd, int level, int name, const void *value, uint32_t len);

/* For options that are an int. */
must_check int sys_sockopt_int(int fd, int level, int name, int *value);
must_check int sys_sockopt_set(int fd, int level, int name, int value);

/* getsockname(2), getpeername(2); -ENOTCONN: there is none. */
must_check int sys_sockname(int fd, bool peer, struct sys_sockname *out);

/*
 * O_PATH descriptor of the file that a unix socket is bound to, wherever that
 * is now (SIOCUNIXFILE, 4.11). -ENOENT: it has none.
 */
must_check int sys_sock_file(int fd);

/* Descriptor of the network namespace that a socket is of (SIOCGSKNS, 4.9). */
must_check int sys_sock_netns(int fd);

/* Close-on-exec. */
must_check int sys_socket(int domain, int type, int protocol);
/* The same in another network namespace. */
must_check int sys_socket_in(int netns_fd, int domain, int type, int protocol);
must_check int sys_bind(int fd, const struct sys_sockname *name);
must_check int sys_connect(int fd, const struct sys_sockname *name);
must_check int sys_listen(int fd, int backlog);
/* A connection that waits; -EAGAIN: none. */
must_check int sys_accept(int fd);
must_check int sys_shutdown(int fd, int how);

/* SIOCINQ, SIOCOUTQ. */
must_check int sys_sock_queued(int fd, bool out);

/* A message of a queue. */
struct sys_packet {
	struct vec bytes;	/* char */
	struct vec fds;		/* int: SCM_RIGHTS, owned */
	struct sys_sockname from;
	bool has_creds;		/* SCM_CREDENTIALS: of no interest but that */
	bool is_message;	/* unix, with SO_PASSCRED: and not the end */
	int flags;		/* MSG_* that came with it */
};

void sys_packet_init(struct sys_packet *p);
void sys_packet_deinit(struct sys_packet *p);

/*
 * recvmsg(MSG_DONTWAIT | flags) of at most cap bytes into p, which must be
 * fresh. The number of bytes; with MSG_TRUNC in flags that of the message.
 */
must_check long sys_packet_recv(int fd, struct sys_packet *p, size_t cap, int flags);

/*
 * A stream is kept in buffers: how many bytes of whole ones there are before
 * byte len of it, peeking from where SO_PEEK_OFF says. len > 0.
 */
must_check long sys_stream_whole(int fd, size_t len);

/* Send it with what belongs to it, to `to` unless NULL. All of it, or -errno. */
must_check int sys_packet_send(int fd, const struct sys_packet *p, const struct sys_sockname *to);
