/*
 * freeze.c - freeze and thaw: attempts, what each stopped task is asked, and
 * the way back.
 */
#include "task/freeze.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "sys/probe.h"
#include "sys/proc.h"
#include "task/internal.h"

enum {
	TASKS_MAX = 8192,	/* more is a fork bomb */
	RETRIES_MAX = 8,	/* 3 + 6 + .. + 768 ms with a stuck task */
	BUSY_NS = 3000000,	/* first attempt; doubled by each retry */
	PAUSE_NS = 500000,	/* all run, between attempts; doubled too */
	LET_GO_NS = 20000000,	/* wait so long for what was interrupted */
};

struct freezer *freezer_new(void)
{
	struct freezer *z = calloc(1, sizeof(*z));
	if (!z)
		return NULL;
	z->limits = (struct freeze_limits){ TASKS_MAX, RETRIES_MAX };
	z->leftovers = VEC_INIT(struct leftover);
	z->restarted = VEC_INIT(struct restarted);
	z->tids = VEC_INIT(pid_t);
	z->children = VEC_INIT(pid_t);
	if (procfs_open(&z->proc, NULL) < 0) {
		free(z);
		return NULL;
	}
	return z;
}

void freezer_free(struct freezer *z)
{
	if (!z)
		return;
	procfs_close(&z->proc);
	vec_deinit(&z->leftovers);
	vec_deinit(&z->restarted);
	vec_deinit(&z->tids);
	vec_deinit(&z->children);
	free(z);
}

void freezer_set_limits(struct freezer *z, struct freeze_limits limits)
{
	z->limits = limits;
}

struct procfs *freezer_procfs(struct freezer *z)
{
	return &z->proc;
}

void freezer_leave(struct freezer *z, pid_t tid, int sig)
{
	struct leftover *slot = vec_add(&z->leftovers);
	if (slot)
		*slot = (struct leftover){ tid, sig };
	/* no memory: it stays traced until we end, and stops once. It may not
	 * have been interrupted yet; ESRCH: it has ended */
	int r = sys_ptrace_interrupt(tid);
	(void)r;
}

bool freezer_take(struct freezer *z, pid_t tid)
{
	for (size_t i = 0; i < z->leftovers.n; i++) {
		const struct leftover *left = vec_at(&z->leftovers, i);
		if (left->tid != tid)
			continue;
		vec_remove(&z->leftovers, i);
		return true;
	}
	return false;
}

/* Let go a leftover that has stopped. True: we are done with it. */
static bool settle_one(struct freezer *z, struct leftover *left)
{
	struct sys_stop stop;
	int r = sys_wait_stop(NULL, left->tid, 0, &stop);
	if (r == -ECHILD || (r == 0 && stop.kind == SYS_STOP_EXITED))
		return true;
	if (r == 0 && stop.kind == SYS_STOP_SIGNAL)
		left->sig = stop.sig;
	/* a call that we interrupted must not end with EINTR here either */
	struct frozen_thread t = { .tid = left->tid };
	if (r == 0)
		r = interrupt_settle(z, left->tid, &t);
	/* ESRCH: it runs, or was killed this instant: its stop or its end is
	 * still to be waited for */
	return sys_ptrace_detach(left->tid, left->sig) == 0;
}

size_t freezer_settle(struct freezer *z)
{
	for (size_t i = z->leftovers.n; i--;)
		if (settle_one(z, vec_at(&z->leftovers, i)))
			vec_remove(&z->leftovers, i);
	return z->leftovers.n;
}

/* Let one stopped thread go on as it was; -ESRCH: it was killed. */
static int release_thread(struct freezer *z, pid_t pid, struct frozen_thread *t)
{
	/* an attempt that failed had not come to it yet; at worst it sees
	 * EINTR, which is no reason to keep it stopped */
	int settled = interrupt_settle(z, pid, t);
	(void)settled;
	int sig = t->stop == FREEZE_SIGNAL ? t->kept.si_signo : 0;
	if (sig && t->at_signal) {
		/* it stands at our SIGTRAP: exchange that for what it had */
		int r = sys_ptrace_set_siginfo(t->tid, &t->kept);
		if (r)
			return r;
	}
	return sys_ptrace_detach(t->tid, sig);
}

