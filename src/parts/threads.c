/*
 * threads.c - registers and what else belongs to one thread.
 *
 * A restored thread is entered by rt_sigreturn: the keeper lays a complete
 * signal frame (frame.c) and the thread copies it to its work area. Threads
 * inside a system call that the kernel would have restarted at the thaw are
 * set back to the call: the restart block dies with the process.
 *
 * Every thread is asked for itself (checkpoint/visit.c): its tid address and
 * alternate stack are known to nobody else.
 */
#include "parts/threads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "parts/frame.h"
#include "parts/part.h"
#include "sys/proc.h"

bool threads_in_puppet(const struct frozen_thread *ft)
{
	return ft->regs.rip >= PUP_LOW && ft->regs.rip < PUP_HIGH;
}

static int look_xstate(struct image_thread *t, pid_t tid)
{
	uint8_t area[SYS_XSTATE_MAX];
	int n = sys_ptrace_get_xstate(tid, area, sizeof(area));
	if (n < 0)
		return n;
	t->xstate = malloc((size_t)n);
	if (!t->xstate)
		return -ENOMEM;
	memcpy(t->xstate, area, (size_t)n);
	t->xstate_bytes = (uint32_t)n;
	return 0;
}

static int look_thread(struct look *l, const struct frozen_proc *f,
		       const struct frozen_thread *ft, struct image_thread *t)
{
	t->tid = ft->ns_tid;
	t->regs = ft->regs;
	t->fs_base = ft->regs.fs_base;
	t->gs_base = ft->regs.gs_base;
	t->pending = VEC_INIT(siginfo_t);
	int r = look_xstate(t, ft->tid);
	if (r < 0)
		return r;
	r = sys_ptrace_get_sigmask(ft->tid, &t->mask);
	if (r < 0)
		return r;
	struct sys_rseq rseq;
	if (sys_ptrace_get_rseq(ft->tid, &rseq) == 0) {
		t->rseq_ptr = rseq.address;
		t->rseq_len = rseq.len;
		t->rseq_sig = rseq.signature;
	}
	r = sys_get_robust_list(ft->tid, &t->robust_list, &t->robust_len);
	if (r < 0)
		return r;
	r = sys_ptrace_peek_siginfo(ft->tid, false, &t->pending);
	if (r < 0)
		return r;
	if (ft->stop == FREEZE_SIGNAL) {
		siginfo_t *kept = vec_add(&t->pending);
		if (!kept)
			return -ENOMEM;
		*kept = ft->kept;
	}
	uint64_t slack;
	r = procfs_timerslack(l->procfs, ft->tid, &slack);
	if (r < 0)
		return r;
	t->timer_slack = (int)slack;
	r = procfs_read(l->procfs, f->pid, ft->tid, "comm");
	if (r < 0)
		return r;
	size_t len = strlen(l->procfs->text.data); /* its own newlines count */
	len -= len > 0;
	if (len >= sizeof(t->comm))
		len = sizeof(t->comm) - 1;
	memcpy(t->comm, l->procfs->text.data, len);
	return 0;
}

/*
 * A SIGSTOP that was sent and has not stopped it yet: nothing can block one,
 * so a process that is being made would stop half-way. Stop it at the end.
 */
static void stop_later(struct image_proc *p, struct vec *pending)
{
	for (size_t i = pending->n; i--;) {
		const siginfo_t *info = vec_at(pending, i);
		if (info->si_signo != SIGSTOP)
			continue;
		p->stopping = true;
		vec_remove(pending, i);
	}
}

/*
 * One that is stopped is told of a SIGSTOP no more. While threads of it run
 * on, the stop is no news for its parent yet.
 */
static void note_stop(struct image_proc *p, const struct frozen_proc *f)
{
	size_t n = 0;
	vec_each(struct frozen_thread, t, &f->threads) {
		n += t->stop == FREEZE_GROUP;
		if (t->stop == FREEZE_GROUP)
			p->stopped_by = t->group_signal;
	}
	if (!n && p->stopping)
		p->stopped_by = SIGSTOP;
	p->stopping = p->stopped_by && n < f->threads.n;
}

/* Calls that end in a restart block: the only ones that become restart_syscall. */
static bool has_restart_block(uint64_t nr)
{
	return nr == SYS_poll || nr == SYS_nanosleep || nr == SYS_clock_nanosleep ||
	       nr == SYS_futex;
}

/*
 * A call that was stopped before goes on as restart_syscall(2): its number is
 * gone from the registers. It is the one that the last checkpoint found the
 * thread in, at the same place with the same arguments; or what stands before
 * the system call instruction: mov $nr, %eax.
 */
static uint64_t restarted_call(struct look *l, const struct image_proc *p, pid_t pid,
			       const struct image_thread *t)
{
	enum { MOV_EAX = 0xb8, MOV_BYTES = 5, SYSCALL_BYTES = 2 };
	int before = image_find_key(l->parent, p->key);
	const struct vec *threads = before < 0 ? NULL : &image_proc(l->parent, before)->threads;
	for (size_t i = 0; threads && i < threads->n; i++) {
		const struct image_thread *was = vec_at(threads, i);
		if (was->tid == t->tid && was->regs.rip == t->regs.rip &&
		    was->regs.rsp == t->regs.rsp && was->regs.rdi == t->regs.rdi &&
		    was->regs.rsi == t->regs.rsi && has_restart_block(was->regs.orig_rax))
			return was->regs.orig_rax;
	}
	uint8_t code[MOV_BYTES];
	uint32_t nr;
	if (sys_vm_read(pid, t->regs.rip - SYSCALL_BYTES - MOV_BYTES, code, sizeof(code)) ||
	    code[0] != MOV_EAX)
		return SYS_restart_syscall;
	memcpy(&nr, code + 1, sizeof(nr));
	return has_restart_block(nr) ? nr : SYS_restart_syscall;
}

