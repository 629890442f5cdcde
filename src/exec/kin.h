/*
 * kin.h - kill a command with all that came from it.
 *
 * The tree of a PID namespace is read from outside, from the children lists
 * below PID 1. Of a command are
 *  1. its process, and the children of what is of the command;
 *  2. orphans that PID 1 took over and that share a session with any of
 *     those (a session other than a command's own was made by a descendant);
 *  3. orphans that have the command's cookie in their environment;
 *  4. orphans that hold one of the command's pipes and have nobody's cookie.
 * First all are stopped, again and again until nothing new appears and
 * nothing runs, so that no fork gets away; then all are killed.
 *
 * What escapes: a process that was orphaned before the kill, left the
 * session, replaced its environment and closed the command's pipes, all of
 * it. It is as any other process of the sandbox then.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"

#define KIN_COOKIE_NAME "MULLIGAN_COMMAND"

enum { KIN_PIPES = 3 };

struct kin {
	pid_t init_pid; /* PID 1, in our namespace */
	pid_t pid;      /* the command, in the sandbox's */
	const char *cookie;
	ino_t pipe[KIN_PIPES]; /* pipefs inodes; 0: none */
	const pid_t *others;   /* other running commands, in the sandbox's */
	size_t n_others;
};

/*
 * Kill them. Returns how many processes were signalled; -EBUSY if they come
 * faster than they can be stopped (all found so far are killed), -errno.
 */
must_check int kin_kill(const struct kin *k, struct err *e);

/*
 * Kill the children of PID 1 that still run its own program: a command whose
 * exec does not come to an end. Returns how many.
 */
must_check int kin_kill_unborn(pid_t init_pid, struct err *e);