/* One that was interrupted will stop soon, unless it sleeps in the kernel. */
static void await_stop(struct frozen *f, struct frozen_thread *t,
		       uint64_t deadline_ns)
{
	struct sys_stop stop;
	int r = sys_ptrace_interrupt(t->tid);
	if (r == 0)
		r = sys_wait_stop(&f->waiter, t->tid, deadline_ns, &stop);
	if (r || stop.kind == SYS_STOP_EXITED)
		return;
	t->stopped = true;
	t->stop = stop.kind == SYS_STOP_SIGNAL ? FREEZE_SIGNAL : FREEZE_TRAP;
	t->kept = (siginfo_t){ .si_signo = stop.sig };
}

/* Let everything go and forget it. */
static void release_all(struct frozen *f)
{
	uint64_t deadline_ns = clock_now_ns() + LET_GO_NS;
	/* children first: a parent that runs may look at them */
	for (size_t i = f->procs.n; i--;) {
		struct frozen_proc *p = frozen_proc(f, i);
		vec_each(struct frozen_thread, t, &p->threads) {
			if (!t->stopped && t->stop != FREEZE_DEAD)
				await_stop(f, t, deadline_ns);
			if (t->stopped && release_thread(f->freezer, p->pid, t) == 0)
				continue;
			int sig = t->stopped && t->stop == FREEZE_SIGNAL ?
					  t->kept.si_signo : 0;
			freezer_leave(f->freezer, t->tid, sig);
		}
		vec_deinit(&p->threads);
		cleanup_fd(&p->pidfd);
	}
	f->procs.n = 0;
	f->n_threads = 0;
	freezer_settle(f->freezer);
}

void thaw(struct frozen *f)
{
	if (!f)
		return;
	assert(f->n_remotes == 0);
	restart_note_thaw(f->freezer, f);
	release_all(f);
	vec_deinit(&f->procs);
	sys_waiter_end(&f->waiter);
	free(f);
}

/* Ask a stopped thread what the struct promises. -ESRCH: it was killed. */
static int describe_thread(struct collect *c, struct frozen_proc *p,
			   struct frozen_thread *t, struct err *e)
{
	int r = t->tid == p->pid ? p->ns_pid :
				   collect_ns_pid(c, p->pid, t->tid);
	if (r < 0)
		return err_set(e, -r, "translate thread id %d", t->tid);
	t->ns_tid = r;
	if (t->stop == FREEZE_DEAD)
		return 0;
	r = t->stop == FREEZE_SIGNAL ?
		    sys_ptrace_get_siginfo(t->tid, &t->kept) :
		    0;
	if (r < 0)
		return err_set(e, -r, "read the signal of thread %d", t->tid);
	r = interrupt_settle(c->freezer, p->pid, t);
	return r < 0 ? err_set(e, -r, "read the registers of thread %d", t->tid) :
		       0;
}

