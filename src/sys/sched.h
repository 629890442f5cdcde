/*
 * sched.h - how threads are scheduled. All return -errno; tid 0 is the
 * caller.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* The kernel's struct sched_attr (5.3), as sched_setattr(2) takes it. */
struct sys_sched_attr {
	uint32_t size;
	uint32_t policy;	/* SCHED_* */
	uint64_t flags;		/* SYS_SCHED_* */
	int32_t nice;		/* 0 for realtime policies */
	uint32_t priority;	/* realtime policies */
	uint64_t runtime;	/* ns; the slice of the others since 6.12 */
	uint64_t deadline, period;
	uint32_t util_min, util_max;
};

enum {
	SYS_SCHED_UTIL_CLAMP = 0x60,	/* take util_min and util_max */
	SYS_CPUS_BYTES = 1024,		/* 8192 CPUs, the most of any x86 kernel */
};

must_check int sys_sched_getattr(pid_t tid, struct sys_sched_attr *attr);

/*
 * Nobody waits for this process: when it wakes it does not take the CPU from
 * the caller (SCHED_BATCH, and a long slice where the kernel has them).
 */
must_check int sys_sched_step_back(pid_t pid);

/* The CPUs that it may use, a bit each: returns the length in bytes. */
must_check int sys_sched_getaffinity(pid_t tid, uint8_t cpus[SYS_CPUS_BYTES]);

/* Nice value, whatever the policy is. */
must_check int sys_get_nice(pid_t tid, int *nice);

/* I/O priority as ioprio_set(2) takes it; 0: follows the nice value. */
must_check int sys_ioprio_get(pid_t tid);
