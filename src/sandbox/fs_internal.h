/* fs_internal.h - what fs.c, cut.c and snapshot.c share of struct fs_tree. */
#pragma once

#include "base/clock.h"
#include "sandbox/fs.h"

/* err_set() "cannot <what> '<target>': <errno>", with a remedy. Returns r. */
int fs_fail(struct err *e, int r, const char *what, const char *target);

/* Vectors of struct layer *: references come and go with them. */
must_check int fs_layers_copy(struct vec *dst, const struct vec *src);
void fs_layers_deinit(struct vec *layers);

/* Make and drop the next upper and overlay of one mount. */
must_check int fs_mount_prepare(struct fs_tree *t, struct fs_mount *m, struct err *e);
void fs_mount_unprepare(struct fs_tree *t, struct fs_mount *m);

/*
 * m has target, source, layers and links: a fresh overlay, live, over them,
 * and with t->spares the mount to be used again. root as for fs_tree_new().
 */
must_check int fs_mount_make(struct fs_tree *t, struct fs_mount *m, const char *root,
			     struct err *e);

/*
 * *to: what fs_mount_make() takes, as m has it. -ENOMEM: to be freed all the
 * same.
 */
must_check int fs_mount_like(struct fs_mount *to, const struct fs_mount *m);

/* Mount the overlay of m a second time, to be used again: m->keep_fd. */
void fs_mount_keep(struct fs_mount *m);

/* Free m; its upper is removed from disk where no snapshot has it. */
void fs_mount_deinit(struct store *store, struct fs_mount *m);

/* Drop the references to layers alone: fs_mount_deinit() removes no files. */
void fs_mount_abandon(struct fs_mount *m);

/*
 * m->seen becomes *seen (taken); m->upper is the layer it was seen in. held:
 * processes hold files there, and may write to them without a trace.
 */
void fs_mount_take_seen(struct fs_mount *m, struct vec *seen, bool held);

/* *fd: the skin of a volume over the base `root`, -1: it has none. */
must_check int fs_open_skin(const char *root, const char *target, int *fd);

void fs_undo_free(struct fs_undo *u);
