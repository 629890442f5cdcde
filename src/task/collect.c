/*
 * collect.c - one attempt to stop a process tree.
 *
 * A pass walks the tree from PID 1's children down, seizes and interrupts
 * whatever is new, and then waits until all have stopped. Passes are repeated
 * until one finds only what was stopped before it began: then nothing is left
 * that could fork, and the list is whole.
 *
 * A parent in vfork() cannot be stopped before its child execs or exits. If
 * we hold the child, we let just it run on until the parent is awake, then
 * stop it again; all others stay stopped meanwhile.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "sys/proc.h"
#include "task/internal.h"

enum {
	PASSES_MAX = 200,	/* a tree at rest needs 2; PID 1 goes on */
	LOOK_NS = 300000,	/* wait before asking why it does not stop */
	POLL_NS = 100000,	/* between looks at a task not traced yet */
	STOP_NS = 2000000000,	/* runnable, but starved of CPU that long */
};

int collect_ns_pid(struct collect *c, pid_t pid, pid_t tid)
{
	int r = sys_pid_in_pidns(c->ns_fd, tid);
	if (r != -ENOTTY && r != -EINVAL)
		return r;
	struct procfs_status st;
	r = procfs_status(&c->freezer->proc, pid, tid, &st);
	if (r < 0)
		return r;
	return c->ns_level < st.n_ns ? st.ns_pid[c->ns_level] : -ESRCH;
}

int collect_refuse(struct collect *c, pid_t pid, int code, const char *what,
		   struct err *e)
{
	struct procfs_stat st = { .comm = "?" };
	int r = procfs_stat(&c->freezer->proc, pid, 0, &st);
	int ns_pid = r ? -1 : collect_ns_pid(c, pid, pid);
	err_set(e, code, "process %d (%s) %s", ns_pid > 0 ? ns_pid : pid,
		st.comm, what);
	err_about(e, ns_pid > 0 ? ns_pid : pid, -1);
	return -code;
}

static int find_proc(const struct frozen *f, pid_t pid)
{
	for (size_t i = 0; i < f->procs.n; i++)
		if (frozen_proc(f, i)->pid == pid)
			return (int)i;
	return -1;
}

static struct frozen_thread *find_thread(const struct frozen_proc *p,
					 pid_t tid)
{
	vec_each(struct frozen_thread, t, &p->threads)
		if (t->tid == tid)
			return t;
	return NULL;
}

static void drop_thread(struct frozen *f, struct frozen_proc *p, size_t k)
{
	vec_remove(&p->threads, k);
	f->n_threads--;
}

/* A process seen in its parent's list: note it, or note it once more. */
static int see_proc(struct collect *c, pid_t pid, int parent, struct err *e)
{
	struct frozen *f = c->frozen;
	int i = find_proc(f, pid);
	if (i < 0) {
		if (f->procs.n >= c->freezer->limits.tasks_max)
			return err_set(e, E2BIG,
				       "there are more than %zu processes",
				       c->freezer->limits.tasks_max);
		struct frozen_proc *p = vec_add(&f->procs);
		if (!p)
			return err_set(e, ENOMEM, "no memory for a process");
		*p = (struct frozen_proc){
			.pid = pid,
			.pidfd = -1,
			.threads = VEC_INIT(struct frozen_thread),
		};
		i = (int)f->procs.n - 1;
		c->new = true;
	}
	frozen_proc(f, (size_t)i)->parent = parent;
	frozen_proc(f, (size_t)i)->pass = f->passes;
	return 0;
}

/* Read all children of a process' threads; parent is its index. */
static int see_children(struct collect *c, pid_t pid, int parent,
			struct err *e)
{
	struct freezer *z = c->freezer;
	z->children.n = 0;
	vec_each(pid_t, tid, &z->tids) {
		int r = procfs_children(&z->proc, pid, *tid, &z->children);
		if (r < 0 && r != -ESRCH)
			return err_set(e, -r, "read the children of %d", pid);
	}
	vec_each(pid_t, child, &z->children) {
		int r = see_proc(c, *child, parent, e);
		if (r)
			return r;
	}
	return 0;
}

