/*
 * restart.c - calls with a timeout that are started again.
 *
 * They begin anew with the whole of their timeout (interrupt.c), for the
 * kernel does not tell how much was left. Frozen often enough such a call
 * would never end. So the freezer remembers when it first started a call
 * again, and once the timeout has passed since, ends it as the kernel would:
 * at most its own length late.
 *
 * Is it still the same call? Its registers must be the same, and since the
 * thaw the thread must have gone to sleep only twice: in the call that was
 * started again, and for us.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "sys/proc.h"
#include "task/internal.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

enum { SLEEPS_OF_RESTART = 2 };

/* Nanoseconds of a struct timespec in the guest; 0: none. */
static uint64_t timespec_ns(pid_t tid, uint64_t address)
{
	struct timespec ts;
	if (!address || sys_vm_read(tid, address, &ts, sizeof(ts)) ||
	    ts.tv_sec < 0 || ts.tv_sec > INT32_MAX)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Timeout of the call, 0: none that we know, and what it returns then. */
static uint64_t call_timeout_ns(const struct frozen_thread *t, int64_t *result)
{
	const struct user_regs_struct *regs = &t->regs;
	*result = 0;
	switch (regs->orig_rax) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return (int)regs->r10 > 0 ?
			       (uint64_t)(int)regs->r10 * 1000000u :
			       0;
	case SYS_epoll_pwait2:
		return timespec_ns(t->tid, regs->r10);
	case SYS_rt_sigtimedwait:
		*result = -EAGAIN;
		return timespec_ns(t->tid, regs->rdx);
	case SYS_semtimedop:
		*result = -EAGAIN;
		return timespec_ns(t->tid, regs->r10);
	default:
		return 0;
	}
}

static bool same_call(const struct restarted *m, const struct frozen_thread *t,
		      uint64_t switches)
{
	return !memcmp(&m->regs, &t->regs, sizeof(t->regs)) &&
	       switches - m->switches <= SLEEPS_OF_RESTART;
}

static struct restarted *find(struct freezer *z, pid_t tid)
{
	vec_each(struct restarted, m, &z->restarted)
		if (m->tid == tid)
			return m;
	return NULL;
}

int restart_or_end(struct freezer *z, pid_t pid, struct frozen_thread *t)
{
	int64_t result;
	uint64_t timeout_ns = call_timeout_ns(t, &result);
	if (!timeout_ns)
		return 0;
	struct procfs_status st;
	int r = procfs_status(&z->proc, pid, t->tid, &st);
	if (r < 0)
		return r;
	uint64_t now_ns = clock_now_ns();
	struct restarted *m = find(z, t->tid);
	if (m && same_call(m, t, st.voluntary_switches)) {
		m->seen = true;
		if (now_ns - m->since_ns < timeout_ns)
			return 0;
		t->regs.rax = (uint64_t)result;
		t->restarts = false;
		m->seen = false;
		return 0;
	}
	if (!m)
		m = vec_add(&z->restarted);
	if (!m)
		return -ENOMEM;
	*m = (struct restarted){ .tid = t->tid,
				 .since_ns = now_ns,
				 .regs = t->regs,
				 .seen = true };
	return 0;
}

void restart_note_thaw(struct freezer *z, const struct frozen *f)
{
	if (!z->restarted.n)
		return;
	for (size_t i = 0; i < f->procs.n; i++) {
		const struct frozen_proc *p = frozen_proc(f, i);
		vec_each(struct frozen_thread, t, &p->threads) {
			struct restarted *m =
				t->restarts ? find(z, t->tid) : NULL;
			struct procfs_status st;
			if (m && m->seen &&
			    procfs_status(&z->proc, p->pid, t->tid, &st) == 0)
				m->switches = st.voluntary_switches;
			else if (m)
				m->seen = false;
		}
	}
	for (size_t i = z->restarted.n; i--;) {
		struct restarted *m = vec_at(&z->restarted, i);
		if (!m->seen)
			vec_remove(&z->restarted, i);
		else
			m->seen = false;
	}
}
