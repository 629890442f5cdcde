/*
 * errand.h - let a child do what must not be done by us: in another root,
 * another namespace, or as somebody whom the kernel remembers for it. Its
 * descriptors are ours: what it opens, binds or connects stays.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct sys_errand {
	int root_fd;		/* its root and working directory; -1: ours */
	int netns_fd;		/* -1: ours */
	int pidns_fd;		/* -1: ours; else the child has the number pid there, */
	pid_t pid;		/* ... which must be free; */
	uint32_t uid, gid;	/* ... and these ids, with all our capabilities */
};

#define SYS_ERRAND_INIT ((struct sys_errand){ .root_fd = -1, .netns_fd = -1, .pidns_fd = -1 })

/*
 * Run it in the child: its 0 or -errno, or that of making the child. What it
 * writes to memory is lost. It gets by without locks of libc: single-threaded
 * callers only.
 */
must_check int sys_errand(const struct sys_errand *where, int (*run)(void *ctx), void *ctx);
