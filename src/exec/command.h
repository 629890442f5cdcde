/*
 * command.h - commands in a sandbox: handles that survive rollbacks.
 *
 * A keeper has one `struct commands`. It speaks with mulligan-init, holds the
 * outer ends of every command's pipes and terminals, and keeps what they said
 * in logs. All of it hangs on one descriptor: poll commands_fd() for reading
 * and call commands_dispatch(); nothing here blocks.
 *
 * States of a handle:
 *
 *	STARTING -> RUNNING -> EXITED | KILLED		(wait status)
 *	    |          |  \--> LOST			its incarnation ended
 *	    v          v
 *	  FAILED   ROLLED_BACK	a rollback went to before its start
 *
 * A rollback makes a handle that was RUNNING at the checkpoint RUNNING again,
 * whatever became of it since. Its log is cut back to where it was, so what
 * follows is what the restored process says. A command is over when its own
 * process ends; children that hold its pipes go on being drained (they must
 * not die of SIGPIPE), but nobody waits for them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"
#include "exec/log.h"

enum command_state {
	COMMAND_STARTING,
	COMMAND_RUNNING,
	COMMAND_EXITED,
	COMMAND_KILLED, /* by a signal */
	COMMAND_FAILED, /* never ran: error says why */
	COMMAND_ROLLED_BACK,
	COMMAND_LOST, /* init went away before it said how it ended */
};

enum {
	/* An exec that takes longer hangs on something of the guest's. */
	COMMAND_BIRTH_NS = 2000000000,
};

enum stream_kind {
	STREAM_STDIN,
	STREAM_STDOUT, /* with a terminal: all it says */
	STREAM_STDERR,
	STREAMS,
};

enum stdin_mode {
	STDIN_NULL, /* the sandbox's /dev/null */
	STDIN_PIPE, /* command_write() */
};

struct command_spec {
	const char *const *argv;    /* NULL-terminated */
	const char *const *env;     /* NULL-terminated; NULL: none */
	const char *cwd;            /* NULL: / */
	const char *user;           /* see user_resolve(); NULL: root */
	uint64_t timeout_ns;        /* 0: none */
	enum stdin_mode stdin_mode; /* ignored with a terminal */
	bool tty;
	uint16_t rows, cols;             /* of the terminal; 0: 24 x 80 */
	uint64_t head_bytes, tail_bytes; /* of each log; 0: the defaults */
	int spill_fd[STREAMS];           /* taken over on success; -1: none */
};

/* No spill, nothing else set. */
#define COMMAND_SPEC_INIT ((struct command_spec){.spill_fd = {-1, -1, -1}})

/* An outer end. Its inner end is found by the same (dev, ino), or number. */
struct stream {
	int fd;       /* -1: closed, or never there */
	bool is_open; /* survives in a saved handle, where fd is -1 */
	dev_t dev;    /* of the pipe; both ends have the same */
	ino_t ino;
	uint32_t armed;  /* epoll events asked for; internal */
	bool is_watched; /* internal */
	bool is_paused;	 /* see command_pause() */
	struct log log;  /* of what the command said; stdin: unused */
};

struct command {
	uint64_t id; /* never reused within a family */
	enum command_state state;
	char **argv;      /* NULL-terminated */
	pid_t pid;        /* in the sandbox; 0 until RUNNING */
	int wait_status;  /* EXITED, KILLED: see waitpid(2) */
	struct err error; /* FAILED */
	char *cwd;
	uint32_t uid;
	uint64_t oom_kills;   /* of the sandbox when it started */
	uint64_t started_ns;  /* clock_now_ns() */
	uint64_t ended_ns;    /* 0: not yet */
	uint64_t deadline_ns; /* 0: none */
	uint64_t left_ns;     /* in a saved handle: deadline - time of saving */
	uint64_t born_by_ns;  /* STARTING: no exec takes that long */
	bool timed_out;
	bool is_doomed; /* killed while STARTING: dies as soon as it runs */
	bool oom_killed;
	bool is_tty;
	unsigned int tty_number; /* /dev/pts/N */
	char cookie[17];         /* MULLIGAN_COMMAND in its environment */
	struct stream stream[STREAMS];
	struct buf input;         /* written, not yet taken by the pipe */
	bool input_ends;          /* close stdin once input is gone */
	bool forgotten;           /* no handle any more; drains what others hold */
	unsigned int refs;        /* checkpoints share unchanged saved handles */
	struct command *saved_as; /* what the last checkpoint saved of it */
	bool is_changed;          /* since then */
	unsigned int untold;      /* events that wait for the end of a freeze */
	void *owner;              /* the keeper's; kept by rollback, not by fork */
};

/* What the keeper wants to hear; any may be NULL. Do not free `c` in them. */
struct commands_events {
	void *ctx;
	void (*started)(void *ctx, struct command *c); /* RUNNING or FAILED */
	void (*output)(void *ctx, struct command *c, enum stream_kind stream);
	void (*ended)(void *ctx, struct command *c);      /* EXITED, KILLED, LOST,
							   * ROLLED_BACK */
	void (*input_room)(void *ctx, struct command *c); /* stdin took it all */
	/* init reaped a process that is no command of ours */
	void (*reaped)(void *ctx, pid_t pid, int wait_status);
	/* init closed its end: the incarnation is over; called once */
	void (*init_gone)(void *ctx);
	/* how many OOM kills the sandbox has seen; for oom_killed */
	uint64_t (*oom_kills)(void *ctx);
};

struct commands;

