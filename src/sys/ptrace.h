/*
 * ptrace.h - typed ptrace requests, and waiting for stops with a deadline.
 *
 * All return -errno; ESRCH means that the thread is gone, or that it is not
 * stopped although the request needs that.
 *
 * Only SEIZE is used, never ATTACH: no stray SIGSTOP, and group-stops can be
 * told from signals. Tracing belongs to a thread of ours, so everything here
 * must be called from the thread that seized.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct sock_filter;

enum {
	SYS_PTRACE_O_TRACESYSGOOD = 1,
	SYS_PTRACE_O_EXITKILL = 1 << 20,
	SYS_PTRACE_O_SUSPEND_SECCOMP = 1 << 21,	/* real root only */
	SYS_XSTATE_MAX = 12288,	/* AMX tiles make it about 11 KB */
};

must_check int sys_ptrace_seize(pid_t tid, unsigned int options);
must_check int sys_ptrace_interrupt(pid_t tid);
must_check int sys_ptrace_set_options(pid_t tid, unsigned int options);

/* Let a stopped thread go; sig is delivered if it stands at a signal. */
must_check int sys_ptrace_detach(pid_t tid, int sig);
must_check int sys_ptrace_cont(pid_t tid, int sig);
must_check int sys_ptrace_step(pid_t tid, int sig);
must_check int sys_ptrace_syscall(pid_t tid, int sig);
/* Leave it group-stopped, but let SIGCONT be noticed. */
must_check int sys_ptrace_listen(pid_t tid);

must_check int sys_ptrace_get_regs(pid_t tid, struct user_regs_struct *regs);
must_check int sys_ptrace_set_regs(pid_t tid,
				   const struct user_regs_struct *regs);

/* XSAVE area of a thread; get returns its length in bytes. */
must_check int sys_ptrace_get_xstate(pid_t tid, void *area, size_t cap);
must_check int sys_ptrace_set_xstate(pid_t tid, const void *area, size_t len);

/* Mask of blocked signals: bit n - 1 is signal n. */
must_check int sys_ptrace_get_sigmask(pid_t tid, uint64_t *mask);
must_check int sys_ptrace_set_sigmask(pid_t tid, uint64_t mask);

/* The signal that a thread in a signal-delivery-stop stands at. */
must_check int sys_ptrace_get_siginfo(pid_t tid, siginfo_t *info);
must_check int sys_ptrace_set_siginfo(pid_t tid, const siginfo_t *info);

/*
 * Append all pending signals (siginfo_t) of the thread, or of its process
 * (shared), to out without taking them. Returns how many; -E2BIG: over a
 * thousand.
 */
must_check int sys_ptrace_peek_siginfo(pid_t tid, bool shared,
				       struct vec *out);

struct sys_rseq {
	uint64_t address;	/* 0: not registered */
	uint32_t len;
	uint32_t signature;
};
must_check int sys_ptrace_get_rseq(pid_t tid, struct sys_rseq *rseq);

/*
 * Filter number i of a thread's seccomp chain, 0 is the oldest. Returns its length in
 * instructions; insn may be NULL to ask. ENOENT: no such filter. EACCES: not
 * real root.
 */
must_check int sys_ptrace_get_filter(pid_t tid, unsigned int i,
				     struct sock_filter *insn, size_t cap);

/* How a traced thread stopped or ended. */
enum sys_stop_kind {
	SYS_STOP_NONE = 0,	/* nothing yet */
	SYS_STOP_TRAP,		/* by INTERRUPT */
	SYS_STOP_GROUP,		/* group-stop by `sig` */
	SYS_STOP_SIGNAL,	/* about to receive `sig` */
	SYS_STOP_SYSCALL,	/* entry or exit of a system call */
	SYS_STOP_EVENT,		/* another ptrace event, in `event` */
	SYS_STOP_EXITED,	/* ended; it is reaped now */
};

struct sys_stop {
	enum sys_stop_kind kind;
	int sig;
	int event;
	int status;		/* wait status when it ended */
};

/*
 * Waiting for stops. SIGCHLD must not be ignored; it is blocked from begin to
 * end, and slept on, so nothing ever spins. If the caller had it blocked
 * already (it reads a signalfd), one is raised again at the end in place of
 * those taken here.
 */
struct sys_waiter {
	sigset_t old_mask;
	bool was_blocked;
	bool took_signal;
};
must_check int sys_waiter_begin(struct sys_waiter *w);
void sys_waiter_end(struct sys_waiter *w);

/*
 * Next stop of a traced thread. 0 with *stop set; -ETIMEDOUT when the
 * deadline (CLOCK_MONOTONIC, 0: do not sleep) passes first; -ECHILD when it
 * is not traced by us or gone.
 */
must_check int sys_wait_stop(struct sys_waiter *w, pid_t tid,
			     uint64_t deadline_ns, struct sys_stop *stop);
