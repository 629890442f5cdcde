/*
 * box.h - one sandbox, as its keeper sees it.
 *
 *	STARTING -> RUNNING <-> STOPPED		PID 1 ended: a rollback revives it
 *	    |          |           |
 *	    |          v           v
 *	    |        BROKEN <------+		a transaction failed half-way
 *	    v          |
 *	  ENDING <-----+------------------	shutdown, SIGTERM, owner gone
 *
 *	STARTING	before `create`; no other request is served
 *	RUNNING		live runs; every method
 *	STOPPED		no live; checkpoints can be rolled back to and forked
 *	BROKEN		info, inspect, tree and shutdown; `error` is the first error
 *	ENDING		nothing; the loop is about to stop
 *
 * Everything in here survives fork(): the keeper of a fork is a child of this
 * process that gives up what is the parent's (box_fork.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/stage.h"
#include "base/vec.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "engine/incarnation.h"
#include "engine/object.h"
#include "exec/command.h"
#include "image/image.h"
#include "keeper/conn.h"
#include "keeper/loop.h"
#include "sandbox/spec.h"
#include "store/store.h"
#include "wire/runtime.h"

enum box_state {
	BOX_STARTING,
	BOX_RUNNING,
	BOX_STOPPED,
	BOX_BROKEN,
	BOX_ENDING,
};

enum { NODE_ID_BYTES = 13, NODE_TAG_BYTES = 64 };

/* A checkpoint in the tree: see nodes.h. */
struct node {
	char id[NODE_ID_BYTES];
	char sandbox[RUNTIME_NAME_BYTES];	/* that it was taken of */
	char tag[NODE_TAG_BYTES];	/* "": none */
	struct node *parent;		/* NULL: the first one */
	uint64_t created_ns;		/* wall clock */
	struct checkpoint *checkpoint;	/* reference */
	struct commands_saved commands;
	bool manifest_due;		/* not on disk yet, nor under way: see commit.h */
	bool manifest_stale;		/* names layers that were merged since, or a parent
					 * that is gone; as good */
	bool files_only;		/* made by box_rollback_files() */
};

/* The keeper of a fork, our child. */
struct offspring {
	struct box *box;
	pid_t pid;
	struct loop_source source;	/* its pidfd */
	struct offspring *next, **link;
};

struct box {
	struct loop loop;
	struct conns conns;
	struct loop_source listen_source;
	struct loop_source signal_source;
	struct loop_source owner_source;	/* pidfd of --die-with-parent */
	struct loop_source commands_source;
	struct live_watch *live_watch;		/* sees the end of PID 1 */
	struct loop_task background;		/* see box_background() */
	struct loop_timer lease, idle_lease;
	struct loop_timer settle;		/* see box_checkpoint.c */
	struct loop_timer commit_retry;		/* see commit.c */
	uint64_t commit_retry_ns;
	bool commit_waits;
	struct offspring *offspring;

	int runtime_fd;
	struct runtime_place place;
	char state_path[RUNTIME_PATH_BYTES];	/* state directory */
	char family[STORE_ID_BYTES];	/* shared with forks */
	char id[STORE_ID_BYTES];
	struct spec spec;		/* as asked for */
	struct manifest *from;		/* while it is created from one, see box_files.c */
	uint64_t created_ns;		/* wall clock */
	uint64_t expires_ns;		/* wall clock, its lease; 0: none */
	uint64_t last_request_ns;	/* clock_now_ns() */

	enum box_state state;
	struct err error;		/* BROKEN, STOPPED: why */

	struct store *store;
	int record_fd;			/* lock of its record: it lives */
	bool keep;			/* its checkpoints' files outlive it */
	struct image image;
	int turns_fd;			/* see turns.h */
	bool engine_made;
	struct engine engine;
	struct commands *commands;
	struct watcher *watchers;	/* see watch.h */
	struct incarnation *live;	/* RUNNING only */
	int init_fd;			/* live's init socket once more, so that a
					 * rollback can be taken back; -1: none */
	struct incarnation *standby;	/* parked at standby_node, or NULL */
	struct node *standby_node;
	bool standby_failed;		/* do not try again for standby_node */
	bool quiet;			/* a fork nobody has asked anything yet: no standby */
	struct commit *commit;		/* under way, or NULL: see commit.h */
	struct merging *merging;	/* under way, or NULL: see merging.h */
	size_t merge_again_at;		/* after a failure: layers in a stack */
	bool merge_unsynced;		/* a merged layer may not be on the disk yet */
	unsigned int merges_done, merges_failed;
	struct vec dying;		/* struct incarnation *: killed, to be freed */
	struct vec nodes;		/* struct node *, oldest first */
	struct node *head;		/* parent of "now" */
};

