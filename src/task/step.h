/*
 * step.h - make a stopped thread execute something of ours, and get it back.
 *
 * Used by remote.c. Between the first step and the last the thread's signals
 * are blocked, all but SIGTRAP, which ends each step.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "task/remote.h"

/*
 * Find a system call instruction that the process can execute. 0 with
 * r->syscall_address set; -ENOENT: there is none.
 */
must_check int step_find_syscall(struct remote *r);

/*
 * Execute one system call. 0 with *result set. -ESRCH: the process was killed
 * (r->gone); -EBUSY: one signal too many to keep.
 */
must_check int step_call(struct remote *r, long nr, const uint64_t arg[6],
			 int64_t *result);

/* Go on at r->entry until the breakpoint behind it. As step_call(). */
must_check int step_run(struct remote *r, uint64_t program, uint64_t status);

/* Write back all registers of the thread. */
must_check int step_restore(struct remote *r);
