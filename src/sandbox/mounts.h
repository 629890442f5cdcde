/*
 * mounts.h - what a new incarnation mounts, and the program that mounts it.
 *
 *	mounts_new()		once a keeper: a scratch tmpfs in its own mount
 *				namespace with /dev ready made
 *	mounts_prepare()	once an incarnation: detached mounts to pass
 *	mounts_emit()		the program that PID 1 runs with them
 *	mounts_set_deinit()	close them
 *
 * The program only mounts; it creates nothing in the root, so that the upper
 * of a fresh overlay stays clean. Missing mount points are made by
 * mounts_make_points(), best in the base, before there is an overlay.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "puppet/prog.h"
#include "sandbox/spec.h"

struct mounts;

/*
 * Make what all incarnations of this keeper share: a small tmpfs in its
 * private mount namespace, built on scratch, an empty directory of the
 * keeper's own (absolute path), and then moved out of the way. Keeps a copy of
 * what it needs of spec. A forked keeper in the same mount namespace may go on
 * with it, whichever of the two frees it or ends first.
 */
must_check int mounts_new(const struct spec *spec, const char *scratch, struct mounts **out,
			  struct err *e);
void mounts_free(struct mounts *m);

/*
 * Create the mount points that are missing below root_fd (a directory that is
 * to be a base or a layer, or a detached overlay): directories, or an empty
 * file for a volume that is a file. Symlinks inside are followed inside.
 * Returns how many it made.
 */
must_check int mounts_make_points(const struct mounts *m, int root_fd, struct err *e);

/*
 * Where mounts are attached directly on the root, in order, as paths without
 * the leading slash: proc, sys, dev, run/mulligan, tmpfs and volumes. What
 * lies below one of them moves with it. Element type: char *.
 */
const struct vec *mounts_points(const struct mounts *m);

enum { MOUNTS_FDS_MAX = 4 + SPEC_VOLUMES_MAX };

/* What one incarnation is to be. Everything is borrowed. */
struct mounts_run {
	int root_fd;        /* detached root overlay */
	const int *cow_fds; /* detached overlays of the cow volumes, in the
			     * order in which they stand in the spec */
	size_t n_cow;
	uint64_t generation; /* for /run/mulligan/generation */
	const char *hostname;
	pid_t last_pid;       /* cursor of the PID namespace; 0: leave it */
	unsigned int pid_max; /* of the PID namespace; 0: leave it */
};

/* Descriptors to pass to PID 1, in this order. */
struct mounts_set {
	int fds[MOUNTS_FDS_MAX];
	size_t n;
	bool owned[MOUNTS_FDS_MAX]; /* ours to close; overlays are borrowed */
	const char *hostname;
	pid_t last_pid;
	unsigned int pid_max;
};

#define MOUNTS_SET_INIT ((struct mounts_set){.n = 0})

must_check int mounts_prepare(struct mounts *m, const struct mounts_run *run,
			      struct mounts_set *out, struct err *e);
void mounts_set_deinit(struct mounts_set *s);

/*
 * Append PID 1's program: slots first_slot.. hold the descriptors of set; it
 * closes them. p->next_slot lies behind them. It needs all capabilities in the user namespace that
 * owns its new mount, PID, IPC, UTS and (NET_NONE) network namespaces. It also sets the PID cursor
 * and pid_max, the hostname, and brings loopback up. When it is done, root and working directory
 * are the sandbox's root and nothing of the host is reachable by path.
 */
void mounts_emit(struct prog *p, const struct mounts *m, const struct mounts_set *set,
		 unsigned int first_slot);
