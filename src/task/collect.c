/*
 * collect.c - one attempt to stop a process tree.
 *
 * A pass walks the tree from PID 1's children down, generation by generation:
 * seize and interrupt the new ones, wait until they stop, and only then ask
 * for their threads and children, which cannot change any more, with one
 * exception: the children of a process that ends go to PID 1 or to a
 * subreaper, and that has children already. So these lists are read again in
 * the next pass, until one finds nothing new.
 *
 * A parent in vfork() cannot be stopped before its child execs or exits. If
 * we hold the child, we let just it run on until the parent is awake, then
 * stop it again; all others stay stopped meanwhile. A child that sleeps may
 * wait for one of them: soon all are let go and it is tried again. One that
 * works, or waits for a CPU, is on its way.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "sys/probe.h"
#include "sys/proc.h"
#include "task/internal.h"

enum {
	PASSES_MAX = 200,	/* a tree at rest needs 2; PID 1 goes on */
	LOOK_NS = 300000,	/* wait before asking why it does not stop */
	ROUNDS_MAX = 16,	/* over the threads of one process */
	STOP_NS = 2000000000,	/* runnable, but starved of CPU that long */
	WORK_NS = 3000000,	/* how often it is asked whether it still works */
};

int collect_ns_pid(struct collect *c, pid_t pid, pid_t tid)
{
	if (sys_has(SYS_F_PIDNS_IOCTL))
		return sys_pid_in_pidns(c->ns_fd, tid);
	struct procfs_status st;
	int r = procfs_status(&c->freezer->proc, pid, tid, &st);
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
	if (parent >= 0)
		frozen_proc(c->frozen, (size_t)parent)->has_children =
			z->children.n > 0;
	vec_each(pid_t, child, &z->children) {
		int r = see_proc(c, *child, parent, e);
		if (r)
			return r;
	}
	return 0;
}

/* Its leader is dead: is all of it? Notes that. */
static bool note_death(struct collect *c, struct frozen_proc *p)
{
	int r = procfs_stat(&c->freezer->proc, p->pid, 0, &p->stat);
	if (r == -ESRCH) {
		p->pass = 0;	/* dropped at the end of the pass */
		return true;
	}
	if (r || (p->stat.state != 'Z' && p->stat.state != 'X'))
		return false;
	p->zombie = p->stat.num_threads <= 1;
	p->exit_code = p->stat.exit_code;
	return true;
}

/* Why may we not trace it? 0: it is just ending. */
static int explain_seize(struct collect *c, struct frozen_proc *p, pid_t tid,
			 int error, struct err *e)
{
	enum { EXITING = 0x4 };	/* PF_EXITING, linux/sched.h */
	if (tid == p->pid && note_death(c, p))
		return 0;
	struct procfs_stat stat;
	int r = procfs_stat(&c->freezer->proc, p->pid, tid, &stat);
	if (r == -ESRCH || (r == 0 && stat.flags & EXITING)) {
		c->new = true;	/* the next pass will see it dead */
		return 0;
	}
	struct procfs_status st;
	r = procfs_status(&c->freezer->proc, p->pid, tid, &st);
	if (r == 0 && st.tracer_pid) {
		collect_refuse(c, p->pid, EPERM,
			       "is being traced by another process", e);
		return err_remedy(e, "end the debugger or strace first");
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
	int r = ours ? 0 : sys_ptrace_seize(tid, SYS_PTRACE_O_TRACESYSGOOD);
	if (r == -ESRCH) {
		c->new = true;
		return 0;
	}
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

static void free_proc(struct frozen *f, struct frozen_proc *p)
{
	f->n_threads -= p->threads.n;
	vec_deinit(&p->threads);
	cleanup_fd(&p->pidfd);
}

/* Its children have another parent now: the next pass will see which. */
static void remove_proc(struct frozen *f, size_t i)
{
	free_proc(f, frozen_proc(f, i));
	vec_remove(&f->procs, i);
	vec_each(struct frozen_proc, p, &f->procs) {
		if (p->parent == (int)i)
			p->parent = -1;
		else if (p->parent > (int)i)
			p->parent--;
	}
}

/* Forget what ended. */
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
		remove_proc(f, i);
	}
}

