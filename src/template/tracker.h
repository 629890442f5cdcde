/*
 * tracker.h - the live processes of an incarnation, as memory sees them.
 *
 * A process keeps its key from checkpoint to checkpoint and through rollbacks;
 * its pid in the keeper's namespace does not survive a rollback, and a pid
 * alone can be another process's. While `fresh`, what dirty tracking reports
 * of a process is what was written since the incarnation's last checkpoint.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct tracked {
	pid_t pid;		/* in the keeper's namespace */
	uint64_t start_time;	/* clock ticks since boot */
	uint64_t key;
	int uffd;		/* -1: not tracked yet */
	bool fresh;		/* reports are relative to the last checkpoint */
};

struct tracker {
	struct vec procs;	/* struct tracked */
};

#define TRACKER_INIT ((struct tracker){ VEC_INIT(struct tracked) })

/* NULL: not seen before. */
struct tracked *tracker_find(struct tracker *t, pid_t pid, uint64_t start_time);

/* A new process; key 0: make one. NULL: no memory. */
struct tracked *tracker_add(struct tracker *t, pid_t pid, uint64_t start_time, uint64_t key);

/* A checkpoint failed after it had looked: nothing reported counts any more. */
void tracker_invalidate(struct tracker *t);

/* Forget the processes that have ended. */
void tracker_forget_dead(struct tracker *t);
void tracker_deinit(struct tracker *t);
