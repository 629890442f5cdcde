/*
 * limits.h - a bound on what a sandbox can take from the machine.
 *
 * Memory, processes and CPU time, by the strongest means that is here:
 *	cgroup v2	a writable directory whose memory and pids controllers
 *			are ours to enable
 *	cgroup v1	writable memory, pids, cpu and freezer hierarchies
 *	otherwise	processes only: pid_max of the PID namespace (6.14), or
 *			RLIMIT_NPROC inside a user namespace
 *
 * Each incarnation has a group of its own, so that a fork bomb in the running
 * one does not keep its successor from being built. Keeper and templates stay
 * outside all of them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "sandbox/spec.h"

enum limits_kind {
	LIMITS_V2,
	LIMITS_V1,
	LIMITS_NONE, /* no cgroup */
};

struct limits;       /* of one sandbox */
struct limits_group; /* of one incarnation */

/*
 * Find the means and make the sandbox's own directories, named after
 * spec->name and unique (a random part; an id may be kept on disk). Call it
 * before userns_enter() or after; cgroups are reached by path. Limits that
 * cannot be enforced are not an error: see limits_missing().
 */
must_check int limits_create(const struct spec *spec, struct limits **out, struct err *e);

/* Remove the directories; whatever is still populated is left for gc. */
void limits_destroy(struct limits *l);

/*
 * In a forked keeper: free the parent's limits without touching its
 * directories. (Its descriptors hold the lock that tells gc to leave them.)
 */
void limits_forget(struct limits *l);

enum limits_kind limits_kind(const struct limits *l);

/* What cannot be enforced here and why, for the user; "" if all is. */
const char *limits_missing(const struct limits *l);

/* pid_max for mounts_run, and RLIMIT_NPROC for confine_init_blob(); 0: none. */
unsigned int limits_pid_max(const struct limits *l);
uint64_t limits_nproc(const struct limits *l);

/* In force, after defaults. 0: unlimited. */
uint64_t limits_memory_bytes(const struct limits *l);
uint32_t limits_pids_max(const struct limits *l);

/* An empty group with the limits set; a used one is taken again if it can. */
must_check int limits_group_take(struct limits *l, struct limits_group **out, struct err *e);

/* Give a group back; its processes may still be dying. NULL is fine. */
void limits_group_give(struct limits *l, struct limits_group *g);

/*
 * Doors: descriptors into each of which a single-threaded process writes "0"
 * to put itself into the group. Version 1 has them: no lock is taken that
 * waits for a grace period, 0.2 ms for what limits_group_attach() needs 7 ms.
 * limits_doors() says how many there are, 0: attach; the caller closes them.
 */
enum { LIMITS_DOORS_MAX = 8 };
size_t limits_doors(const struct limits *l);
must_check int limits_group_open_doors(struct limits_group *g, int fds[LIMITS_DOORS_MAX],
				       struct err *e);

/*
 * Put a process into the group: PID 1, before it forks the tree. pid is in
 * the caller's PID namespace.
 */
must_check int limits_group_attach(struct limits_group *g, pid_t pid, struct err *e);

/* Directory to clone into (CLONE_INTO_CGROUP; v2), or -1. Borrowed. */
int limits_group_fd(const struct limits_group *g);

/*
 * Begin to stop all processes of the group, or let them go; it takes a moment
 * until all have. -EOPNOTSUPP without cgroups.
 */
must_check int limits_group_freeze(struct limits_group *g, bool frozen);

struct limits_usage {
	uint64_t memory_bytes;
	uint64_t memory_peak_bytes; /* 0: unknown */
	uint64_t cpu_ns;
	uint64_t pids;
	uint64_t oom_kills; /* since the group was taken */
};

/* The oom_kills alone, of what limits_group_usage() tells; 0 without cgroups. */
uint64_t limits_group_oom_kills(const struct limits_group *g);

/* -EOPNOTSUPP without cgroups. */
must_check int limits_group_usage(const struct limits_group *g, struct limits_usage *out);

/*
 * Remove what dead keepers of this sandbox (NULL: of all sandboxes) left
 * behind; what a living keeper uses is locked and stays. Returns how many
 * directories could not be removed because processes are still in them.
 */
must_check int limits_gc(const char *name, struct err *e);

/* The state, for doctor: what kind would be used here, and why not better. */
enum limits_kind limits_probe(struct err *why);
