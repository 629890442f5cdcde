/*
 * remote.h - run a puppet program inside a stopped live process.
 *
 *	scoped_remote struct remote r = REMOTE_INIT;
 *	remote_begin(&r, frozen, i, &puppet, arena_bytes, &e);
 *	... build a program in r.arena ...
 *	remote_run(&r, prog_seal(&p), &e);
 *	... read results from r.arena ...
 *	remote_end(&r, &e);
 *
 * The first thread plays the puppet, which uses no vector registers. Its
 * registers and signal mask come back exactly at the end, the mapping goes;
 * nothing else of the process is touched that the program does not touch.
 * Programs must not sleep: a call that the kernel restarts through its restart block (nanosleep,
 * poll, timed futex) would overwrite the block of the call that the thread was
 * stopped in.
 *
 * Everything is in one mapping, at a fixed place that no guest mapping may
 * overlap:
 *
 *	PUP_ARENA	blob's text		(not where a restore left one at
 *			blob's data		 PUP_LOW that is still ours)
 *			stack
 *	r.arena.remote	arena: struct pup_status first
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "puppet/prog.h"
#include "task/freeze.h"

/* What restored processes of this sandbox have in common. */
struct remote_puppet {
	dev_t dev;		/* memfd of the blob that they map at PUP_LOW; */
	ino_t ino;		/* 0: there is none */
	int own_filters;	/* seccomp filters that our sandbox installs and
				 * that allow all the puppet calls */
};

struct remote {
	struct frozen *frozen;	/* NULL: not begun */
	size_t proc;
	size_t thread;			/* index of the one that plays now */
	pid_t tid;
	struct prog_arena arena;
	uint64_t syscall_address;	/* of a syscall instruction in it */
	uint64_t map_start, map_bytes;	/* 0: not mapped */
	uint64_t entry, stack_top;
	int own_filters;		/* as in remote_puppet */
	uint64_t sigmask;		/* to put back */
	bool masked, suspended, moved;	/* what there is to undo */
	bool displaced;			/* left the stop that it was found at */
	bool trap_ignored;		/* SIGTRAP was, and is to be again */
	bool resident;			/* the blob of a restore was used */
	bool gone;			/* it was killed meanwhile */
};

#define REMOTE_INIT ((struct remote){ .arena.memfd = -1 })

/*
 * Prepare process i of f. Refuses, before anything is touched in it:
 *  EPERM   a seccomp filter of its own and we are not real root
 *  EBUSY   its memory is shared with another process; or it stands at a
 *          signal in a way that we could not give back: thaw and try again
 *  ENOTSUP 32-bit code, a dead leader, no system call instruction
 *  EEXIST  it has mapped something in the puppet's range
 * One remote of a process at a time.
 */
must_check int remote_begin(struct remote *r, struct frozen *f, size_t i,
			    const struct remote_puppet *puppet,
			    size_t arena_bytes, struct err *e);

/*
 * Copy the used part of the arena in, run the program, copy it back. A program
 * that failed is no error here: the caller looks at prog_status().
 */
must_check int remote_run(struct remote *r, uint64_t program, struct err *e);

/*
 * The same in thread k of the process, for what only a thread can tell of
 * itself. Its registers and mask are put back at once. Refuses a thread with
 * a seccomp filter of its own as remote_begin() does.
 */
must_check int remote_run_thread(struct remote *r, size_t k, uint64_t program,
				 struct err *e);

/* Run one system call, without a blob. *result is its return value. */
must_check int remote_syscall(struct remote *r, long nr, const uint64_t arg[6],
			      int64_t *result, struct err *e);

/* Address of a page that was mapped for it there and that nothing has touched. */
uint64_t remote_untouched_page(const struct remote *r);

/* Undo all of begin. Always frees; an error tells what could not be undone. */
must_check int remote_end(struct remote *r, struct err *e);

/* remote_end() for paths that have failed already. */
void remote_abort(struct remote *r);

#define scoped_remote scoped(remote_abort)
