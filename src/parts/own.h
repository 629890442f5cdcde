/*
 * own.h - settings that PID 1 has from the keeper, and so has each process
 * that is being made: only what differs must be set.
 */
#pragma once

#include "base/cleanup.h"
#include "sys/procfs.h"
#include "sys/sched.h"

struct own_settings {
	int oom_score_adj;
	uint32_t coredump_filter;
	int nice;
	struct sys_sched_attr sched;
	int ioprio;
	struct rlimit memlock;
};

/* Those of this process. 0 or -errno. */
must_check int own_settings_read(struct procfs *procfs, struct own_settings *own);
