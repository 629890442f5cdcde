/*
 * swap.h - exchange overlays for others inside a live mount namespace.
 *
 *	root	attach the new one over "/", move what is mounted in the old
 *		one, pivot_root: the old one is left on top of the new "/",
 *		where no path leads (a task's root is never looked through)
 *	volume	park the old one in that same place, attach the new one, move
 *		what is mounted in the old one
 *
 * Nothing is lost that way, so it can be taken back, until swap_settle()
 * unmounts what is parked. All processes of the namespace must be frozen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"

struct swap_mount {
	const char *target; /* "/" or a path; borrowed */
	int old_fd;         /* root of the overlay that is attached */
	uint64_t old_id;
	int new_fd; /* detached one that takes its place */
	uint64_t new_id;
	/* progress, for taking back */
	bool parked;
	bool attached;
	bool pivoted;
	struct vec moved; /* char *: submounts moved, relative paths */
};

struct swap {
	int root_fd;       /* of the sandbox's root mount; borrowed */
	struct vec mounts; /* struct swap_mount, the root first if it is one */
};

/* root_fd: a descriptor of the root overlay that is attached now. */
void swap_init(struct swap *s, int root_fd);
void swap_deinit(struct swap *s);

/* Add a pair. NULL: no memory. */
struct swap_mount *swap_add(struct swap *s, const char *target, int old_fd, uint64_t old_id,
			    int new_fd, uint64_t new_id);

/*
 * Exchange them all in the namespace mntns_fd. On failure everything is as it
 * was, but the new mounts may have been detached for good; e->broken: not even
 * that. -EBUSY: a bind mount of an old overlay, which cannot be exchanged.
 */
must_check int swap_run(struct swap *s, int mntns_fd, struct err *e);

/* Take a swap_run() back. The new mounts are detached for good. */
must_check int swap_undo(struct swap *s, int mntns_fd, struct err *e);

/* Unmount the old overlays. They live while descriptors are open on them. */
must_check int swap_settle(struct swap *s, int mntns_fd, struct err *e);
