/*
 * interrupt.c - what a stop by ptrace does to the code that it interrupts,
 * and how to take it back.
 *
 * Most system calls end with a restart code (-512..-516) that the kernel acts
 * on when the thread goes on. Some end with EINTR whenever anything woke the
 * thread (signal(7), "Interruption ... by stop signals"). We exchange that for
 * ERESTARTNOHAND: the kernel then starts the call again, or, if a handler is
 * to run first, says EINTR as it should. A call with a timeout begins anew
 * with the whole of it; restart.c sees to it that it ends.
 *
 * A thread inside an rseq critical section must go on at the abort handler
 * after it was preempted. The kernel sees to that when it resumes at the same
 * place; but where we let other code run in the thread in between, or resume
 * a copy of it, the kernel no longer knows. So we move it ourselves.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "sys/proc.h"
#include "sys/ptrace.h"
#include "task/internal.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

enum {
	USER_CS_64 = 0x33,
	ERESTARTNOHAND = 514,	/* linux/errno.h of the kernel itself */
};

/* Of these EINTR may only mean "stopped", and starting again is harmless. */
static bool starts_again(long nr)
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_rt_sigtimedwait:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_io_getevents:
	/* sockets with SO_RCVTIMEO or SO_SNDTIMEO; nothing was moved yet */
	case SYS_accept:
	case SYS_accept4:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_read:
	case SYS_write:
	case SYS_readv:
	case SYS_writev:
		return true;
	default:
		return false;	/* connect: the second one says EALREADY */
	}
}

static int restart_call(struct freezer *z, pid_t pid, struct frozen_thread *t)
{
	if ((int64_t)t->regs.rax != -EINTR ||
	    !starts_again((long)t->regs.orig_rax))
		return 0;
	t->regs.rax = (uint64_t)-ERESTARTNOHAND;
	t->restarts = true;
	int r = restart_or_end(z, pid, t);
	return r < 0 ? r : 1;
}

/* linux/rseq.h: the thread's area, and what its rseq_cs points to. */
enum { RSEQ_CS_AT = 8 };

struct critical_section {
	uint32_t version, flags;
	uint64_t start, bytes, abort;
};

static int leave_critical_section(struct frozen_thread *t)
{
	struct sys_rseq rseq;
	int r = sys_ptrace_get_rseq(t->tid, &rseq);
	if (r == -EINVAL || r == -EIO)
		return 0;	/* before 5.13 there is no way to ask */
	if (r < 0 || !rseq.address)
		return r;
	uint64_t section;
	struct critical_section cs;
	/* unreadable: the kernel kills it for that when it goes on */
	r = sys_vm_read(t->tid, rseq.address + RSEQ_CS_AT, &section,
			sizeof(section));
	if (r == -EFAULT || (r == 0 && !section))
		return 0;
	if (r == 0)
		r = sys_vm_read(t->tid, section, &cs, sizeof(cs));
	if (r)
		return r == -EFAULT ? 0 : r;
	if (t->regs.rip - cs.start >= cs.bytes)
		return 0;
	t->regs.rip = cs.abort;
	return 1;
}

int interrupt_settle(struct freezer *z, pid_t pid, struct frozen_thread *t)
{
	if (t->settled)
		return 0;
	int r = sys_ptrace_get_regs(t->tid, &t->regs);
	if (r < 0)
		return r;
	if (t->regs.cs != USER_CS_64) {
		t->settled = true;
		return 0;	/* 32-bit code is refused by whoever saves it */
	}
	if ((int64_t)t->regs.orig_rax >= 0)
		r = restart_call(z, pid, t);
	else
		r = leave_critical_section(t);
	if (r > 0)
		r = sys_ptrace_set_regs(t->tid, &t->regs);
	t->settled = r == 0;
	return r;
}