/*
 * A process that is restored as stopped stops inside the puppet, just before
 * it would return to its own code. Until somebody continues it, its threads
 * are what they were at the checkpoint that it was restored from.
 */
static int look_at_gate(struct look *l, const struct image_proc *p, struct image_thread *t)
{
	int before = image_find_key(l->parent, p->key);
	if (before == IMAGE_NONE)
		return -ESRCH;
	vec_each(struct image_thread, was, &image_proc(l->parent, before)->threads) {
		if (was->tid != t->tid)
			continue;
		uint8_t *xstate = malloc(was->xstate_bytes);
		if (!xstate)
			return -ENOMEM;
		free(t->xstate);
		t->xstate = memcpy(xstate, was->xstate, was->xstate_bytes);
		t->xstate_bytes = was->xstate_bytes;
		t->regs = was->regs;
		t->fs_base = was->fs_base;
		t->gs_base = was->gs_base;
		t->mask = was->mask;
		t->altstack = was->altstack;
		t->at_gate = true;
		return 0;
	}
	return -ESRCH;
}

static int look_threads(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	const char *too_many = "more signals are queued than can be saved";
	for (size_t k = 0; k < f->threads.n; k++) {
		const struct frozen_thread *ft = frozen_thread(f, k);
		if (ft->stop == FREEZE_DEAD)
			return look_refuse(e, p, -1,
					   "its first thread has ended and others live on");
		struct image_thread *t = vec_add(&p->threads);
		if (!t)
			return err_set(e, ENOMEM, "out of memory");
		int r = look_thread(l, f, ft, t);
		if (t->regs.orig_rax == SYS_restart_syscall)
			t->regs.orig_rax = restarted_call(l, p, f->pid, t);
		if (r == 0 && ft->stop == FREEZE_GROUP && threads_in_puppet(ft))
			r = look_at_gate(l, p, t);
		if (r < 0)
			return look_refuse(e, p, -1, "thread %d: %s", ft->ns_tid,
					   r == -E2BIG ? too_many : strerror(-r));
		stop_later(p, &t->pending);
		if (t->tid > l->image->last_pid)
			l->image->last_pid = t->tid;
		l->image->n_threads++;
	}
	if (f->threads.n > PUP_WORK_MAX)
		return look_refuse(e, p, -1, "it has more than %d threads", PUP_WORK_MAX);
	p->pending = VEC_INIT(siginfo_t);
	int r = sys_ptrace_peek_siginfo(f->pid, true, &p->pending);
	if (r < 0)
		return look_refuse(e, p, -1, "pending signals: %s",
				   r == -E2BIG ? too_many : strerror(-r));
	stop_later(p, &p->pending);
	note_stop(p, f);
	return 0;
}

void threads_ask_one(struct prog *p, struct thread_answers *answers)
{
	prog_sys(p, SYS_prctl, PR_GET_TID_ADDRESS, prog_remote(p->arena, &answers->clear_tid));
	/* CONFIG_CHECKPOINT_RESTORE; without it a join after a restore hangs */
	prog_sys(p, SYS_sigaltstack, 0, prog_remote(p->arena, answers->altstack));
	prog_sys(p, SYS_prctl, PR_GET_PDEATHSIG, prog_remote(p->arena, &answers->pdeath_signal));
	prog_sys(p, SYS_prctl, PR_GET_TSC, prog_remote(p->arena, &answers->tsc));
}

void threads_heard_one(struct image_thread *t, const struct thread_answers *answers)
{
	t->clear_tid = answers->clear_tid;
	t->pdeath_signal = answers->pdeath_signal;
	t->no_tsc = answers->tsc == PR_TSC_SIGSEGV;
	if (t->at_gate)
		return;
	t->altstack.ss_sp = (void *)answers->altstack[0];
	t->altstack.ss_flags = (int)answers->altstack[1];
	t->altstack.ss_size = answers->altstack[2];
}

static void load_thread(struct load *l, const struct image_thread *t)
{
	struct prog *p = l->prog;
	prog_sys(p, SYS_set_tid_address, t->clear_tid);
	if (t->robust_list)
		prog_sys(p, SYS_set_robust_list, t->robust_list, t->robust_len);
	if (t->rseq_ptr)
		prog_sys(p, SYS_rseq, t->rseq_ptr, t->rseq_len, 0, t->rseq_sig);
	prog_sys(p, SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, t->fs_base);
	if (t->gs_base)
		prog_sys(p, SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, t->gs_base);
	prog_sys(p, SYS_prctl, PR_SET_NAME,
		 prog_data(p->arena, t->comm, sizeof(t->comm)));
	if (t->timer_slack)
		prog_sys(p, SYS_prctl, PR_SET_TIMERSLACK, (uint64_t)t->timer_slack);
	if (t->no_tsc)
		prog_sys(p, SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
}

/* A change of credentials takes this signal away. */
static void load_death(struct load *l, const struct image_thread *t)
{
	if (t->pdeath_signal)
		prog_sys(l->prog, SYS_prctl, PR_SET_PDEATHSIG, (uint64_t)t->pdeath_signal);
}

const struct part part_death = {
	.name = "signal at the parent's death",
	.load_thread = load_death,
};

const struct part part_threads = {
	.name = "threads",
	.look = look_threads,
	.load_thread = load_thread,
};