/* Why may we not trace it? 0: it is just ending. */
static int explain_seize(struct collect *c, struct frozen_proc *p, pid_t tid,
			 int error, struct err *e)
{
	struct procfs_status st;
	int r = procfs_status(&c->freezer->proc, p->pid, tid, &st);
	if (r == -ESRCH || (r == 0 && (st.state == 'Z' || st.state == 'X')))
		return 0;
	if (r == 0 && st.tracer_pid) {
		collect_refuse(c, p->pid, EPERM,
			       "is being traced by another process", e);
		return err_remedy(e, "end the debugger or strace first");
	}
	/* exiting, but not yet dead: the next pass will see it dead */
	struct procfs_stat stat;
	enum { PF_EXITING_FLAG = 0x4 };
	r = procfs_stat(&c->freezer->proc, p->pid, tid, &stat);
	if (r == -ESRCH || (r == 0 && stat.flags & PF_EXITING_FLAG)) {
		c->new = true;
		return 0;
	}
	collect_refuse(c, p->pid, -error, "cannot be traced", e);
	return err_remedy(e, "the sandbox must run as the same user");
}

static int seize_thread(struct collect *c, struct frozen_proc *p, pid_t tid,
			struct err *e)
{
	if (c->frozen->n_threads >= c->freezer->limits.tasks_max)
		return err_set(e, E2BIG, "there are more than %zu threads",
			       c->freezer->limits.tasks_max);
	bool ours = freezer_take(c->freezer, tid);
	int r = ours ? 0 : sys_ptrace_seize(tid,
					       SYS_PTRACE_O_TRACESYSGOOD);
	if (r == -ESRCH)
		return 0;
	if (r)
		return explain_seize(c, p, tid, r, e);
	struct frozen_thread *t = vec_add(&p->threads);
	if (!t) {
		freezer_leave(c->freezer, tid, 0);
		return err_set(e, ENOMEM, "no memory for a thread");
	}
	t->tid = tid;
	c->frozen->n_threads++;
	c->new = true;
	r = sys_ptrace_interrupt(tid);
	/* ESRCH: it has ended; waiting for it will tell */
	return r && r != -ESRCH ? err_set(e, -r, "interrupt thread %d", tid) :
				  0;
}

/* A leader that has exited while other threads live on cannot be seized. */
static int note_dead_leader(struct collect *c, struct frozen_proc *p,
			    struct err *e)
{
	struct frozen_thread *t = find_thread(p, p->pid);
	if (!t) {
		t = vec_add(&p->threads);
		if (!t)
			return err_set(e, ENOMEM, "no memory for a thread");
		c->frozen->n_threads++;
	}
	t->tid = p->pid;
	t->stop = FREEZE_DEAD;
	return 0;
}

/* The process is dead as a whole now: its leader is no thread any more. */
static void drop_dead_leader(struct collect *c, struct frozen_proc *p)
{
	struct frozen_thread *t = find_thread(p, p->pid);
	if (!t || t->stop != FREEZE_DEAD)
		return;
	/* seized before it died: only then is there something to reap */
	freezer_leave(c->freezer, t->tid, 0);
	drop_thread(c->frozen, p, (size_t)(t - frozen_thread(p, 0)));
	freezer_settle(c->freezer);
}

/*
 * A process asleep in vfork or on a device is not seized: it could not be let
 * go before it wakes.
 */
static bool note_busy(struct collect *c, const struct frozen_proc *p)
{
	if (p->stat.state != 'D' || p->threads.n)
		return false;
	c->busy_pid = p->pid;
	c->busy_tid = p->pid;
	return true;
}

static int scan_proc(struct collect *c, size_t i, struct err *e)
{
	struct freezer *z = c->freezer;
	struct frozen_proc *p = frozen_proc(c->frozen, i);
	int r = procfs_stat(&z->proc, p->pid, 0, &p->stat);
	if (r == -ESRCH) {
		p->pass = 0;	/* gone: dropped at the end of the pass */
		drop_dead_leader(c, p);
		return 0;
	}
	if (r < 0)
		return err_set(e, -r, "read the state of process %d", p->pid);
	bool dead = p->stat.state == 'Z' || p->stat.state == 'X';
	p->zombie = dead && p->stat.num_threads <= 1;
	p->exit_code = p->stat.exit_code;
	if (p->zombie) {
		drop_dead_leader(c, p);
		return 0;
	}
	z->tids.n = 0;
	r = procfs_tasks(&z->proc, p->pid, &z->tids);
	if (r == -ESRCH) {
		p->pass = 0;
		return 0;
	}
	if (r < 0)
		return err_set(e, -r, "list the threads of %d", p->pid);
	bool busy = note_busy(c, p);
	if (dead) {
		r = note_dead_leader(c, p, e);
		if (r)
			return r;
	}
	for (size_t k = 0; !busy && k < z->tids.n; k++) {
		pid_t tid = *(pid_t *)vec_at(&z->tids, k);
		if (find_thread(p, tid))
			continue;
		r = seize_thread(c, p, tid, e);
		if (r)
			return r;
	}
	return see_children(c, p->pid, (int)i, e);
}

