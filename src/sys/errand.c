#include "sys/errand.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/fault.h"

enum { WAIT_ALL = 0x40000000 /* __WALL: it ends without a signal */ };

/* pid: its number in a PID namespace that was entered; 0: any. 0 in the child. */
static int spawn(pid_t pid)
{
	int number = pid;
	struct clone_args args = { .flags = CLONE_FILES };
	args.set_tid = pid ? (uint64_t)(uintptr_t)&number : 0;
	args.set_tid_size = pid ? 1 : 0;
	long r = syscall(SYS_clone3, &args, sizeof(args));
	return r < 0 ? -errno : (int)r;
}

/* An exit code is a number of errno. */
static int await(pid_t child)
{
	int status;
	while (waitpid(child, &status, WAIT_ALL) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

static int enter(const struct sys_errand *w)
{
	if (w->netns_fd >= 0 && setns(w->netns_fd, CLONE_NEWNET))
		return -errno;
	if (w->root_fd >= 0 && (fchdir(w->root_fd) || chroot(".")))
		return -errno;
	umask(0);
	return 0;
}

/* By the calls themselves: libc would ask threads that are not there. */
static int become(const struct sys_errand *w)
{
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) ||
	    syscall(SYS_setresgid, w->gid, w->gid, w->gid) ||
	    syscall(SYS_setresuid, w->uid, w->uid, w->uid))
		return -errno;
	return 0;
}

/* A child of a child: what it is that enters another PID namespace. */
static int as_somebody(const struct sys_errand *w, int (*run)(void *ctx), void *ctx)
{
	if (setns(w->pidns_fd, CLONE_NEWPID))
		return -errno;
	int child = spawn(w->pid);
	if (child)
		return child < 0 ? child : await(child);
	int r = become(w);
	_exit(-(r ? r : run(ctx)));
}

int sys_errand(const struct sys_errand *w, int (*run)(void *ctx), void *ctx)
{
	int r = sys_fault("clone3");
	if (r)
		return r;
	int child = spawn(0);
	if (child)
		return child < 0 ? child : await(child);
	/* a fault that is met here would be met by us again */
	sys_fault_arm(0, 0);
	r = enter(w);
	if (r == 0)
		r = w->pidns_fd >= 0 ? as_somebody(w, run, ctx) : run(ctx);
	_exit(-r);
}
