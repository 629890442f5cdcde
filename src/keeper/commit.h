/*
 * commit.h - the files of checkpoints go to disk, in a child process.
 *
 *	box_commit_begin()	fork: the child sums up, syncs, writes manifests
 *	  (the child ends)	what it summed up is known; those that failed are
 *				due again
 *
 * A child, because looking through a layer of many files and syncing them take
 * as long as they take, and the keeper must go on to serve. The child works on
 * what is sealed, and takes all checkpoints that are due at once. Until its
 * manifest has its name a checkpoint is the keeper's alone.
 *
 * For everybody else a sandbox lives as long as such a child of it: the child
 * holds its locks, so that nobody collects what is about to get a name.
 */
#pragma once

#include "keeper/box.h"
#include "keeper/conn.h"

/*
 * Begin with those that are due, if no commit is under way; a piece of
 * background work: true if it did something. After a failure it waits.
 */
bool box_commit_begin(struct box *b);

/* Commit all, here and now, as far as that can be done: before the end. */
void box_commit_all(struct box *b);

/* Is this one under way? Then it must not be deleted: see box_commit_await(). */
bool box_commit_has(const struct box *b, const struct node *n);

/* Dispatch the request once more when the commit under way has ended. */
must_check int box_commit_await(struct box *b, struct request *rq, struct err *e);

/* Kill the child; all is due again. Nothing under way: nothing. */
void box_commit_end(struct box *b);

/* In the keeper of a fork: it is the parent's. Here all is due again. */
void box_commit_abandon(struct box *b);
