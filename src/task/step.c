#include "task/step.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "puppet/blob.h"
#include "sys/proc.h"

enum {
	SYSCALL_BYTES = 2,
	PAGE = 4096,
	VDSO_BYTES = 4 * PAGE,	/* two on 6.18, one before */
	AUXV_WORDS = 64,
	OTHER_STOPS_MAX = 64,	/* stops that are not the end of a step */
};

#define STEP_NS 2000000000ull	/* one quick system call, starved of CPU */
#define RUN_NS 20000000000ull	/* a program with a thousand of them */
#define TRAP_FLAG 0x100ull
#define DIRECTION_FLAG 0x400ull

static const uint8_t syscall_bytes[SYSCALL_BYTES] = { 0x0f, 0x05 };

static struct frozen_thread *remote_thread(const struct remote *r)
{
	return frozen_thread(frozen_proc(r->frozen, r->proc), r->thread);
}

/* Is there a system call instruction at the address, and may it run? */
static bool is_syscall(struct remote *r, uint64_t address)
{
	uint8_t bytes[SYSCALL_BYTES];
	struct procfs_map map;
	return sys_vm_read(r->tid, address, bytes, sizeof(bytes)) == 0 &&
	       !memcmp(bytes, syscall_bytes, sizeof(bytes)) &&
	       procfs_map_at(freezer_procfs(r->frozen->freezer), r->tid,
			     address, &map, NULL, 0) == 0 &&
	       map.prot & PROT_EXEC && address + SYSCALL_BYTES <= map.end;
}

static uint64_t find_in(const uint8_t *bytes, size_t len, uint64_t address)
{
	const uint8_t *at = memmem(bytes, len, syscall_bytes, SYSCALL_BYTES);
	return at ? address + (uint64_t)(at - bytes) : 0;
}

/* execve moves the vdso, and the guest may: look each time. */
static uint64_t find_in_vdso(struct remote *r)
{
	struct procfs *proc = freezer_procfs(r->frozen->freezer);
	uint64_t auxv[AUXV_WORDS];
	int n = procfs_auxv(proc, r->tid, auxv, AUXV_WORDS);
	uint64_t start = n < 0 ? 0 : procfs_auxv_get(auxv, (size_t)n,
						      AT_SYSINFO_EHDR);
	struct procfs_map map;
	uint8_t bytes[VDSO_BYTES];
	if (!start || procfs_map_at(proc, r->tid, start, &map, NULL, 0) ||
	    !(map.prot & PROT_EXEC) || map.start != start ||
	    map.end - map.start > sizeof(bytes) ||
	    sys_vm_read(r->tid, start, bytes, map.end - map.start))
		return 0;
	return find_in(bytes, map.end - map.start, start);
}

int step_find_syscall(struct remote *r)
{
	uint64_t rip = remote_thread(r)->regs.rip;
	uint64_t found = 0;
	if (r->resident)
		found = find_in(puppet_blob, puppet_text_bytes, PUP_LOW);
	/* most threads are stopped in a call, or before it starts again */
	if (!found && is_syscall(r, rip - SYSCALL_BYTES))
		found = rip - SYSCALL_BYTES;
	if (!found && is_syscall(r, rip))
		found = rip;
	if (!found)
		found = find_in_vdso(r);
	if (!found)
		return -ENOENT;
	r->syscall_address = found;
	return 0;
}

/*
 * A signal that arrived in between, for it cannot be blocked (SIGSTOP) or was
 * pending (SIGTRAP): keep it for the thaw.
 */
static int keep_signal(struct frozen_thread *t)
{
	if (t->stop == FREEZE_SIGNAL)
		return -EBUSY;
	int r = sys_ptrace_get_siginfo(t->tid, &t->kept);
	if (r == 0)
		t->stop = FREEZE_SIGNAL;
	return r;
}

/* The process was killed: it can only be reaped. */
static int lose(struct remote *r)
{
	r->gone = true;
	remote_thread(r)->stopped = false;
	return -ESRCH;
}

typedef int resume_fn(pid_t tid, int sig);

/*
 * Where a failure would leave us not knowing what the guest has done, the
 * call that tells is asked once more.
 */
static int wait_stop(struct remote *r, uint64_t timeout_ns,
		     struct sys_stop *stop)
{
	uint64_t deadline_ns = clock_now_ns() + timeout_ns;
	int ret = sys_wait_stop(&r->frozen->waiter, r->tid, deadline_ns, stop);
	if (ret && ret != -ETIMEDOUT && ret != -ECHILD)
		ret = sys_wait_stop(&r->frozen->waiter, r->tid, deadline_ns,
				    stop);
	return ret;
}

static int get_regs(struct remote *r, struct user_regs_struct *regs)
{
	int ret = sys_ptrace_get_regs(r->tid, regs);
	if (ret && ret != -ESRCH)
		ret = sys_ptrace_get_regs(r->tid, regs);
	return ret == -ESRCH ? lose(r) : ret;
}

