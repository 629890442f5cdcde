/*
 * merging.h - merge the older layers of a long chain, in a child process.
 *
 *	merging_begin()		fork: the child copies and reports
 *	  (the child ends)	every stack that has the run gets the merged layer,
 *				manifests are written again
 *
 * A child, because copying files takes as long as it takes, and the keeper must
 * not wait: one call on a busy disk can block for longer than a checkpoint.
 * The child works on what nobody else has, a new layer; it dies with the keeper.
 * It does not sync: beside a checkpoint that would hold up the cut, which
 * waits for the same journal. The commit of manifests that name it does.
 */
#pragma once

#include "keeper/box.h"

/*
 * Begin to merge, if a stack of what lives is too long and no merge is under
 * way; a piece of background work: true if it did something. After a failure
 * it waits until the stack has grown by as much as is merged at a time.
 */
bool merging_begin(struct box *b);

/*
 * Before a checkpoint: where the stacks are so long that the next ones might
 * be refused, wait for the merge. Merges are far slower than checkpoints only
 * on a machine that is busy with other things.
 */
void merging_catch_up(struct box *b);

/* Kill the child and forget what it made. Nothing under way: nothing. */
void merging_end(struct box *b);

/* In the keeper of a fork: it is the parent's. */
void merging_abandon(struct box *b);
