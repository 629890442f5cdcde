/* mounts_internal.h - what the three files of mounts share. */
#pragma once

#include "sandbox/mounts.h"

#define RUN_POINT "run/mulligan"

/* A volume or tmpfs, in the order in which they are mounted. */
struct place {
	char *dst;
	char *src; /* NULL: tmpfs */
	enum volume_mode mode;
	size_t cow_index; /* VOLUME_COW: its place in mounts_run.cow_fds */
	bool file;        /* the source is no directory */
	int parent;       /* index of the place it lies in; -1: the root */
};

/* Something of /proc or /sys that is hidden. */
struct mask {
	const char *path;
	bool dir;
};

struct mounts {
	char *scratch;
	int scratch_fd;       /* root of the tmpfs that was made there */
	bool at_rest;         /* it was moved off scratch */
	struct vec places;    /* struct place, outer before inner */
	struct vec points;    /* char *, see mounts_points() */
	struct vec masks;     /* struct mask: those that exist here */
	struct vec read_only; /* const char *: of /proc, that exist here */
	bool own_net;         /* a network namespace for each incarnation */
	bool bind_sys;        /* /sys cannot be mounted: bind the host's */
	bool read_only_root;
	bool tty_group;       /* gid 5 exists here */
	uint64_t tmpfs_bytes; /* size of /dev/shm and of each tmpfs */
};

/*
 * Positions in mounts_set.fds; the volumes follow in the order of places,
 * then the host's /sys.
 */
enum {
	SET_ROOT,
	SET_DEV,
	SET_RUN, /* /run/mulligan */
	SET_PLACES,
};

/* Fill places, points, masks and read_only. */
must_check int mounts_plan(struct mounts *m, const struct spec *spec, struct err *e);
void mounts_plan_deinit(struct mounts *m);

/*
 * See to it that place p, which lies in another volume, has its mount point
 * there: made in a cow volume, demanded in others. parent_fd is that volume.
 */
must_check int mounts_make_nested(const struct mounts *m, const struct place *p, int parent_fd,
				  struct err *e);
