/*
 * inroot.h - open what lies in a sandbox's root, without leaving it.
 *
 * root_fd is the sandbox's root directory; everything below it is the guest's
 * to bend: symbolic links, FIFOs that block, endless files.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

/*
 * Open path as if root_fd were the root directory (openat2, 5.6), through no
 * magic link; close-on-exec. Descriptor or -errno.
 */
must_check int sys_inroot_open(int root_fd, const char *path, int flags);

/*
 * Read a regular file of at most max_bytes: *text is malloced and
 * NUL-terminated, *len without the NUL. -EINVAL: not a regular file, -EFBIG.
 */
must_check int sys_inroot_read(int root_fd, const char *path, size_t max_bytes, char **text,
			       size_t *len);

/*
 * Open the character device major:minor at path. -ENODEV: it is something
 * else; nothing else is ever opened. A terminal does not become controlling.
 */
must_check int sys_inroot_device(int root_fd, const char *path, unsigned int major,
				 unsigned int minor, int flags);