const char *box_state_name(enum box_state state);

/* Assert what holds in the present state (debug builds). */
void box_check(const struct box *b);

/* A box that has nothing yet, in STARTING, with its loop. */
must_check int box_init(struct box *b, int runtime_fd, struct err *e);

/* Watch SIGTERM and the like, and clients of the place. */
must_check int box_listen(struct box *b, struct err *e);

/*
 * Make the sandbox that b->spec describes; the name is claimed already. Moves
 * the process into its namespaces. On failure the process is to end.
 */
must_check int box_create(struct box *b, struct stage_times *times, struct err *e);

/*
 * Make `in` the live incarnation: init's socket and the commands of node are
 * attached, what lived before is killed, the gate opens. On failure `in` is
 * still the caller's and the box is as it was; BROKEN, if the gate did not open.
 */
must_check int box_enter(struct box *b, struct incarnation *in, struct node *node,
			 struct err *e);

/* Build an incarnation of a node in line. */
must_check int box_build(struct box *b, struct node *node, struct incarnation **out,
			 struct stage_times *times, struct err *e);

struct box_rollback {
	bool hot;			/* the standby served */
	struct node *node;		/* where now stands */
	struct stage_times times;
};

/* now becomes what it was at node. */
must_check int box_rollback(struct box *b, struct node *node, struct box_rollback *out,
			    struct err *e);

struct box_checkpoint {
	struct node *node;
	bool incremental;
	struct checkpoint_stats stats;
};

/*
 * The files of a node with no processes: now becomes that. It is a new node
 * below it, for which out->node is set.
 */
must_check int box_rollback_files(struct box *b, struct node *node, struct box_rollback *out,
				  struct err *e);

/*
 * Before create: take the checkpoint that `text` names (NAME@CKPT, or an id)
 * as what the box begins with, and its specification into b->spec.
 */
must_check int box_from(struct box *b, const char *text, struct err *e);

/* For create: the base of that checkpoint; its files, after looking at them. */
must_check int box_from_image(struct box *b, struct err *e);
must_check int box_from_files(struct box *b, const struct spec *effective,
			      struct fs_snapshot *files, struct err *e);

/* Make ready what the next checkpoint takes; see checkpoint_prepare(). */
must_check int box_prepare(struct box *b, struct err *e);

/* A new node below head, which becomes the head. tag may be NULL. */
must_check int box_checkpoint(struct box *b, const char *tag, struct box_checkpoint *out,
			      struct err *e);

/*
 * Do one piece of what makes the next request fast, or what nobody waits for:
 * free dead incarnations, prepare overlays, build a standby, write manifests.
 * Runs as an idle task until nothing is left.
 */
void box_background(struct box *b);
void box_drop_standby(struct box *b);

/* Free the incarnation that was killed first; false: there is none. */
bool box_free_dying(struct box *b);

/* Nobody is told of the end of b->live any more. */
void box_unwatch_live(struct box *b);

/* The first process ended, or the box broke: see the states. */
void box_stopped(struct box *b, const char *why);
void box_broken(struct box *b, const struct err *e);

/* Root directory of what lives, O_PATH. */
must_check int box_root_open(struct box *b, struct err *e);

/* Remove the sandbox with all it has, but see b->keep; the loop stops. */
void box_end(struct box *b);

/* For tables of commands: create makes one, every fork another. */
struct commands_events box_commands_events(struct box *b);
must_check int box_commands_watch(struct box *b, struct err *e);
must_check int box_write_info(struct box *b, struct err *e);

/* Say in the state directory whose checkpoints it has. */
must_check int box_write_record(struct box *b, struct err *e);

/* Fork the keeper: see box_fork.c. */
struct fork_child {
	struct runtime_place place;	/* claimed */
	int report_fd;			/* what the child says; ours, -1: none */
	pid_t pid;
	struct loop_source source;	/* of report_fd */
	struct frame_reader reader;
	uint64_t ready_ns;		/* when it was ready; 0: not yet */
	void *op;			/* the caller's */
};

/*
 * Start the keeper of one fork of node. children[i] is its; the others of the
 * n are closed in it. Returns 0 in the parent; 1 in the child, which is the
 * box of children[i].place then, or is about to end: go back to the loop.
 */
must_check int box_fork(struct box *b, struct node *node, struct fork_child *children, size_t n,
			size_t i, struct err *e);
