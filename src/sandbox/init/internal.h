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

enum {
	INIT_SPAWN_FDS = 4, /* block, stdin, stdout, stderr */
	INIT_TRIES = 3,     /* of a call whose failure would end everything */
};

/* Tests: calls until one fails with EIO, 0: none does (the first argument). */
extern uint32_t init_fault_after;

static inline bool init_is_faulty(void)
{
	return init_fault_after && !--init_fault_after;
}

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	return init_is_faulty() ? -EIO : raw_syscall6(nr, a, b, c, d, e, f);
}

static inline long sys0(long nr)
{
	return sys6(nr, 0, 0, 0, 0, 0, 0);
}

static inline long sys1(long nr, long a)
{
	return sys6(nr, a, 0, 0, 0, 0, 0);
}

static inline long sys2(long nr, long a, long b)
{
	return sys6(nr, a, b, 0, 0, 0, 0);
}

static inline long sys3(long nr, long a, long b, long c)
{
	return sys6(nr, a, b, c, 0, 0, 0);
}

static inline long sys4(long nr, long a, long b, long c, long d)
{
	return sys6(nr, a, b, c, d, 0, 0);
}

static inline long sys5(long nr, long a, long b, long c, long d, long e)
{
	return sys6(nr, a, b, c, d, e, 0);
}

/* Closes whatever it returns: nothing that could fail. */
static inline void init_close(int fd)
{
	raw_syscall3(__NR_close, fd, 0, 0);
}

__attribute__((noreturn)) static inline void init_exit(int code)
{
	for (;;)
		raw_syscall3(__NR_exit_group, code, 0, 0);
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