/* An empty table. NULL: no memory or no descriptors. */
must_check struct commands *commands_new(const struct commands_events *events);

/* Closes all ends; commands that still run are left to their fate. */
void commands_free(struct commands *t);

/*
 * From now on PID 1 is init_pid (in the keeper's own PID namespace), reached
 * by the socket init_fd, which the table takes over. The commands themselves
 * are settled by commands_restore(). The new init may not have said READY
 * yet: commands_wait_ready().
 */
must_check int commands_attach(struct commands *t, int init_fd, pid_t init_pid, struct err *e);

/* Wait until init is confined. -ETIMEDOUT, -EPIPE, or what failed in init. */
must_check int commands_wait_ready(struct commands *t, uint64_t timeout_ns, struct err *e);

/* For poll: readable when there is something to do, deadlines included. */
int commands_fd(const struct commands *t);

/* Do what can be done now. */
void commands_dispatch(struct commands *t);

/*
 * Start a command; *out (owned by the table) is STARTING, becomes RUNNING or
 * FAILED in a later dispatch. Errors are those of the request itself: an
 * unknown user, an empty argv, too long arguments, no descriptors.
 */
must_check int command_start(struct commands *t, const struct command_spec *spec,
			     struct command **out, struct err *e);

/*
 * Dispatch until c is not STARTING any more. 0: it runs, or already ended.
 * Else why it could not start, also in c->error. -ETIMEDOUT: something inside
 * holds it up; it was killed.
 */
must_check int command_wait_started(struct commands *t, struct command *c, struct err *e);

/* NULL: no such handle. */
struct command *commands_find(struct commands *t, uint64_t id);

/* All handles, oldest first: struct command *. Those forgotten are in it. */
const struct vec *commands_all(const struct commands *t);

/* How many are STARTING: a checkpoint waits for them. */
size_t commands_starting(const struct commands *t);

/* Let the handle go. A command that still runs goes on without it. */
void command_forget(struct commands *t, struct command *c);

bool command_is_over(const struct command *c);
const char *command_state_name(enum command_state state);

/*
 * Offer bytes to stdin; those that the pipe does not take now are kept and
 * given later. Returns how many were taken over, fewer than len when
 * COMMAND_INPUT_MAX are waiting; -EPIPE: stdin is closed.
 */
enum { COMMAND_INPUT_MAX = 1 << 20 };
must_check long command_write(struct commands *t, struct command *c, const void *bytes, size_t len);

/* Close stdin after what was written. On a terminal: send its end-of-file. */
void command_close_stdin(struct commands *t, struct command *c);

/*
 * Stop reading an output stream, so that the command waits once its pipe is
 * full, or go on. What must be taken in is taken in all the same: at a
 * checkpoint, and when the command ends.
 */
void command_pause(struct commands *t, struct command *c, enum stream_kind kind, bool paused);

/* -ENOTTY without a terminal. */
must_check int command_resize(struct command *c, uint16_t rows, uint16_t cols);

/* Send a signal to its process, or to its process group. -ESRCH: it is over. */
must_check int command_signal(struct commands *t, struct command *c, int signal, bool group);

/*
 * Kill it and all that came from it (see exec/kin.h for what may escape).
 * Its end is told by `ended` as usual. One that is STARTING is killed once it runs.
 */
must_check int command_kill(struct commands *t, struct command *c, struct err *e);

/* checkpoints */

/*
 * The handles at one instant. Descriptors in it are -1; stream.is_open, dev,
 * ino, is_tty and tty_number say which ends a rollback has to make anew:
 * stdout and stderr: the keeper reads, the guest writes; stdin: the other way;
 * a terminal: STREAM_STDOUT is the master, the other two are not open.
 */
struct commands_saved {
	struct vec commands; /* struct command *, by id */
	uint64_t next_id;
};

/*
 * Take in all that is in the pipes now, and init's messages. Call it while
 * the guest is frozen, after the tree was looked at. No event is told before
 * the next dispatch, which commands_fd() will ask for.
 */
void commands_drain(struct commands *t);

/*
 * A command's process may have been reaped before the look without init having
 * said so yet. For each RUNNING command whose pid is_there() denies, wait for
 * init, which must not be frozen, to tell its end. -ETIMEDOUT: it did not.
 */
must_check int commands_settle(struct commands *t, bool (*is_there)(void *ctx, pid_t pid),
			       void *ctx, struct err *e);

/*
 * After commands_drain(); handles that did not change since the last one are
 * shared with it. -EBUSY while one is STARTING.
 */
must_check int commands_save(struct commands *t, struct commands_saved *out, struct err *e);
void commands_saved_deinit(struct commands_saved *s);

/* A new outer end for a handle that is alive in the saved state. */
struct command_end {
	uint64_t id;
	enum stream_kind stream;
	int fd; /* taken over on success; -1: nobody inside has
		 * the other end any more */
};

/*
 * Bring the table to the saved state after a rollback: alive handles get their
 * ends (an open stream without one: -EINVAL), their logs go back, younger ones
 * become ROLLED_BACK. All or nothing. Attach the new init first. Terminals of
 * the past are closed a moment later: kill their processes right after this.
 */
must_check int commands_restore(struct commands *t, const struct commands_saved *s,
				const struct command_end *ends, size_t n_ends, struct err *e);

/*
 * The same for the keeper of a fork: a new table that has the saved handles,
 * with the same ids.
 */
must_check int commands_fork(struct commands **out, const struct commands_events *events,
			     const struct commands_saved *s, const struct command_end *ends,
			     size_t n_ends, struct err *e);
