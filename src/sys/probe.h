/*
 * probe.h - what this kernel and this user can do, asked once.
 *
 * Code asks the answer, never the version. MULLIGAN_MASK, a comma-separated
 * list of the names in the table, makes features look absent, so that tests
 * reach the fallbacks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum sys_feature {
	SYS_F_PAGEMAP_SCAN,	/* 6.7: ioctl on /proc/<pid>/pagemap */
	SYS_F_PROCMAP_QUERY,	/* 6.11: ioctl on /proc/<pid>/maps */
	SYS_F_MULTI_MREMAP,	/* 6.17: one mremap moves several VMAs */
	SYS_F_LOWERDIR_PATH,	/* 6.5: fsconfig("lowerdir+") by path */
	SYS_F_LOWERDIR_FD,	/* 6.13: fsconfig("lowerdir+") by descriptor */
	SYS_F_UFFD,		/* userfaultfd() with UFFD_USER_MODE_ONLY */
	SYS_F_UFFD_KERNEL,	/* userfaultfd() for kernel faults too */
	SYS_F_UFFD_WP,		/* 6.7: async write-protect of anonymous memory
				 * and of unpopulated pages */
	SYS_F_SET_TID,		/* clone3() accepts set_tid */
	SYS_F_PIDFD_GETFD,	/* 5.6 */
	SYS_F_PROCESS_MADVISE,	/* 5.10 */
	SYS_F_MADV_POPULATE,	/* 5.14 */
	SYS_F_MADV_COLLAPSE,	/* 6.1 */
	SYS_F_KCMP,
	SYS_F_MEMBARRIER_GET,	/* 6.3: membarrier() tells its registrations */
	SYS_F_TIMER_IDS,	/* 6.15: timer_create() with a number of choice */
	SYS_F_PROC_CHILDREN,	/* /proc/<pid>/task/<tid>/children */
	SYS_F_PIDNS_IOCTL,	/* 6.11: pids translated by ioctl on nsfs */
	SYS_F_CGROUP,		/* some hierarchy has memory and pids */
	SYS_F_CGROUP_V2,	/* ... the unified one */
	SYS_F_CGROUP_V1,	/* ... version 1 hierarchies */
	SYS_F_USERNS,		/* this user may make user namespaces */
	SYS_F_ID_RANGES,	/* ... with more than the own id: newuidmap */
	SYS_F_SUSPEND_SECCOMP,	/* PTRACE_O_SUSPEND_SECCOMP: real root */
	SYS_F_COUNT,
};

struct sys_features {
	bool has[SYS_F_COUNT];
	bool masked[SYS_F_COUNT];	/* by MULLIGAN_MASK */
	int error[SYS_F_COUNT];		/* errno value that said no, or 0 */
};

struct sys_feature_text {
	const char *name;	/* as in MULLIGAN_MASK and `doctor --json` */
	const char *gives;	/* what it is good for */
	const char *without;	/* what happens where it is absent */
	bool required;		/* nothing works without it */
};

/* One row a feature, indexed by enum sys_feature. */
extern const struct sys_feature_text sys_feature_table[SYS_F_COUNT];

/*
 * The answers, probed at the first call (about 1 ms, some children are
 * forked) and kept for the life of the process.
 */
const struct sys_features *sys_features(void);

/*
 * SYS_F_ID_RANGES without the other probes, whose answers change when the
 * caller enters a user namespace: newuidmap and newgidmap are there.
 */
bool sys_has_id_tools(void);

/* Short for sys_features()->has[f]. */
bool sys_has(enum sys_feature f);

/* Apply a mask list to f; unknown names are counted and returned. */
int sys_features_mask(struct sys_features *f, const char *list);
