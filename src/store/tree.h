/*
 * tree.h - remove and walk trees of files that a hostile guest made.
 *
 * Names, depth, modes and inode flags are the guest's choice: nothing here
 * recurses with the depth of the tree on the stack, follows a symbolic link
 * or trusts a mode.
 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/cleanup.h"

/*
 * Remove `name` in dir_fd and all below it. Other mounts are not entered
 * (-EBUSY). Nothing there is not an error. A guest that was killed may still
 * write in it until it is gone: -ENOTEMPTY after 5 s of that. Needs the
 * credentials that own the files: a rootless guest's are removed in its user
 * namespace.
 */
must_check int tree_remove(int dir_fd, const char *name);

struct tree_entry {
	int dir_fd;            /* the directory it is in */
	const char *name;      /* in it */
	const char *path;      /* relative to where the walk began */
	const struct stat *st; /* not followed */
};

/*
 * Call visit for every entry below root_fd, a directory before its contents.
 * visit: 0 goes on, 1 does not enter this directory, negative stops. Other
 * mounts are not entered.
 * -ENAMETOOLONG where a path is longer than the kernel takes (PATH_MAX).
 */
must_check int tree_walk(int root_fd, int (*visit)(void *ctx, const struct tree_entry *entry),
			 void *ctx);
