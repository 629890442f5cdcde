/*
 * merge.h - one layer that stands for several.
 *
 *	newest	   +------+
 *		   |  L8  |	     +-----+
 *	 run	   |  ..  |  ----->  |  M  |	the same files over what lies below
 *		   |  L1  |	     +-----+
 *	below	   |  ..  |	     | ..  |
 *		   | base |	     | base|
 *
 * The layers of the run are read as the kernel reads them (merge_look.c) and
 * never written: whoever still needs one of them, a checkpoint in the middle of
 * the run, keeps it. What M has is copied, by reflink where the file system
 * can: a hard link would show in st_nlink, and would change st_ino of what a
 * running program has open (docs/decisions says how).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

struct merge_stats {
	uint64_t files;        /* not directories */
	uint64_t dirs;
	uint64_t whiteouts;
	uint64_t reflinked;
	uint64_t copied_bytes; /* of disk, of files that were not reflinked */
};

struct merge {
	const int *fs_fds;  /* of the run, newest first; sealed layers */
	size_t n;
	int to_fd;          /* fs of the new layer: empty */
	int below_fd;       /* merged view of what lies below, -1: not known */
	bool userxattr;     /* in a user namespace: no redirects */
	uint64_t bytes_max; /* that may be copied without reflink */
	struct merge_stats stats; /* out */
};

/*
 * Fill the new layer. Takes as long as its files are many: for a child
 * process. On failure to_fd holds a part of it, which the caller removes.
 * ENOSPC: the disk is full, or more than bytes_max would be copied.
 */
must_check int merge_layers(struct merge *m, struct err *e);