static int by_tid(const void *a, const void *b)
{
	const struct frozen_thread *x = a, *y = b;
	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

/* Leader first, then by number. */
static void sort_threads(struct frozen_proc *p)
{
	if (p->threads.n < 2)
		return;
	qsort(p->threads.data, p->threads.n, sizeof(struct frozen_thread),
	      by_tid);
	for (size_t k = 0; k < p->threads.n; k++) {
		struct frozen_thread leader = *frozen_thread(p, k);
		if (leader.tid != p->pid)
			continue;
		for (; k > 0; k--)
			*frozen_thread(p, k) = *frozen_thread(p, k - 1);
		*frozen_thread(p, 0) = leader;
		return;
	}
}

static int describe_proc(struct collect *c, struct frozen_proc *p,
			 struct err *e)
{
	int r = collect_ns_pid(c, p->pid, p->pid);
	if (r < 0)
		return err_set(e, -r, "translate process id %d", p->pid);
	p->ns_pid = r;
	p->pidfd = sys_pidfd_open(p->pid);
	if (p->pidfd < 0)
		return err_set(e, -p->pidfd, "open process %d", p->pid);
	vec_each(struct frozen_thread, t, &p->threads) {
		r = describe_thread(c, p, t, e);
		if (r)
			return r;
	}
	sort_threads(p);
	return 0;
}

static bool *shares(struct frozen_proc *p, enum sys_kcmp what)
{
	return what == SYS_KCMP_VM    ? &p->shares_mm :
	       what == SYS_KCMP_FILES ? &p->shares_files :
					&p->shares_fs;
}

/*
 * Find processes that share an address space, descriptors or a directory:
 * kcmp orders them, so sorting brings them together.
 */
static int mark_sharers(struct frozen *f, enum sys_kcmp what, struct err *e)
{
	struct vec order = VEC_INIT(int);
	int result = 0;
	for (size_t i = 0; i < f->procs.n && result == 0; i++) {
		struct frozen_proc *p = frozen_proc(f, i);
		if (p->zombie)
			continue;
		size_t low = 0, high = order.n;
		while (low < high) {
			size_t mid = low + (high - low) / 2;
			struct frozen_proc *other = frozen_proc(
				f, (size_t)*(int *)vec_at(&order, mid));
			int r = sys_kcmp(p->pid, other->pid, what, 0, 0);
			if (r < 0) {
				result = err_set(e, -r,
						 "compare processes %d and %d",
						 p->ns_pid, other->ns_pid);
				break;
			}
			if (r == 0)
				*shares(p, what) = *shares(other, what) = true;
			if (r == 1)
				high = mid;
			else
				low = mid + 1;
		}
		if (result)
			break;
		int *slot = vec_insert(&order, low);
		if (!slot) {
			result = err_set(e, ENOMEM, "no memory for a list");
			break;
		}
		*slot = (int)i;
	}
	vec_deinit(&order);
	return result;
}

/* Append the children of old index `parent` to the new order, by ns_pid. */
static int append_children(const struct frozen *f, struct vec *to, int parent,
			   int new_parent)
{
	size_t first = to->n;
	for (size_t i = 0; i < f->procs.n; i++) {
		struct frozen_proc *p = frozen_proc(f, i);
		if (p->parent != parent)
			continue;
		struct frozen_proc *slot = vec_add(to);
		if (!slot)
			return -ENOMEM;
		*slot = *p;
		slot->pass = (unsigned int)i;	/* its old index */
		size_t k = to->n - 1;
		for (; k > first; k--) {
			struct frozen_proc *before = vec_at(to, k - 1);
			if (before->ns_pid < slot->ns_pid)
				break;
			struct frozen_proc moved = *before;
			*before = *(struct frozen_proc *)vec_at(to, k);
			*(struct frozen_proc *)vec_at(to, k) = moved;
			slot = before;
		}
	}
	for (size_t k = first; k < to->n; k++)
		((struct frozen_proc *)vec_at(to, k))->parent = new_parent;
	return 0;
}

/* Parents before children, siblings ascending. */
static int sort_procs(struct frozen *f, struct err *e)
{
	struct vec sorted = VEC_INIT(struct frozen_proc);
	int r = vec_reserve(&sorted, f->procs.n);
	if (r == 0)
		r = append_children(f, &sorted, -1, -1);
	for (size_t i = 0; r == 0 && i < sorted.n; i++) {
		struct frozen_proc *p = vec_at(&sorted, i);
		r = append_children(f, &sorted, (int)p->pass, (int)i);
	}
	if (r || sorted.n != f->procs.n) {
		vec_deinit(&sorted);
		return err_set(e, r ? -r : EAGAIN,
			       "the process tree changed while it was stopped");
	}
	vec_deinit(&f->procs);
	f->procs = sorted;
	return 0;
}

static int describe_all(struct collect *c, struct err *e)
{
	vec_each(struct frozen_proc, p, &c->frozen->procs) {
		int r = describe_proc(c, p, e);
		if (r)
			return r;
	}
	int r = sort_procs(c->frozen, e);
	if (r == 0)
		r = mark_sharers(c->frozen, SYS_KCMP_VM, e);
	if (r == 0)
		r = mark_sharers(c->frozen, SYS_KCMP_FILES, e);
	return r ? r : mark_sharers(c->frozen, SYS_KCMP_FS, e);
}

/* The namespace of PID 1. Its depth matters where it must be read as text. */
static int open_namespace(struct collect *c, struct err *e)
{
	struct freezer *z = c->freezer;
	pid_t pid1 = c->frozen->pid1;
	c->ns_fd = procfs_openat(&z->proc, pid1, 0, "ns/pid", O_RDONLY);
	int r = c->ns_fd;
	if (r >= 0 && sys_has(SYS_F_PIDNS_IOCTL)) {
		r = sys_pid_in_pidns(c->ns_fd, pid1);
	} else if (r >= 0) {
		struct procfs_status st;
		r = procfs_status(&z->proc, pid1, 0, &st);
		c->ns_level = st.n_ns - 1;
		r = r ? r : st.ns_pid[c->ns_level];
	}
	if (r < 0)
		return err_set(e, -r, "look at PID 1 of the sandbox (%d)",
			       pid1);
	return r == 1 ? 0 : err_set(e, EINVAL, "process %d is no PID 1", pid1);
}

static int refuse_busy(struct collect *c, struct err *e)
{
	bool vforks = c->busy_in_vfork;
	collect_refuse(c, c->busy_pid, EBUSY,
		       vforks ? "waits in vfork for a child that neither "
				"executes a program nor ends" :
				"sleeps uninterruptibly in the kernel",
		       e);
	return err_remedy(e, "%s",
			  vforks ? "try again when the child has started" :
				   "try again when its input or output is done");
}

/* One attempt after another. -errno: nothing is stopped any more. */
static int attempts(struct collect *c, struct err *e)
{
	struct frozen *f = c->frozen;
	for (;;) {
		freezer_settle(c->freezer);
		f->passes = 0;
		c->busy_ns = (uint64_t)BUSY_NS << f->retries;
		int r = collect_tree(c, e);
		bool refused = r == -EAGAIN && f->retries >=
			       c->freezer->limits.retries_max;
		if (r == 0)
			r = describe_all(c, e);
		if (r == 0)
			return 0;
		if (refused)
			r = refuse_busy(c, e);
		release_all(f);
		/* ESRCH: one was killed while it was being described */
		if (refused || (r != -EAGAIN && r != -ESRCH) ||
		    f->retries >= c->freezer->limits.retries_max)
			return r;
		long pause_ns = (long)PAUSE_NS << f->retries++;
		nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
	}
}

int freeze_tree(struct freezer *z, pid_t pid1, struct frozen **out,
		struct err *e)
{
	struct frozen *f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, ENOMEM, "no memory to freeze");
	f->procs = VEC_INIT(struct frozen_proc);
	f->pid1 = pid1;
	f->freezer = z;
	int r = sys_waiter_begin(&f->waiter);
	if (r < 0) {
		free(f);
		return err_set(e, -r, "block SIGCHLD");
	}
	struct collect c = { .freezer = z, .frozen = f, .ns_fd = -1 };
	r = open_namespace(&c, e);
	if (r == 0)
		r = attempts(&c, e);
	cleanup_fd(&c.ns_fd);
	if (r < 0) {
		thaw(f);
		return r;
	}
	*out = f;
	return 0;
}

int frozen_find(const struct frozen *f, pid_t ns_pid)
{
	for (size_t i = 0; i < f->procs.n; i++)
		if (frozen_proc(f, i)->ns_pid == ns_pid)
			return (int)i;
	return -1;
}
