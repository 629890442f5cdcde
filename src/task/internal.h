/* internal.h - what the files of task/ share. */
#pragma once

#include "base/err.h"
#include "base/vec.h"
#include "sys/procfs.h"
#include "task/freeze.h"

/* A thread that is traced by us and could not be let go yet. */
struct leftover {
	pid_t tid;
	int sig;		/* to give it when it is; 0: none */
};

/* A call with a timeout that was started again after a freeze. */
struct restarted {
	pid_t tid;
	bool seen;		/* in this freeze */
	uint64_t since_ns;	/* the first time */
	uint64_t switches;	/* voluntary ones of the thread at the thaw */
	struct user_regs_struct regs;
};

struct freezer {
	struct procfs proc;
	struct vec restarted;	/* struct restarted */
	struct freeze_limits limits;
	struct vec leftovers;	/* struct leftover */
	struct vec tids;	/* pid_t: scratch of collect.c */
	struct vec children;	/* pid_t: scratch of collect.c */
};

/* What one attempt to stop the tree knows. */
struct collect {
	struct freezer *freezer;
	struct frozen *frozen;
	int ns_fd;		/* /proc/<pid1>/ns/pid */
	int ns_level;		/* index of that namespace in NSpid */
	uint64_t busy_ns;	/* how long to wait for uninterruptible tasks */
	bool new;		/* this pass found or lost something */
	pid_t busy_pid;		/* what could not be stopped, 0: all could */
	pid_t busy_tid;
	bool busy_in_vfork;	/* .. in time, and what it slept in */
	uint64_t worked_ns;	/* waited for children of vfork at work, in all */
};

/*
 * Stop all below PID 1. -EAGAIN: something (busy_pid) sleeps uninterruptibly:
 * let all go and try again. Other errors set e.
 */
must_check int collect_tree(struct collect *c, struct err *e);

/* Number in the sandbox's namespace, or -errno. */
must_check int collect_ns_pid(struct collect *c, pid_t pid, pid_t tid);

/* Set code, cause "process N (comm) what", and whom it is about. */
int collect_refuse(struct collect *c, pid_t pid, int code, const char *what,
		   struct err *e);

/* Remember a thread that could not be released; freezer_settle() will. */
void freezer_leave(struct freezer *z, pid_t tid, int sig);

/* Was the thread left behind earlier? It no longer is, then. */
bool freezer_take(struct freezer *z, pid_t tid);

/*
 * Fill t->regs with the registers as they must be saved: a call that ended
 * with EINTR only because of our stop starts again, an rseq critical section
 * is left. Writes them to the thread where they differ.
 */
must_check int interrupt_settle(struct freezer *z, pid_t pid,
				struct frozen_thread *t);

/*
 * A call is about to be started again: where it was before, and its timeout
 * has passed since, let it end instead. Changes t->regs only.
 */
must_check int restart_or_end(struct freezer *z, pid_t pid,
			      struct frozen_thread *t);

/* Remember how often the threads of such calls had slept at the thaw. */
void restart_note_thaw(struct freezer *z, const struct frozen *f);
