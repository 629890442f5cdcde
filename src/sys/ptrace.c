#include "sys/ptrace.h"

#include <elf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/fault.h"

enum {
	PEEK_BATCH = 32,	/* signals a PEEKSIGINFO call */
	PEEK_MAX = 1024,	/* the kernel walks the queue from its start */
};

/* glibc's ptrace() reads errno for the PEEK requests; the call itself is
 * plain. */
static int request(const char *name, long what, pid_t tid, uint64_t addr,
		   uint64_t data)
{
	int r = sys_fault(name);
	if (r)
		return r;
	long ret = syscall(SYS_ptrace, what, tid, addr, data);
	return ret < 0 ? -errno : (int)ret;
}

int sys_ptrace_seize(pid_t tid, unsigned int options)
{
	return request("ptrace(SEIZE)", PTRACE_SEIZE, tid, 0, options);
}

int sys_ptrace_interrupt(pid_t tid)
{
	return request("ptrace(INTERRUPT)", PTRACE_INTERRUPT, tid, 0, 0);
}

int sys_ptrace_set_options(pid_t tid, unsigned int options)
{
	return request("ptrace(SETOPTIONS)", PTRACE_SETOPTIONS, tid, 0,
		       options);
}

int sys_ptrace_detach(pid_t tid, int sig)
{
	return request("ptrace(DETACH)", PTRACE_DETACH, tid, 0, (uint64_t)sig);
}

int sys_ptrace_cont(pid_t tid, int sig)
{
	return request("ptrace(CONT)", PTRACE_CONT, tid, 0, (uint64_t)sig);
}

int sys_ptrace_step(pid_t tid, int sig)
{
	return request("ptrace(SINGLESTEP)", PTRACE_SINGLESTEP, tid, 0,
		       (uint64_t)sig);
}

int sys_ptrace_syscall(pid_t tid, int sig)
{
	return request("ptrace(SYSCALL)", PTRACE_SYSCALL, tid, 0,
		       (uint64_t)sig);
}

int sys_ptrace_listen(pid_t tid)
{
	return request("ptrace(LISTEN)", PTRACE_LISTEN, tid, 0, 0);
}

int sys_ptrace_get_regs(pid_t tid, struct user_regs_struct *regs)
{
	return request("ptrace(GETREGS)", PTRACE_GETREGS, tid, 0,
		       (uint64_t)regs);
}

int sys_ptrace_set_regs(pid_t tid, const struct user_regs_struct *regs)
{
	return request("ptrace(SETREGS)", PTRACE_SETREGS, tid, 0,
		       (uint64_t)regs);
}

int sys_ptrace_get_xstate(pid_t tid, void *area, size_t cap)
{
	struct iovec io = { area, cap };
	int r = request("ptrace(GETREGSET)", PTRACE_GETREGSET, tid,
			NT_X86_XSTATE, (uint64_t)&io);
	return r < 0 ? r : (int)io.iov_len;
}

int sys_ptrace_set_xstate(pid_t tid, const void *area, size_t len)
{
	struct iovec io = { (void *)area, len };
	return request("ptrace(SETREGSET)", PTRACE_SETREGSET, tid,
		       NT_X86_XSTATE, (uint64_t)&io);
}

int sys_ptrace_get_sigmask(pid_t tid, uint64_t *mask)
{
	return request("ptrace(GETSIGMASK)", PTRACE_GETSIGMASK, tid,
		       sizeof(*mask), (uint64_t)mask);
}

int sys_ptrace_set_sigmask(pid_t tid, uint64_t mask)
{
	return request("ptrace(SETSIGMASK)", PTRACE_SETSIGMASK, tid,
		       sizeof(mask), (uint64_t)&mask);
}

int sys_ptrace_get_siginfo(pid_t tid, siginfo_t *info)
{
	return request("ptrace(GETSIGINFO)", PTRACE_GETSIGINFO, tid, 0,
		       (uint64_t)info);
}

int sys_ptrace_set_siginfo(pid_t tid, const siginfo_t *info)
{
	return request("ptrace(SETSIGINFO)", PTRACE_SETSIGINFO, tid, 0,
		       (uint64_t)info);
}