static void free_proc(struct frozen *f, struct frozen_proc *p)
{
	f->n_threads -= p->threads.n;
	vec_deinit(&p->threads);
	cleanup_fd(&p->pidfd);
}

/* Forget what ended; parents of the others are known again next pass. */
static void drop_gone(struct collect *c)
{
	struct frozen *f = c->frozen;
	for (size_t i = f->procs.n; i--;) {
		struct frozen_proc *p = frozen_proc(f, i);
		if (p->pass == f->passes)
			continue;
		c->new = true;
		/* it changed its parent just then: the next pass will see it */
		if (p->threads.n)
			continue;
		free_proc(f, p);
		vec_remove(&f->procs, i);
	}
}

static void note_stop(struct frozen_thread *t, const struct sys_stop *stop)
{
	t->stopped = true;
	t->stop = FREEZE_TRAP;
	if (stop->kind == SYS_STOP_GROUP) {
		t->stop = FREEZE_GROUP;
		t->group_signal = stop->sig;
	} else if (stop->kind == SYS_STOP_SIGNAL) {
		t->stop = FREEZE_SIGNAL;
		t->kept = (siginfo_t){ .si_signo = stop->sig };
	}
}

static char thread_state(struct collect *c, pid_t pid, pid_t tid)
{
	struct procfs_stat st;
	return procfs_stat(&c->freezer->proc, pid, tid, &st) ? 'X' : st.state;
}

/*
 * Wait until thread k of p has stopped. 1: it has; 0: it is gone; -EAGAIN: it
 * sleeps uninterruptibly.
 */
static int wait_thread(struct collect *c, struct frozen_proc *p, size_t k,
		       struct err *e)
{
	struct frozen_thread *t = frozen_thread(p, k);
	uint64_t start_ns = clock_now_ns();
	uint64_t slice_ns = LOOK_NS;
	for (;;) {
		struct sys_stop stop;
		int r = sys_wait_stop(&c->frozen->waiter, t->tid,
				      clock_now_ns() + slice_ns, &stop);
		if (r == -ECHILD || (r == 0 && stop.kind == SYS_STOP_EXITED)) {
			c->new = true;
			return 0;
		}
		if (r == 0) {
			note_stop(t, &stop);
			return 1;
		}
		if (r != -ETIMEDOUT)
			return err_set(e, -r, "wait for thread %d", t->tid);
		char state = thread_state(c, p->pid, t->tid);
		if (state == 'D') {
			c->busy_pid = p->pid;
			c->busy_tid = t->tid;
			return -EAGAIN;
		}
		if (state == 'Z' && t->tid == p->pid) {
			t->stop = FREEZE_DEAD;
			return 1;
		}
		if (clock_now_ns() - start_ns > STOP_NS)
			return collect_refuse(c, p->pid, EBUSY,
					      "does not stop", e);
		slice_ns *= 2;
	}
}

/* Wait for all that were interrupted. -EAGAIN is kept for the end. */
static int wait_all(struct collect *c, struct err *e)
{
	int result = 0;
	for (size_t i = 0; i < c->frozen->procs.n; i++) {
		struct frozen_proc *p = frozen_proc(c->frozen, i);
		for (size_t k = 0; k < p->threads.n;) {
			struct frozen_thread *t = frozen_thread(p, k);
			if (t->stopped || t->stop == FREEZE_DEAD) {
				k++;
				continue;
			}
			int r = wait_thread(c, p, k, e);
			if (r == 0) {
				drop_thread(c->frozen, p, k);
				continue;
			}
			if (r < 0 && r != -EAGAIN)
				return r;
			if (r < 0)
				result = r;
			k++;
		}
	}
	return result;
}

