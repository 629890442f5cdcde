/*
 * stream.h - unix stream sockets: bytes, with descriptors beside them.
 *
 * Everything is close-on-exec. Nothing raises SIGPIPE: a peer that went away
 * is -EPIPE or end of file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

enum { SYS_STREAM_FDS = 16 };	/* most descriptors beside one message */

/*
 * A listening, non-blocking socket named `name` in the directory dir_fd,
 * whose path may have any length. It must not exist yet. Descriptor or -errno.
 */
must_check int sys_stream_listen(int dir_fd, const char *name);

/* Connect to it; a blocking descriptor, or -errno (-ECONNREFUSED: nobody listens). */
must_check int sys_stream_connect(int dir_fd, const char *name);

/* Next client, non-blocking; -EAGAIN: none waits. */
must_check int sys_stream_accept(int listen_fd);

/* Two connected, blocking ends. */
must_check int sys_stream_pair(int pair[2]);

/*
 * Receive up to len bytes and up to *n_fds descriptors; *n_fds becomes the
 * number received, which the caller owns. Bytes, 0 at end of file, -errno.
 */
must_check long sys_stream_recv(int fd, void *bytes, size_t len, int *fds, size_t *n_fds);

/* Send bytes, and n_fds descriptors beside the first. Bytes sent or -errno. */
must_check long sys_stream_send(int fd, const void *bytes, size_t len, const int *fds,
				size_t n_fds);

int sys_stream_set_blocking(int fd, int blocking);
