/* ipc.h - work in the sandbox's IPC namespace, as one of its processes. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

enum {
	IPC_FIRST_PID = 2,
	IPC_LOW_PIDS = 300,	/* the kernel hands these out once */
};

/*
 * What `write` writes about the objects, as a memfd. Who made or changed one is
 * told in the numbers of the reader's PID namespace: it runs in a child that is
 * of the sandbox's, by a number that none of its processes will get. The
 * caller has entered the IPC namespace. Descriptor or -errno.
 */
must_check int ipc_table(int pid1_pidfd, int (*write)(int fd));

/*
 * Run as a process with this number, which must be free; where it cannot
 * be, another's.
 */
must_check int ipc_act(int pid1_pidfd, pid_t pid, uint32_t uid, uint32_t gid,
		       int (*run)(void *ctx), void *ctx);
