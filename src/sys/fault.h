/*
 * fault.h - make the n-th kernel call fail, so that tests can sweep a
 * transaction: fail its 1st, 2nd, ... call until it succeeds.
 *
 * Every wrapper in sys/ begins with
 *	int r = sys_fault("move_mount");
 *	if (r)
 *		return r;
 * A process may also be started with MULLIGAN_FAULT="n" or "n:ERRNO" (a name
 * such as ENOSPC, or a number; EIO if absent); it is read at program start, or,
 * in a keeper with MULLIGAN_FAULT_WHEN=method, with its first such request.
 * Single-threaded programs only: there is one counter and no lock.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

/* Count a kernel call. 0, or the -errno that it must fail with now. */
must_check int sys_fault(const char *call);

/*
 * Count from 0 again and let the n-th call (from 1) fail with errno value
 * err; n == 0 only counts. It fires once.
 */
void sys_fault_arm(uint64_t n, int err);

/* The same among calls with that name alone, which must live on; only they are counted. */
void sys_fault_arm_only(const char *call, uint64_t n, int err);

/* Arm what MULLIGAN_FAULT says, if there is one. */
void sys_fault_from_environment(void);

/* A child of ours made n more: they are not met again here. */
void sys_fault_passed(uint64_t n);

/* Calls counted since the last sys_fault_arm(), or since the start. */
uint64_t sys_fault_count(void);

/* Name of the call that was failed, NULL if none was. */
const char *sys_fault_fired(void);
