/*
 * spares.h - overlays that are used again.
 *
 * Making an overlay costs a dozen new inodes, and its end as many deletions;
 * most incarnations write nothing to /usr or /opt, and many nothing at all.
 * Such an overlay is as it was made. It is kept under the stack of layers
 * that it shows, and the next incarnation over the same stack takes it.
 *
 *	fs_tree_new()  --> in use --> fs_tree_recycle() --> spare --> in use
 *
 * Of one that was written only the stack is kept: who rolled back to it may do
 * so again, so another overlay like it is made when there is time.
 *
 *	in use --> fs_tree_recycle() --> wanted --> fs_spares_make() --> spare
 *
 * A mount that was attached dies with its namespace; so each overlay is
 * mounted twice, and the second one is never attached (Linux 6.15; before
 * that nothing is kept or made ahead).
 */
#pragma once

#include "sandbox/fs.h"

struct fs_spares {
	struct store *store;	/* borrowed */
	struct vec mounts;	/* struct fs_mount, oldest first */
	struct vec wanted;	/* struct fs_mount without an overlay, oldest first */
	bool cannot;		/* this kernel mounts no detached mount twice */
};

void fs_spares_init(struct fs_spares *s, struct store *store);

/* Drop all, from disk too: layers that are to be removed may be in them. */
void fs_spares_clear(struct fs_spares *s);

/* Drop those that show one of these layers: struct layer *, merged by now. */
void fs_spares_drop_layers(struct fs_spares *s, const struct vec *layers);

/*
 * Make one overlay that is wanted; root as for fs_tree_new(). 1: made, 0: none
 * is wanted, or an error: that one is not wanted any more.
 */
must_check int fs_spares_make(struct fs_spares *s, const char *root, struct err *e);

/* After fork(): the spares are the parent's. */
void fs_spares_abandon(struct fs_spares *s);

/*
 * Fill m, which has its target, source and layers, from a spare with the same
 * ones. false: there is none, m is as it was.
 */
bool fs_spares_take(struct fs_spares *s, struct fs_mount *m);

/*
 * Keep what the tree's mounts leave unchanged, and want the rest. No process of the incarnation
 * may live any more. The tree can only be freed after this.
 */
void fs_tree_recycle(struct fs_tree *t);
