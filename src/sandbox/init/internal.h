/*
 * internal.h - what the files of mulligan-init share. Freestanding: the
 * kernel's headers only, no libc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/errno.h>
#include <asm/unistd.h>

#include "puppet/arch/x86_64/syscall.h"
#include "sandbox/init/arch/x86_64/start.h"
#include "sandbox/init/proto.h"

enum { INIT_SPAWN_FDS = 4 }; /* block, stdin, stdout, stderr */

static inline long sys0(long nr)
{
	return raw_syscall3(nr, 0, 0, 0);
}

static inline long sys1(long nr, long a)
{
	return raw_syscall3(nr, a, 0, 0);
}

static inline long sys2(long nr, long a, long b)
{
	return raw_syscall3(nr, a, b, 0);
}

static inline long sys3(long nr, long a, long b, long c)
{
	return raw_syscall3(nr, a, b, c);
}

static inline long sys5(long nr, long a, long b, long c, long d, long e)
{
	return raw_syscall6(nr, a, b, c, d, e, 0);
}

__attribute__((noreturn)) static inline void init_exit(int code)
{
	for (;;)
		sys1(__NR_exit_group, code);
}

static inline bool init_failed(long ret)
{
	return ret < 0 && ret >= -4095;
}

/* The keeper closed its end; with a reset if it left something unread. */
static inline bool init_hung_up(long ret)
{
	return ret == -EPIPE || ret == -ECONNRESET;
}

/* gcc may call these. */
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);

/*
 * Receive one message and at most INIT_SPAWN_FDS descriptors, close-on-exec.
 * 1, with all descriptors or none if they could not all be had; 0 at end of
 * file; -EBADMSG: it was none of ours, its descriptors are closed; -errno.
 */
long init_receive(struct init_msg *msg, int *fds, unsigned int *n_fds);

/* Send a message; magic and version are filled in. Does not return on EOF. */
void init_send(struct init_msg *msg);

/* Confine this process by the blob at INIT_CONFINE_FD. 0, or -errno and *step. */
long init_confine(uint32_t *step);

/*
 * Start the command of a SPAWN message. The child's pid, or -errno and *step.
 * The descriptors stay the caller's.
 */
long init_spawn(const struct init_msg *msg, const int fds[INIT_SPAWN_FDS], uint32_t *step);
