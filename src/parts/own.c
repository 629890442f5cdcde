#include "parts/own.h"

#include <unistd.h>

#include "sys/proc.h"

int own_settings_read(struct procfs *procfs, struct own_settings *own)
{
	int r = procfs_oom_score_adj(procfs, getpid(), &own->oom_score_adj);
	if (r == 0)
		r = procfs_coredump_filter(procfs, getpid(), &own->coredump_filter);
	if (r == 0)
		r = sys_get_nice(0, &own->nice);
	if (r == 0)
		r = sys_sched_getattr(0, &own->sched);
	if (r == 0)
		r = own->ioprio = sys_ioprio_get(0);
	if (r >= 0)
		r = sys_prlimit(0, RLIMIT_MEMLOCK, NULL, &own->memlock);
	return r < 0 ? r : 0;
}
