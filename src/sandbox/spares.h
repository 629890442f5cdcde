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
 * A mount that was attached dies with its namespace; so each overlay is
 * mounted twice, and the second one is never attached (Linux 6.15; before
 * that nothing is kept).
 */
#pragma once

#include "sandbox/fs.h"

struct fs_spares {
	struct store *store;	/* borrowed */
	struct vec mounts;	/* struct fs_mount, oldest first */
};

void fs_spares_init(struct fs_spares *s, struct store *store);

/* Drop all, from disk too: layers that are to be removed may be in them. */
void fs_spares_clear(struct fs_spares *s);

/* After fork(): the spares are the parent's. */
void fs_spares_abandon(struct fs_spares *s);

/*
 * Fill m, which has its target, source and layers, from a spare with the same
 * ones. false: there is none, m is as it was.
 */
bool fs_spares_take(struct fs_spares *s, struct fs_mount *m);

/*
 * Keep what the tree's mounts leave unchanged. No process of the incarnation
 * may live any more. The tree can only be freed after this.
 */
void fs_tree_recycle(struct fs_tree *t);
