/*
 * chain.h - keep the stacks of layers short.
 *
 * Layers are merged eight at a time, and merged layers again, like the digits
 * of a number: a chain of n checkpoints is a stack of about 8 + 7 log8(n) layers,
 * and every file is copied at most log8(n) times.
 *
 *	newest             oldest
 *	0 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0 0 | 1 1 2	the level of each layer
 *	\____ kept ____/   \_____ run ___/
 *
 * Whatever stack contains the whole run below its newest layer gets the merged
 * layer in its place. A checkpoint in the middle of the run keeps its own layers.
 * A layer whose inodes give held files their numbers (keep.h) is left out, until
 * the stack is three times as long as it should be.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/fs.h"

struct chain_limits {
	size_t most; /* layers: no merge in a shorter stack; 0: never */
	size_t keep; /* newest ones that are left alone */
	size_t run;  /* merged at a time */
};

/*
 * 24, 8, 8: measured, an overlay of up to 32 layers costs nothing.
 * MULLIGAN_MERGE_CHAIN=n makes it n, n/3, n/3, for tests; 0: never.
 */
struct chain_limits chain_limits(void);

/* The layers to merge next in a stack (struct layer *, newest first); false: none. */
bool chain_choose(const struct vec *layers, const struct chain_limits *limits, size_t *from,
		  size_t *n);

/*
 * What lies below layers [0, from) of a mount, as an overlay to look at, or the
 * base itself. scratch_fd: as in struct overlay. Returns a descriptor.
 */
must_check int chain_open_below(const struct fs_mount *m, size_t from, bool userxattr,
				int scratch_fd, struct err *e);

/*
 * Put merged where the run (struct layer *, newest first) is in the stacks of a
 * snapshot; true: it was there. References move along.
 */
bool chain_switch_snapshot(struct fs_snapshot *s, const struct vec *run, struct layer *merged);

/*
 * The same for a tree: from its next cut on. The live overlays stay as they
 * are, and keep their layers until then; what was prepared is dropped. Not
 * while the tree is CUT.
 */
bool chain_switch_tree(struct fs_tree *t, const struct vec *run, struct layer *merged);
