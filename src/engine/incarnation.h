/*
 * incarnation.h - one life of a sandbox: from create, rollback or fork to the
 * next rollback.
 *
 *	BUILDING --> PARKED --incarnation_release()--> RUNNING
 *	    \___________\_________________________________\--> DEAD
 *
 *	BUILDING	PID 1 mounts and forks the tree; may fail
 *	PARKED		every thread waits at the gate, one step before its own
 *			code; a standby
 *	RUNNING		the guest's code runs
 *	DEAD		PID 1 was killed or ended; only incarnation_free() is left
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "engine/engine.h"
#include "engine/object.h"
#include "parts/files.h"
#include "template/tracker.h"

enum incarnation_state {
	INCARNATION_BUILDING,
	INCARNATION_PARKED,
	INCARNATION_RUNNING,
	INCARNATION_DEAD,
};

struct incarnation {
	enum incarnation_state state;
	struct engine *engine;		/* borrowed */
	struct checkpoint *from;	/* reference: what it was built from; its
					 * last checkpoint, once it has one */
	struct template ahead;		/* fork of from's template, for the next
					 * checkpoint; socket -1: none yet */
	pid_t pid1;			/* in the keeper's namespace */
	int pid1_pidfd;
	int init_socket;		/* take it for commands_attach() */
	int mntns_fd;			/* its mount namespace */
	int root_fd;			/* its root, O_PATH */
	int diag_fd;			/* netlink in its network: sys/sockdiag.h */
	struct fs_tree *fs;
	struct limits_group *group;
	struct tracker tracker;		/* processes and dirty tracking */
	struct vec outers;		/* struct files_outer: take them */
	struct vec timers;		/* struct files_timer: to arm with the gate */
	struct vec inotifys;		/* int: to be quieted with the gate */
	struct vec empties;		/* uint64_t: sockets in whose queues a look saw an
					 * empty message behind others */
	int gate_fd;
	uint32_t *gate;			/* shared page: who may go, 0: nobody yet */
};

const char *incarnation_state_name(enum incarnation_state state);

/* Open the gate: the tree runs from here. */
must_check int incarnation_release(struct incarnation *in, struct err *e);

/* SIGKILL PID 1 and with it the namespace. Does not wait. */
void incarnation_kill(struct incarnation *in);

/* Let go of everything; kills it first if it still lives. Takes NULL. */
void incarnation_free(struct incarnation *in);
