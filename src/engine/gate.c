#include "engine/gate.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "parts/stops.h"
#include "sys/procfs.h"

enum {
	LOOK_NS = 20000,	/* what a wake-up takes, as long as there is a CPU */
	LOOK_MAX_NS = 2000000,
};

#define PATIENCE_NS 20000000000ull

/*
 * The state says T before the parent is told; a task that is off its CPU with
 * that state has told it. See do_signal_stop() in the kernel's signal.c.
 */
static bool thread_rests(struct procfs *procfs, pid_t pid, pid_t tid)
{
	struct procfs_stat stat;
	int r = procfs_stat(procfs, pid, tid, &stat);
	if (r == -ESRCH || (r == 0 && (stat.state == 'Z' || stat.state == 'X')))
		return true;
	if (r || stat.state != 'T')
		return false;
	struct procfs_syscall call;
	r = procfs_syscall(procfs, pid, tid, &call);
	return r == 0 ? !call.running : true;
}

static bool process_rests(struct procfs *procfs, pid_t pid)
{
	struct vec tids = VEC_INIT(pid_t);
	int r = procfs_tasks(procfs, pid, &tids);
	bool rests = r >= 0 || r == -ESRCH;	/* it was killed */
	for (size_t i = 0; rests && i < tids.n; i++)
		rests = thread_rests(procfs, pid, *(pid_t *)vec_at(&tids, i));
	vec_deinit(&tids);
	return rests;
}

static int await_process(struct incarnation *in, const struct image_proc *p, struct err *e)
{
	struct procfs *procfs = freezer_procfs(in->engine->freezer);
	const struct tracked *found = NULL;
	vec_each(struct tracked, t, &in->tracker.procs)
		if (t->key == p->key)
			found = t;
	if (!found)
		return err_set(e, ESRCH, "restored process %d is not known", p->pid);
	uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
	long wait_ns = LOOK_NS;
	while (!process_rests(procfs, found->pid)) {
		if (clock_now_ns() > deadline_ns)
			return err_set(e, ETIMEDOUT, "restored process %d (%s) does not stop",
				       p->pid, p->comm);
		nanosleep(&(struct timespec){ .tv_nsec = wait_ns }, NULL);
		wait_ns = wait_ns * 2 > LOOK_MAX_NS ? LOOK_MAX_NS : wait_ns * 2;
	}
	return 0;
}

static int set(struct incarnation *in, uint32_t level, struct err *e)
{
	__atomic_store_n(in->gate, level, __ATOMIC_SEQ_CST);
	if (syscall(SYS_futex, in->gate, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0) < 0)
		return err_set(e, errno, "wake the gate: %s", strerror(errno));
	return 0;
}

int gate_open(struct incarnation *in, struct err *e)
{
	const struct vec *procs = &in->from->image.procs;
	uint32_t last = 0;
	vec_each(struct image_proc, p, procs)
		last = p->stop_level > last ? p->stop_level : last;
	int r = 0;
	for (uint32_t level = 1; r == 0 && level <= last; level++) {
		r = set(in, level, e);
		vec_each(struct image_proc, p, procs)
			if (r == 0 && p->stop_level == level)
				r = await_process(in, p, e);
	}
	return r ? r : set(in, PUP_GATE_OPEN, e);
}
