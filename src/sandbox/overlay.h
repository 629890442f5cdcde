/*
 * overlay.h - one overlay file system, mounted nowhere yet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	/*
	 * OVL_MAX_STACK is 500 lowers. A prepared overlay has one more than
	 * the live one, and merging needs room to work in.
	 */
	OVERLAY_LOWERS_MAX = 480,
};

/* How layers are named to the kernel; a test can ask for one of them. */
enum overlay_method {
	OVERLAY_ANY,      /* the best that works */
	OVERLAY_BY_FD,    /* lowerdir+ by descriptor, Linux 6.13 */
	OVERLAY_BY_PATH,  /* lowerdir+ by path, Linux 6.5 */
	OVERLAY_BY_MOUNT, /* one option string, mount(2) */
};

struct overlay {
	const int *lower_fds; /* newest first */
	size_t n_lowers;
	int upper_fd; /* -1: read-only, at least two lowers */
	int work_fd;
	int scratch_fd; /* a directory where OVERLAY_BY_MOUNT may make
			 * a mount point for a moment; -1: not allowed */
	bool userxattr; /* in a user namespace: no trusted.* */
	enum overlay_method method;
};

/*
 * A detached mount of the overlay, nodev. All descriptors must have been
 * opened in this mount namespace: the kernel refuses others with EINVAL and
 * no word. Returns its descriptor, or -errno with the kernel's own message in
 * the cause; -E2BIG beyond OVERLAY_LOWERS_MAX, -EEXIST for a layer named twice.
 */
must_check int overlay_build(const struct overlay *o, struct err *e);

/* "trusted.overlay." or "user.overlay.": the kernel's marks in a layer. */
const char *overlay_xattr_prefix(bool userxattr);

/*
 * 1: this directory of a layer hides what lies below the layer, or stands for
 * another one there. 0: it merges with what has its name.
 */
must_check int overlay_dir_replaces(int dir_fd, const char *prefix);