/* Is the child of p stopped by us and does it use the same memory? */
static bool is_vfork_child(const struct frozen *f, const struct frozen_proc *p,
			   const struct frozen_proc *child)
{
	if (child->zombie || child->parent < 0 || !child->threads.n ||
	    frozen_proc(f, (size_t)child->parent) != p)
		return false;
	const struct frozen_thread *t = frozen_thread(child, 0);
	return t->stopped && t->stop != FREEZE_GROUP &&
	       sys_kcmp(p->pid, child->pid, SYS_KCMP_VM, 0, 0) == 0;
}

/* Let the vfork children of p run; returns how many. */
static int run_vfork_children(struct collect *c, const struct frozen_proc *p)
{
	int n = 0;
	for (size_t i = 0; i < c->frozen->procs.n; i++) {
		struct frozen_proc *child = frozen_proc(c->frozen, i);
		if (!is_vfork_child(c->frozen, p, child))
			continue;
		struct frozen_thread *t = frozen_thread(child, 0);
		int sig = t->stop == FREEZE_SIGNAL ? t->kept.si_signo : 0;
		if (sys_ptrace_cont(t->tid, sig) == 0) {
			t->stopped = false;
			n++;
		}
	}
	return n;
}

/* Wait until the busy thread is awake. 0, or -ETIMEDOUT. */
static int wait_awake(struct collect *c, struct frozen_proc *p,
		      struct frozen_thread *t)
{
	uint64_t deadline_ns = clock_now_ns() + c->busy_ns;
	if (t) {
		struct sys_stop stop;
		int r = sys_wait_stop(&c->frozen->waiter, t->tid, deadline_ns,
				      &stop);
		if (r == 0 && stop.kind != SYS_STOP_EXITED)
			note_stop(t, &stop);
		else if (r == 0 || r == -ECHILD)
			drop_thread(c->frozen, p,
				    (size_t)(t - frozen_thread(p, 0)));
		return r == -ETIMEDOUT ? r : 0;
	}
	while (thread_state(c, c->busy_pid, c->busy_tid) == 'D') {
		if (clock_now_ns() > deadline_ns)
			return -ETIMEDOUT;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
	return 0;
}

/* Get the busy thread out of its sleep, if its child or time can. */
static int resolve_busy(struct collect *c, struct err *e)
{
	int i = find_proc(c->frozen, c->busy_pid);
	if (i < 0)
		return 0;
	struct frozen_proc *p = frozen_proc(c->frozen, (size_t)i);
	struct frozen_thread *t = find_thread(p, c->busy_tid);
	run_vfork_children(c, p);
	int r = wait_awake(c, p, t);
	/* the children that ran on: stop them again */
	for (size_t k = 0; k < c->frozen->procs.n; k++) {
		struct frozen_proc *child = frozen_proc(c->frozen, k);
		vec_each(struct frozen_thread, thread, &child->threads)
			if (!thread->stopped && thread != t &&
			    thread->stop != FREEZE_DEAD &&
			    sys_ptrace_interrupt(thread->tid) == -EPERM)
				return err_set(e, EPERM, "interrupt %d",
					       thread->tid);
	}
	c->new = true;
	return r == -ETIMEDOUT ? -EAGAIN : 0;
}

static int one_pass(struct collect *c, struct err *e)
{
	struct frozen *f = c->frozen;
	f->passes++;
	c->new = false;
	c->busy_pid = 0;
	c->freezer->tids.n = 0;
	int r = procfs_tasks(&c->freezer->proc, f->pid1, &c->freezer->tids);
	if (r < 0)
		return err_set(e, -r, "PID 1 of the sandbox (%d) is gone",
			       f->pid1);
	r = see_children(c, f->pid1, -1, e);
	/* the list grows at its end while it is walked */
	for (size_t i = 0; r == 0 && i < f->procs.n; i++)
		if (frozen_proc(f, i)->pass == f->passes)
			r = scan_proc(c, i, e);
	if (r)
		return r;
	r = wait_all(c, e);
	if (r && r != -EAGAIN)
		return r;
	drop_gone(c);
	return c->busy_pid ? resolve_busy(c, e) : 0;
}

int collect_tree(struct collect *c, struct err *e)
{
	do {
		int r = one_pass(c, e);
		if (r)
			return r;
		if (c->frozen->passes > PASSES_MAX)
			return err_set(e, EBUSY,
				       "the process tree does not come to rest");
	} while (c->new);
	return 0;
}
