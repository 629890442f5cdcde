/*
 * keep.h - files that processes have open keep their inode numbers, in the
 * live sandbox, after a rollback and in forks.
 *
 * Overlayfs shows the number of the lower file for one that was copied up, as
 * long as the inode is in its memory (tests/kernel/test_overlay_inode.c). So
 * the inode that a program knows stays in the layer being frozen, and the live
 * sandbox goes on with a copy-up of it, which has the same number:
 *
 *	first cut	R stays in the frozen layer;	next overlay: copy of R
 *	later ones	the frozen upper has a copy-up	next overlay: finds R
 *			C of R, which would hide R:	again below, copies it
 *			C goes to layer/aside/		up, filled from C
 *
 * An overlay over the frozen layer finds R too, with contents of an earlier
 * time where C lies aside. So the files of a checkpoint are its layers, with
 * the aside tree of the newest laid over them: fs_tree_new() fills these files
 * anew in the first upper. Older layers' aside trees do not count: the
 * layers above them have the files.
 *
 * Not for files with several names, nor for one that lay under another path
 * when its number was given (renamed since): those are carried, see carry.h.
 * Theirs is another number after a rollback.
 */
#pragma once

#include "sandbox/carry.h"
#include "sandbox/fs.h"

enum {
	/*
	 * Files of one mount whose numbers are held by us; what processes
	 * have open, these hold. Ours are descriptors of the keeper.
	 */
	KEEP_PINS_MAX = 64,
};

/*
 * The file at path is held by processes: put it aside, or carry it. All
 * must be chosen before the first is raised. m: the mount being cut. *moved:
 * it will go on as another inode, that processes must take.
 */
must_check int keep_choose(struct carry *c, const struct fs_mount *m, const char *path,
			   bool *moved, struct err *e);

/* The same for a new tree: all that lies aside in the layer c->from. */
must_check int keep_choose_all(struct carry *c, struct err *e);

/*
 * Mark the layers that have the numbers of files held later, as far as what
 * lies aside in layers opened from the disk tells.
 */
must_check int keep_find_numbers(const struct vec *layers, const char *prefix, struct err *e);

/* Copy all that was chosen up in the next overlay, and fill it. */
must_check int keep_raise(struct carry *c, int overlay_fd, struct err *e);
