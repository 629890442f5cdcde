/*
 * uffd.h - dirty tracking by userfaultfd write-protection, async mode (6.7).
 *
 * The descriptor is made inside the process whose memory it is about; all
 * else works from outside on a copy of it, which must stay open.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

enum { SYS_UFFD_FLAGS = 02000000 | 1 };	/* O_CLOEXEC | UFFD_USER_MODE_ONLY */

/* Whether this kernel can: it needs PAGEMAP_SCAN as well. Where it cannot,
 * memory is compared. */
bool sys_uffd_tracks(void);

/* Enable the async mode on a fresh descriptor. */
must_check int sys_uffd_start(int fd);

/* Track [start, end). -ESRCH: the process has executed another program. */
must_check int sys_uffd_register(int fd, uint64_t start, uint64_t end);

/* Whether the memory it was made for is still its process's. */
int sys_uffd_is_alive(int fd);