static void note_stop(struct frozen_thread *t, const struct sys_stop *stop)
{
	t->stopped = true;
	t->settled = false;
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

/* Wait for the threads of a process. 0: all stopped; -EAGAIN: one is busy. */
static int wait_proc(struct collect *c, struct frozen_proc *p, struct err *e)
{
	int result = 0;
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
	return result;
}

/* List the threads in z->tids and seize those that are new. */
static int seize_threads(struct collect *c, struct frozen_proc *p,
			 struct err *e)
{
	struct freezer *z = c->freezer;
	z->tids.n = 0;
	int r = procfs_tasks(&z->proc, p->pid, &z->tids);
	if (r == -ESRCH) {
		c->new = true;
		return 0;
	}
	if (r < 0)
		return err_set(e, -r, "list the threads of %d", p->pid);
	if (p->stat.state == 'Z') {
		r = note_dead_leader(c, p, e);
		if (r)
			return r;
	}
	for (size_t k = 0; k < z->tids.n; k++) {
		pid_t tid = *(pid_t *)vec_at(&z->tids, k);
		r = find_thread(p, tid) ? 0 : seize_thread(c, p, tid, e);
		if (r)
			return r;
	}
	return 0;
}

/*
 * Stop all threads of a process and read its state. 0: done, or it is gone;
 * -EAGAIN: not yet.
 */
static int stop_proc(struct collect *c, struct frozen_proc *p, struct err *e)
{
	for (int i = 0; i < ROUNDS_MAX; i++) {
		int r = wait_proc(c, p, e);
		if (r)
			return r;
		r = procfs_stat(&c->freezer->proc, p->pid, 0, &p->stat);
		if (r == -ESRCH) {
			p->pass = 0;
			drop_dead_leader(c, p);
			return 0;
		}
		if (r < 0)
			return err_set(e, -r, "read the state of process %d",
				       p->pid);
		bool dead = p->stat.state == 'Z' || p->stat.state == 'X';
		if (dead && p->stat.num_threads <= 1) {
			p->zombie = true;
			p->exit_code = p->stat.exit_code;
			drop_dead_leader(c, p);
			return 0;
		}
		if (p->threads.n == (size_t)p->stat.num_threads) {
			p->settled = true;
			return 0;
		}
		r = seize_threads(c, p, e);
		if (r)
			return r;
	}
	c->new = true;	/* some of its threads are ending */
	return 0;
}

static int scan_proc(struct collect *c, size_t i, struct err *e)
{
	struct freezer *z = c->freezer;
	struct frozen_proc *p = frozen_proc(c->frozen, i);
	bool known = p->settled;
	if (p->zombie || (known && !p->has_children))
		return 0;
	if (!known) {
		int r = stop_proc(c, p, e);
		if (r && r != -EAGAIN)
			return r;
		if (p->zombie || !p->pass)
			return 0;
	}
	z->tids.n = 0;
	vec_each(struct frozen_thread, t, &p->threads) {
		pid_t *tid = vec_add(&z->tids);
		if (!tid)
			return err_set(e, ENOMEM, "no memory for a list");
		*tid = t->tid;
	}
	return see_children(c, p->pid, (int)i, e);
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
		if (interrupt_settle(c->freezer, child->pid, t) == 0 &&
		    sys_ptrace_cont(t->tid, sig) == 0) {
			t->stopped = child->settled = false;
			n++;
		}
	}
	return n;
}

/* Is the busy thread awake but not stopped yet, or does a child of it work? */
static bool is_on_its_way(struct collect *c, const struct frozen_proc *p,
			  const struct frozen_thread *t)
{
	if (thread_state(c, p->pid, t->tid) == 'R')
		return true;
	vec_each(struct frozen_proc, child, &c->frozen->procs) {
		if (child->parent < 0 || !child->threads.n || child->zombie ||
		    frozen_proc(c->frozen, (size_t)child->parent) != p)
			continue;
		if (!frozen_thread(child, 0)->stopped &&
		    thread_state(c, child->pid, child->pid) == 'R')
			return true;
	}
	return false;
}

/* Wait until the busy thread is awake, and so stops. 0, or -ETIMEDOUT. */
static int wait_awake(struct collect *c, struct frozen_proc *p,
		      struct frozen_thread *t)
{
	struct sys_stop stop;
	uint64_t wait_ns = c->busy_ns;
	int r;
	for (;;) {
		r = sys_wait_stop(&c->frozen->waiter, t->tid,
				  clock_now_ns() + wait_ns, &stop);
		if (r != -ETIMEDOUT || c->worked_ns >= STOP_NS || !is_on_its_way(c, p, t))
			break;
		wait_ns = WORK_NS;
		c->worked_ns += wait_ns;
	}
	if (r == 0 && stop.kind != SYS_STOP_EXITED)
		note_stop(t, &stop);
	else if (r == 0 || r == -ECHILD)
		drop_thread(c->frozen, p, (size_t)(t - frozen_thread(p, 0)));
	return r == -ETIMEDOUT ? r : 0;
}

/* What it sleeps in, as long as it does: a refusal says so. */
static void note_call(struct collect *c)
{
	struct procfs_syscall call = { .nr = -1 };
	int r = procfs_syscall(&c->freezer->proc, c->busy_pid, c->busy_tid, &call);
	c->busy_in_vfork = r == 0 && (call.nr == SYS_vfork || call.nr == SYS_clone ||
				      call.nr == SYS_clone3);
}

/* Get the busy thread out of its sleep, if its child or time can. */
static int resolve_busy(struct collect *c, struct err *e)
{
	int i = find_proc(c->frozen, c->busy_pid);
	if (i < 0)
		return 0;
	struct frozen_proc *p = frozen_proc(c->frozen, (size_t)i);
	struct frozen_thread *t = find_thread(p, c->busy_tid);
	if (!t)
		return 0;
	run_vfork_children(c, p);
	int r = wait_awake(c, p, t);
	if (r == -ETIMEDOUT)
		note_call(c);
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
	pid_t *pid1 = vec_add(&c->freezer->tids);
	if (!pid1)
		return err_set(e, ENOMEM, "no memory for a list");
	*pid1 = f->pid1;	/* it has one thread */
	int r = see_children(c, f->pid1, -1, e);
	/* each generation appends the next one behind itself */
	for (size_t first = 0, end; r == 0 && first < f->procs.n; first = end) {
		end = f->procs.n;
		for (size_t i = first; r == 0 && i < end; i++) {
			struct frozen_proc *p = frozen_proc(f, i);
			if (p->pass == f->passes && !p->zombie && !p->threads.n)
				r = seize_thread(c, p, p->pid, e);
		}
		for (size_t i = first; r == 0 && i < end; i++)
			if (frozen_proc(f, i)->pass == f->passes)
				r = scan_proc(c, i, e);
	}
	if (r)
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
