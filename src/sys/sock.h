/*
 * sock.h - datagrams with descriptors, over SOCK_SEQPACKET pairs.
 *
 * Message boundaries are kept; everything is close-on-exec; nothing raises
 * SIGPIPE.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

enum { SYS_SOCK_FDS = 253 }; /* SCM_MAX_FD, include/net/scm.h */

/* Two connected, blocking ends. 0 or -errno. */
must_check int sys_sock_pair(int pair[2]);

/*
 * Send one message with n_fds (may be 0) descriptors; they stay the caller's.
 * flags: MSG_DONTWAIT. 0, -EAGAIN, -EPIPE (the peer is gone), -errno.
 */
must_check int sys_sock_send(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds,
			     int flags);

/*
 * Receive one message of at most cap bytes and *n_fds descriptors (n_fds may
 * be NULL: none). *n_fds becomes the number received, owned by the caller.
 * Bytes; 0 at end of file; -EMSGSIZE when the message or its descriptors did
 * not fit: then it is lost and every descriptor of it is closed; -errno.
 */
must_check long sys_sock_recv(int fd, void *bytes, size_t cap, int *fds, size_t *n_fds, int flags);
