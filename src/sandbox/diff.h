/*
 * diff.h - which files two states of a sandbox differ in.
 *
 * Both states are looked at through the kernel's own merged view of their
 * layers, but only at the paths that some layer not common to both touches:
 * right for siblings as for ancestors, and the cost is that of the change.
 */
#pragma once

#include "base/vec.h"
#include "sandbox/fs.h"

struct diff_file {
	char *path;          /* absolute, as the sandbox sees it */
	char change;         /* A added, M modified, D deleted, T type */
	uint64_t size_bytes; /* after; of a deleted one: before */
	uint32_t mode;       /* the same, with the type bits */
};

/*
 * What changes from a to b: a vector of struct diff_file sorted by path.
 * M: contents, symlink text, device number, mode or owner differ; times alone
 * do not count.
 */
must_check int diff_snapshots(const struct fs_snapshot *a, const struct fs_snapshot *b,
			      struct vec *files, struct err *e);

/* The same from a to what the live uppers hold now. */
must_check int diff_live(const struct fs_snapshot *a, const struct fs_tree *t, struct vec *files,
			 struct err *e);
void diff_deinit(struct vec *files);
