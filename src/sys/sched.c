#include "sys/sched.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/fault.h"

enum {
	IOPRIO_WHO_PROCESS = 1,		/* linux/ioprio.h: one thread */
	SLICE_MAX_NS = 100000000,	/* kernel/sched/syscalls.c */
};

int sys_sched_getattr(pid_t tid, struct sys_sched_attr *attr)
{
	int r = sys_fault("sched_getattr");
	if (r)
		return r;
	*attr = (struct sys_sched_attr){ 0 };
	return syscall(SYS_sched_getattr, tid, attr, sizeof(*attr), 0) ? -errno : 0;
}

int sys_sched_step_back(pid_t pid)
{
	struct sys_sched_attr attr;
	int r = sys_sched_getattr(pid, &attr);
	if (r == 0)
		r = sys_fault("sched_setattr");
	if (r)
		return r;
	if (attr.policy != SCHED_OTHER)
		return 0;
	attr.policy = SCHED_BATCH;
	attr.flags = 0;
	attr.runtime = SLICE_MAX_NS;
	return syscall(SYS_sched_setattr, pid, &attr, 0) ? -errno : 0;
}

int sys_sched_getaffinity(pid_t tid, uint8_t cpus[SYS_CPUS_BYTES])
{
	int r = sys_fault("sched_getaffinity");
	if (r)
		return r;
	long n = syscall(SYS_sched_getaffinity, tid, SYS_CPUS_BYTES, cpus);
	return n < 0 ? -errno : (int)n;
}

int sys_get_nice(pid_t tid, int *nice)
{
	int r = sys_fault("getpriority");
	if (r)
		return r;
	errno = 0;
	int value = getpriority(PRIO_PROCESS, (id_t)tid);
	if (errno)
		return -errno;
	*nice = value;
	return 0;
}

int sys_ioprio_get(pid_t tid)
{
	int r = sys_fault("ioprio_get");
	if (r)
		return r;
	long value = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);
	return value < 0 ? -errno : (int)value;
}
