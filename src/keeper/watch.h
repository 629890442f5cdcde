/*
 * watch.h - requests that follow a command: exec, attach, wait.
 *
 * A watcher knows up to which position its client has had each stream. When a
 * rollback cuts the log back, the position is cut back with it, so that what
 * the restored process says next is delivered and nothing is twice.
 */
#pragma once

#include "exec/command.h"
#include "keeper/box.h"
#include "keeper/conn.h"

struct watcher {
	struct box *box;
	struct request *rq;
	struct command *command;
	bool streams;		/* output goes to the client */
	bool until_started;	/* answer as soon as it runs */
	bool until_now;		/* answer when the output so far was sent */
	bool owns;		/* the command ends with the client, and its
				 * handle with the answer */
	bool truncated;		/* the client was too slow for the log */
	uint64_t pos[STREAMS];
	struct buf input;	/* of the client, not yet taken over */
	bool input_ends;
	struct watcher *next;
};

/* Follow a command for rq, which is kept. Flags are set by the caller. */
struct watcher *watch_new(struct request *rq, struct command *c);

/* Begin: raw frames of the client become stdin if it streams. */
must_check int watch_start(struct watcher *w, struct err *e);

/* Something happened to this command: send, answer. */
void watch_command(struct box *b, struct command *c);

/* Its stdin takes bytes again. */
void watch_input_room(struct box *b, struct command *c);

/* After commands_restore(). */
void watch_rolled_back(struct box *b);

/* Forget all, without answers: in a fork's child. */
void watch_abandon(struct box *b);

/* What exec, attach and wait answer. */
json_t *command_json(const struct command *c);

/* The command named by the parameter `handle`. */
must_check int command_param(const struct request *rq, struct command **out, struct err *e);
