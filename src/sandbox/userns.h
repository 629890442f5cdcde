/*
 * userns.h - the user and mount namespaces that a keeper lives in.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"

/*
 * Whether this process needs a user namespace to build sandboxes: it lacks
 * CAP_SYS_ADMIN, whatever its uid is.
 */
bool userns_needed(void);

/*
 * Move this single-threaded process into a mount namespace of its own, all
 * mounts private, and before that, if in_userns, into a new user namespace
 * in which it is root. A range of ids is mapped where /etc/subuid, /etc/subgid
 * and newuidmap/newgidmap give one, else its own ids only. Supplementary
 * groups are dropped where that is allowed. Call it once, before anything
 * else is opened or started. On failure the process may be half-way: exit.
 * EPERM, ENOSPC, EACCES: namespaces are forbidden here; the remedy names the
 * knob.
 */
must_check int userns_enter(bool in_userns, struct err *e);

/* Whether an id exists in the user namespace of this process. */
bool userns_uid_mapped(uid_t uid);
bool userns_gid_mapped(gid_t gid);

/* Ids from 0 that exist here without a gap (1: only root). */
unsigned long userns_uid_count(void);
