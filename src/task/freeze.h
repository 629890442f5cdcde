/*
 * freeze.h - stop everything in a PID namespace, except its PID 1.
 *
 * A struct frozen exists only between freeze and thaw; whatever touches a
 * stopped process takes one. It keeps what each stop would otherwise lose, so
 * that a thaw leaves no trace:
 *
 *  - a signal the thread was about to receive is given back with its siginfo;
 *  - a thread group stopped by SIGSTOP stays stopped;
 *  - epoll_wait, sigtimedwait and the like, which the kernel ends with EINTR
 *    although no handler ran, are set to start again (interrupt.c);
 *  - a thread inside an rseq critical section goes on at its abort handler,
 *    as after any preemption.
 *
 * Registers as they must be saved, and put back after code was run in the
 * thread, are in frozen_thread.regs.
 *
 * A thread that sleeps uninterruptibly cannot be stopped, and one that was
 * caught by ptrace cannot be let go before it stops. Those few stay with the
 * freezer, a long-lived object of the keeper: it must call freezer_settle()
 * when SIGCHLD says that something stopped.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"
#include "sys/procfs.h"
#include "sys/ptrace.h"

enum freeze_stop {
	FREEZE_TRAP,		/* stopped by us */
	FREEZE_SIGNAL,		/* ... while about to receive kept.si_signo */
	FREEZE_GROUP,		/* was stopped by group_signal before */
	FREEZE_DEAD,		/* leader that has exited, others live on */
};

struct frozen_thread {
	pid_t tid;		/* in our PID namespace */
	pid_t ns_tid;		/* in the sandbox's */
	enum freeze_stop stop;
	siginfo_t kept;		/* FREEZE_SIGNAL: the signal, undelivered */
	int group_signal;	/* FREEZE_GROUP: SIGSTOP, SIGTSTP... */
	struct user_regs_struct regs;
	bool stopped;		/* always, but for FREEZE_DEAD */
	bool settled;		/* regs are valid, see above */
	bool restarts;		/* regs were changed to start a call again */
	bool at_signal;		/* remote code ran: it now stands at SIGTRAP */
};

struct frozen_proc {
	pid_t pid;		/* in our PID namespace */
	pid_t ns_pid;		/* in the sandbox's */
	int parent;		/* index in procs; -1: PID 1 */
	bool zombie;		/* no threads; exit_code is its wait status */
	bool shares_mm;		/* another process uses the same memory */
	bool shares_files;	/* .. descriptors: CLONE_FILES */
	bool shares_fs;		/* .. root, directory, umask: CLONE_FS */
	int exit_code;
	int pidfd;
	unsigned int pass;	/* freeze only: last pass that saw it */
	bool settled;		/* ... all threads stopped, stat is final */
	bool has_children;	/* ... when they were last listed */
	struct procfs_stat stat;	/* as it was read while stopped */
	struct vec threads;	/* struct frozen_thread, leader first, then
				 * ascending by tid */
};

struct freezer;

struct frozen {
	struct vec procs;	/* struct frozen_proc, parents before children,
				 * siblings ascending by ns_pid */
	pid_t pid1;		/* of the namespace, in ours; it runs on */
	size_t n_threads;
	unsigned int passes;	/* over the tree, until nothing was new */
	unsigned int retries;	/* times that all were let go */
	unsigned int n_remotes;	/* open ones; 0 when it is thawed */
	struct freezer *freezer;
	struct sys_waiter waiter;
};

struct freeze_limits {
	size_t tasks_max;		/* more threads than this: refuse */
	unsigned int retries_max;	/* let all go and try again, times */
};

/* One a sandbox. NULL: no memory, or /proc cannot be opened. */
struct freezer *freezer_new(void);
/* Threads that still wait to be let go are let go by our exit. */
void freezer_free(struct freezer *z);
void freezer_set_limits(struct freezer *z, struct freeze_limits limits);

/*
 * Let go what a failed freeze or a thaw could not. Call it when SIGCHLD
 * arrives and nothing is frozen. Returns how many are left.
 */
size_t freezer_settle(struct freezer *z);

/*
 * The /proc that freeze uses, for others who look at the same tree. Valid as
 * long as the freezer.
 */
struct procfs *freezer_procfs(struct freezer *z);

/*
 * Stop everything below pid1 (a PID of ours; single-threaded). 0 with *out set, or -errno with
 * everything running again:
 *  EBUSY    something did not stop in time (vfork, uninterruptible sleep)
 *  EPERM    traced by another process, or not ours to trace
 *  E2BIG    more tasks than the limit
 *  ESRCH    pid1 is gone
 */
must_check int freeze_tree(struct freezer *z, pid_t pid1, struct frozen **out,
			   struct err *e);

/*
 * Let all go on exactly as they were and free f. Takes NULL. Threads that were
 * killed meanwhile are reaped so that their parents can be told.
 */
void thaw(struct frozen *f);

static inline void cleanup_frozen(struct frozen **f)
{
	thaw(*f);
	*f = NULL;
}
#define scoped_frozen scoped(cleanup_frozen)

static inline struct frozen_proc *frozen_proc(const struct frozen *f, size_t i)
{
	return vec_at(&f->procs, i);
}

static inline struct frozen_thread *frozen_thread(const struct frozen_proc *p,
						  size_t i)
{
	return vec_at(&p->threads, i);
}

/* Index of the process with that number in the sandbox, or -1. */
int frozen_find(const struct frozen *f, pid_t ns_pid);
