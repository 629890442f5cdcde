/*
 * ns.h - namespaces, id maps and capabilities. All return -errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* unshare(2): CLONE_NEW*. */
must_check int sys_unshare(int flags);

/* Write a whole id map of a process: lines "inside outside count". */
must_check int sys_write_uid_map(pid_t pid, const char *text);
must_check int sys_write_gid_map(pid_t pid, const char *text);

/* Forbid setgroups() in this process' user namespace, once and for all. */
must_check int sys_deny_setgroups(void);
/* Whether setgroups() is forbidden in this process' user namespace. */
bool sys_setgroups_denied(void);

/* Drop all supplementary groups. */
must_check int sys_drop_groups(void);

struct sys_id_range {
	uint32_t inside;
	uint32_t outside;
	uint32_t count;
};

/* The id map of this process; at most max ranges. Returns how many. */
must_check int sys_read_id_map(bool gids, struct sys_id_range *ranges, size_t max);

/* Effective capabilities of this process. */
must_check int sys_caps_effective(uint64_t *caps);