/* A thread that does not come back: stop it wherever it is. */
static int recall(struct remote *r)
{
	struct sys_stop stop;
	int ret = sys_ptrace_interrupt(r->tid);
	if (ret == 0)
		ret = wait_stop(r, STEP_NS, &stop);
	if (ret || stop.kind == SYS_STOP_EXITED)
		return lose(r);
	remote_thread(r)->at_signal = stop.kind == SYS_STOP_SIGNAL;
	return -ETIMEDOUT;
}

/*
 * Resume until a stop of the wanted kind whose rip is not `start`: a SIGTRAP
 * that stands there was queued by the guest before anything of ours ran.
 */
static int resume_until(struct remote *r, resume_fn *resume,
			enum sys_stop_kind want, uint64_t start,
			uint64_t timeout_ns, struct user_regs_struct *regs)
{
	struct frozen_thread *t = remote_thread(r);
	for (int i = 0; i < OTHER_STOPS_MAX; i++) {
		struct sys_stop stop;
		int ret = resume(t->tid, 0);
		if (ret == -ESRCH)
			return lose(r);
		if (ret)
			return ret;
		r->displaced = true;
		t->at_signal = false;
		ret = wait_stop(r, timeout_ns, &stop);
		if (ret == -ETIMEDOUT)
			return recall(r);
		if (ret || stop.kind == SYS_STOP_EXITED)
			return lose(r);
		t->at_signal = stop.kind == SYS_STOP_SIGNAL;
		if (stop.kind == SYS_STOP_TRAP || stop.kind == SYS_STOP_GROUP)
			continue;
		ret = get_regs(r, regs);
		if (ret)
			return ret;
		bool trapped = stop.kind == SYS_STOP_SYSCALL ||
			       stop.sig == SIGTRAP;
		if (stop.kind == want && trapped && regs->rip != start)
			return 0;
		if (stop.kind == SYS_STOP_SYSCALL)
			continue;	/* the entry of the call */
		if (stop.sig != SIGTRAP && stop.sig != SIGSTOP)
			return -EFAULT;	/* our own code crashed */
		ret = keep_signal(t);
		if (ret)
			return ret;
	}
	return -EBUSY;
}

static struct user_regs_struct clean_regs(const struct remote *r)
{
	struct user_regs_struct regs = remote_thread(r)->regs;
	/* else the kernel takes it for the call to restart */
	regs.orig_rax = (uint64_t)-1;
	regs.eflags &= ~(TRAP_FLAG | DIRECTION_FLAG);
	return regs;
}

/*
 * By single step, one stop; or, where a SIGTRAP would take away that the
 * guest ignores it, by the stops at entry and exit.
 */
int step_call(struct remote *r, long nr, const uint64_t arg[6],
	      int64_t *result)
{
	struct user_regs_struct regs = clean_regs(r);
	regs.rip = r->syscall_address;
	regs.rax = (uint64_t)nr;
	regs.rdi = arg[0];
	regs.rsi = arg[1];
	regs.rdx = arg[2];
	regs.r10 = arg[3];
	regs.r8 = arg[4];
	regs.r9 = arg[5];
	int ret = sys_ptrace_set_regs(r->tid, &regs);
	if (ret)
		return ret == -ESRCH ? lose(r) : ret;
	r->moved = true;
	if (!r->trap_ignored) {
		ret = resume_until(r, sys_ptrace_step, SYS_STOP_SIGNAL,
				   regs.rip, STEP_NS, &regs);
	} else {
		/* rip is behind the instruction at both stops */
		ret = resume_until(r, sys_ptrace_syscall, SYS_STOP_SYSCALL,
				   regs.rip, STEP_NS, &regs);
		if (ret == 0)
			ret = resume_until(r, sys_ptrace_syscall,
					   SYS_STOP_SYSCALL, 0, STEP_NS, &regs);
	}
	if (ret == 0)
		*result = (int64_t)regs.rax;
	return ret;
}

int step_run(struct remote *r, uint64_t program, uint64_t status)
{
	struct user_regs_struct regs = clean_regs(r);
	regs.rip = r->entry;
	regs.rdi = program;
	regs.rsi = status;
	regs.rsp = r->stack_top;
	regs.rax = 0;
	int ret = sys_ptrace_set_regs(r->tid, &regs);
	if (ret)
		return ret == -ESRCH ? lose(r) : ret;
	r->moved = true;
	return resume_until(r, sys_ptrace_cont, SYS_STOP_SIGNAL, r->entry,
			    RUN_NS, &regs);
}

int step_restore(struct remote *r)
{
	struct frozen_thread *t = remote_thread(r);
	int ret = sys_ptrace_set_regs(t->tid, &t->regs);
	if (ret == -ESRCH)
		return lose(r);
	r->moved = ret != 0;
	return ret;
}
