#include "parts/stops.h"

#include <sys/syscall.h>
#include <sys/wait.h>

enum { WAIT_ALL = 0x40000000 /* __WALL */ };

static bool is_stopped(const struct image_proc *p)
{
	return p->state == PROC_LIVE && p->stopped_by && !p->stopping;
}

void stops_look_end(struct tree_image *im)
{
	/* children stand behind their parents */
	for (size_t i = im->procs.n; i--;) {
		struct image_proc *p = image_proc(im, (int)i);
		if (!is_stopped(p))
			continue;
		p->stop_level += p->stop_level == 0;
		if (p->parent == IMAGE_NONE)
			continue;
		struct image_proc *parent = image_proc(im, p->parent);
		if (is_stopped(parent) && parent->stop_level <= p->stop_level)
			parent->stop_level = p->stop_level + 1;
	}
}

uint32_t stops_level(const struct image_proc *p)
{
	return p->stop_level ? p->stop_level : PUP_GATE_OPEN;
}

siginfo_t *stops_ask(struct prog *p, const struct tree_image *im, int parent)
{
	size_t n = 0;
	vec_each(struct image_proc, c, &im->procs)
		n += is_stopped(c) && c->parent == parent;
	siginfo_t *info = prog_space(p->arena, (n + 1) * sizeof(*info), NULL);
	siginfo_t *at = info;
	vec_each(struct image_proc, c, &im->procs)
		if (info && is_stopped(c) && c->parent == parent) {
			prog_sys(p, SYS_waitid, P_PID, (uint64_t)c->pid,
				 prog_remote(p->arena, at++),
				 WSTOPPED | WNOHANG | WNOWAIT | WAIT_ALL, 0);
			prog_mayfail(p);
		}
	return info;
}

void stops_heard(struct tree_image *im, int parent, const siginfo_t *info)
{
	vec_each(struct image_proc, c, &im->procs)
		if (is_stopped(c) && c->parent == parent)
			c->stop_told = info++->si_pid != c->pid;
}

/*
 * The kernel lets a process of an orphaned group pass over these signals:
 * nobody in its session could continue it. See is_current_pgrp_orphaned().
 */
static bool is_orphaned(const struct tree_image *im, pid_t pgid)
{
	vec_each(struct image_proc, p, &im->procs) {
		if (p->pgid != pgid || p->state != PROC_LIVE || p->parent == IMAGE_NONE)
			continue;
		const struct image_proc *parent = image_proc(im, p->parent);
		if (parent->pgid != pgid && parent->sid == p->sid)
			return false;
	}
	return true;
}

/* The signal that stops it now as it did then, or the one that always does. */
static int stop_signal(const struct tree_image *im, const struct image_proc *p)
{
	int sig = p->stopped_by;
	bool by_tty = sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
	return by_tty && !p->action[sig].handler && !is_orphaned(im, p->pgid) ? sig : SIGSTOP;
}

static void write_stop(struct prog *after, const struct image_proc *p, int sig)
{
	uint64_t mask = 1ull << (sig - 1);
	prog_sys(after, SYS_kill, (uint64_t)p->pid, (uint64_t)sig);
	if (sig == SIGSTOP)
		return;
	uint64_t at = prog_data(after->arena, &mask, sizeof(mask));
	prog_sys(after, SYS_rt_sigprocmask, SIG_UNBLOCK, at, 0, sizeof(mask));
	/* it is continued: the rest of the way is nobody's business again */
	prog_sys(after, SYS_rt_sigprocmask, SIG_BLOCK, at, 0, sizeof(mask));
}

static const siginfo_t *pending_child(const struct vec *pending)
{
	vec_each(siginfo_t, info, pending)
		if (info->si_signo == SIGCHLD)
			return info;
	return NULL;
}

static void write_take(struct prog *after)
{
	const uint64_t mask = 1ull << (SIGCHLD - 1);
	const struct timespec zero = { 0, 0 };
	prog_sys(after, SYS_rt_sigtimedwait, prog_data(after->arena, &mask, sizeof(mask)), 0,
		 prog_data(after->arena, &zero, sizeof(zero)), sizeof(mask));
	prog_mayfail(after);
}

/*
 * At most one of these signals is pending to a process; if one was at the
 * checkpoint, it is there again, and the kernel added none. What is pending
 * to the thread alone is taken first.
 */
static void write_forget_signal(struct prog *after, const struct image_proc *p)
{
	const struct image_thread *first = vec_at(&p->threads, 0);
	const siginfo_t *own = pending_child(&first->pending);
	if (pending_child(&p->pending))
		return;
	write_take(after);
	if (!own)
		return;
	write_take(after);
	prog_sys(after, SYS_rt_tgsigqueueinfo, (uint64_t)p->pid, (uint64_t)first->tid, SIGCHLD,
		 prog_data(after->arena, own, sizeof(*own)));
	prog_mayfail(after);
}

void stops_load_after(struct prog *after, const struct tree_image *im, int i)
{
	const struct image_proc *p = image_proc(im, i);
	size_t n = 0, told = 0;
	vec_each(struct image_proc, c, &im->procs) {
		if (!is_stopped(c) || c->parent != i)
			continue;
		n++;
		if (!c->stop_told || ++told > STOPS_TOLD_MAX)
			continue;
		prog_sys(after, SYS_waitid, P_PID, (uint64_t)c->pid, 0,
			 WSTOPPED | WNOHANG | WAIT_ALL, 0);
		prog_mayfail(after);
	}
	if (n)
		write_forget_signal(after, p);
	if (p->stopped_by)
		write_stop(after, p, stop_signal(im, p));
}
