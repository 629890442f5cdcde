/*
 * internal.h - what the files of exec/ share: the table and its streams.
 *
 *	command.c	the table, its event loop, init's messages
 *	start.c		a spec becomes a SPAWN
 *	stream.c	bytes through pipes and terminals
 *	saved.c		checkpoints
 *
 * An epoll descriptor holds init's socket, a timer for deadlines and every
 * outer end; its data is id * STREAMS_BITS + stream, ids start at 1.
 */
#pragma once

#include "exec/command.h"
#include "exec/user.h"
#include "sandbox/init/proto.h"

enum {
	WATCH_STREAM_BITS = 2,
	WATCH_INIT = 0, /* with id 0 */
	WATCH_TIMER = 1,
};

struct commands {
	struct commands_events events;
	struct vec all; /* struct command *, by id */
	uint64_t next_id;
	int epoll_fd;
	int timer_fd;
	uint64_t armed_ns; /* what it is set to; 0: nothing, or it has fired */
	int init_fd; /* -1: no incarnation */
	pid_t init_pid;
	bool init_is_ready;
	struct init_msg init_failure; /* READY with an error */
	bool knows_groups;            /* keep_groups was read */
	bool keep_groups;             /* setgroups is denied in the user namespace */
	unsigned int busy;            /* depth of callbacks: nothing is freed */
	bool is_quiet;                /* a freeze: events wait */
	bool to_sweep;                /* forgotten handles may be freed */
	struct vec late;              /* int: masters of terminals of the past, see
				       * commands_restore() */
	uint64_t late_ns;             /* when to close them */
};

/* Handles */
struct command *command_new(const char *const *argv);
void command_free(struct command *c);

/* Add a handle; its id must be the highest so far. 0 or -ENOMEM. */
must_check int commands_add(struct commands *t, struct command *c);

/* The handle `id` among the first n (in the order of ids) of handles, or NULL. */
struct command *commands_lookup(const struct vec *handles, size_t n, uint64_t id);

/* Free forgotten handles that have nothing left to do. */
void commands_sweep(struct commands *t);

/* Close the terminals that a rollback has left open. */
void commands_close_late(struct commands *t);

/* Set the timer to the earliest deadline. */
void commands_arm_timer(struct commands *t);

/* bits of command.untold, next to 1 << stream */
enum { UNTOLD_ENDED = 1 << STREAMS };

/* The next checkpoint has to save c anew. */
static inline void command_changed(struct command *c)
{
	c->is_changed = true;
}

/* Say that there is output; c changed its state. */
void commands_tell_output(struct commands *t, struct command *c, enum stream_kind kind);
void commands_tell_started(struct commands *t, struct command *c);
void commands_tell_ended(struct commands *t, struct command *c);

/* init's PATH inside the sandbox: a descriptor of its root, or -errno. */
must_check int commands_open_root(const struct commands *t, struct err *e);

/* Read and handle one message of init. 1: there was one; 0: none; -EPIPE. */
int commands_receive(struct commands *t);

/* Streams */

/* Epoll data of a stream. */
static inline uint64_t stream_tag(uint64_t id, enum stream_kind kind)
{
	return id << WATCH_STREAM_BITS | (uint64_t)kind;
}

/* Note which pipe or terminal fd is an end of, and make fd not block. */
must_check int stream_identify(struct stream *s, int fd);

/* The events an end is to be watched for from the start. */
uint32_t stream_events(const struct command *c, enum stream_kind kind);

/* Watch a stream's end. 0 or -errno. */
must_check int stream_watch(struct commands *t, struct command *c, enum stream_kind kind);

/* Stop watching and close. */
void stream_close(struct commands *t, struct command *c, enum stream_kind kind);

/* Something happened at the end. */
void stream_ready(struct commands *t, struct command *c, enum stream_kind kind, uint32_t events);

/*
 * Take in what is there: until the pipe is empty, or, with `bounded`, only
 * what was in it at the start, whatever others go on writing.
 */
void stream_drain(struct commands *t, struct command *c, enum stream_kind kind, bool bounded);

/* Close stdin if nobody reads it any more. */
void stream_check_input(struct commands *t, struct command *c);

/* The command's own process has ended: last bytes in, ends closed. */
void streams_end(struct commands *t, struct command *c);

/* Does any outer end of the command still read? */
bool streams_are_open(const struct command *c);