int sys_ptrace_peek_siginfo(pid_t tid, bool shared, struct vec *out)
{
	siginfo_t batch[PEEK_BATCH];
	uint64_t n = 0;
	for (;;) {
		struct ptrace_peeksiginfo_args args = {
			.off = n,
			.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0,
			.nr = PEEK_BATCH,
		};
		int r = request("ptrace(PEEKSIGINFO)", PTRACE_PEEKSIGINFO, tid,
				(uint64_t)&args, (uint64_t)batch);
		if (r < 0)
			return r;
		for (int i = 0; i < r; i++) {
			siginfo_t *info = vec_add(out);
			if (!info)
				return -ENOMEM;
			*info = batch[i];
		}
		n += (uint64_t)r;
		if (n > PEEK_MAX)
			return -E2BIG;
		if (r < PEEK_BATCH)
			return (int)n;
	}
}

int sys_ptrace_get_rseq(pid_t tid, struct sys_rseq *rseq)
{
	struct ptrace_rseq_configuration conf = { 0 };
	int r = request("ptrace(GET_RSEQ_CONFIGURATION)",
			PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(conf),
			(uint64_t)&conf);
	if (r < 0)
		return r;
	rseq->address = conf.rseq_abi_pointer;
	rseq->len = conf.rseq_abi_size;
	rseq->signature = conf.signature;
	return 0;
}

int sys_ptrace_get_filter(pid_t tid, unsigned int i, struct sock_filter *insn,
			  size_t cap)
{
	int n = request("ptrace(SECCOMP_GET_FILTER)",
			PTRACE_SECCOMP_GET_FILTER, tid, i, 0);
	if (n < 0 || !insn)
		return n;
	if ((size_t)n > cap)
		return -EMSGSIZE;
	return request("ptrace(SECCOMP_GET_FILTER)", PTRACE_SECCOMP_GET_FILTER,
		       tid, i, (uint64_t)insn);
}

int sys_waiter_begin(struct sys_waiter *w)
{
	int r = sys_fault("rt_sigprocmask");
	if (r)
		return r;
	struct sigaction act;
	if (sigaction(SIGCHLD, NULL, &act))
		return -errno;
	/* then the kernel tells nobody of stops */
	if (act.sa_handler == SIG_IGN || act.sa_flags & SA_NOCLDSTOP)
		return -EINVAL;
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &chld, &w->old_mask))
		return -errno;
	w->was_blocked = sigismember(&w->old_mask, SIGCHLD);
	w->took_signal = false;
	return 0;
}

void sys_waiter_end(struct sys_waiter *w)
{
	if (w->took_signal && w->was_blocked)
		raise(SIGCHLD);
	sigprocmask(SIG_SETMASK, &w->old_mask, NULL);
}

static struct sys_stop stop_of_status(int status)
{
	struct sys_stop stop = { .status = status };
	if (!WIFSTOPPED(status)) {
		stop.kind = SYS_STOP_EXITED;
		return stop;
	}
	stop.sig = WSTOPSIG(status);
	stop.event = status >> 16;
	if (stop.event == PTRACE_EVENT_STOP)
		stop.kind = stop.sig == SIGTRAP ? SYS_STOP_TRAP :
						  SYS_STOP_GROUP;
	else if (stop.event)
		stop.kind = SYS_STOP_EVENT;
	else if (stop.sig == (SIGTRAP | 0x80))
		stop.kind = SYS_STOP_SYSCALL;
	else
		stop.kind = SYS_STOP_SIGNAL;
	return stop;
}

/* Sleep until a SIGCHLD or the deadline. 0 or -ETIMEDOUT. */
static int wait_for_sigchld(struct sys_waiter *w, uint64_t deadline_ns)
{
	uint64_t now_ns = clock_now_ns();
	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	uint64_t left_ns = deadline_ns - now_ns;
	struct timespec timeout = { (time_t)(left_ns / 1000000000u),
				    (long)(left_ns % 1000000000u) };
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	if (sigtimedwait(&chld, NULL, &timeout) == SIGCHLD)
		w->took_signal = true;
	return 0;	/* EINTR, EAGAIN: look again, the deadline decides */
}

int sys_wait_stop(struct sys_waiter *w, pid_t tid, uint64_t deadline_ns,
		  struct sys_stop *stop)
{
	int r = sys_fault("wait4");
	if (r)
		return r;
	for (;;) {
		int status;
		pid_t got = wait4(tid, &status, __WALL | WNOHANG, NULL);
		if (got < 0)
			return -errno;
		if (got == tid) {
			*stop = stop_of_status(status);
			return 0;
		}
		r = deadline_ns ? wait_for_sigchld(w, deadline_ns) :
				  -ETIMEDOUT;
		if (r)
			return r;
	}
}
