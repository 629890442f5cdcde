/*
 * carry.h - take live files across a cut with their inodes.
 *
 * A file with several names, or one that keep.h cannot help, lies in the upper
 * that is being frozen. The frozen layer gets a copy of it, and the inode goes
 * on in the new upper: then old descriptors, mappings and new opens share one.
 *
 *	copy into new/p			reflink, else data ranges
 *	rename(frozen/p <-> new/p)	RENAME_EXCHANGE: never a hole
 *
 * All processes must be frozen, and nothing may have looked into the new
 * overlay yet. Every step is recorded, so that it can be taken back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"
#include "sandbox/scan.h"
#include "store/layer.h"

/* A file that processes hold: a path of one overlay. */
struct carry_want {
	size_t mount;     /* index in fs_tree */
	const char *path; /* relative to that mount's root */
	int tag;          /* the caller's own */
	bool moved;       /* out: it goes on as another inode, see keep.h */
};

/* A file that kept its number: keep.h. */
struct keep_file {
	char *path;
	uint64_t ino; /* as the overlay shows it */
	int pin_fd;   /* O_PATH, holds the number in the kernel; -1: nothing does */
	bool aside;   /* its contents lie in the frozen layer's aside tree */
};

/* An entry of the new upper as it was left: what fs_mount_is_clean() compares. */
struct carry_seen {
	char *path; /* "." is the root itself */
	uint64_t ino;
	int64_t ctime_s;
	uint32_t ctime_ns;
	size_t entries; /* of a directory */
};

enum {
	/*
	 * Names of files with several of them that one layer may have: each
	 * is carried at every cut, ~60 us with reflinks.
	 */
	CARRY_LINK_NAMES_MAX = 10000,
};

/* The carrying of one mount. */
struct carry {
	int from_fd;           /* frozen upper's fs */
	int to_fd;             /* new upper's fs */
	const char *prefix;    /* of the overlay's own attributes */
	struct vec steps;      /* struct carry_step, for carry_undo() */
	struct vec inodes;     /* uint64_t: carried, and the copies */
	struct vec dirs;       /* struct carry_dir: touched, with their times */
	struct vec links;      /* struct carry_links found in from_fd */
	struct vec kept;       /* struct keep_file */
	const struct layer *from; /* that from_fd is of; its aside tree: */
	int aside_fd;          /* -1: not opened yet */
	uint64_t copied_bytes; /* not reflinked */
	size_t files;
	size_t reflinked;
	bool held; /* a file that processes hold lies in the upper */
};

/* from: the frozen layer, or NULL; prefix: overlay_xattr_prefix(). */
void carry_init(struct carry *c, const struct layer *from, int to_fd, const char *prefix);
void carry_deinit(struct carry *c);

/*
 * Carry all files that have several names: a copy-up of one of them would
 * part it from the others. scan: of the frozen upper, brought up to date here;
 * cheap where it was before the freeze. Must come before the first
 * carry_file(). On failure what it did is taken back.
 */
must_check int carry_links(struct carry *c, struct scan *scan, struct err *e);

/*
 * Carry the file at path. 0: carried, or nothing to do (it is not in the
 * frozen upper, or not a regular file, or was carried). On failure what this
 * call did is taken back.
 */
must_check int carry_file(struct carry *c, const char *path, struct err *e);

/* Give all touched directories, on both sides, the times they had. */
must_check int carry_finish(struct carry *c, struct err *e);

/* Everything back as it was before the first step. */
must_check int carry_undo(struct carry *c, struct err *e);

/* What keep_raise() kept. */
void keep_files_deinit(struct vec *files);

/* What lies in the new upper now: struct carry_seen, the root first. */
must_check int carry_record(const struct carry *c, struct vec *seen, struct err *e);
void carry_seen_deinit(struct vec *seen);

/*
 * Is it still as it was recorded? ctime alone does not say: tmpfs' link()
 * gives a directory a time that may have been there before.
 */
bool carry_seen_holds(const struct carry_seen *s, int fs_fd);

/*
 * Find the files with several names in a layer: a vector of struct
 * carry_links. Reads the whole layer, 4 us an entry.
 */
must_check int carry_find_links(int fs_fd, struct vec *groups, struct err *e);
must_check int carry_links_copy(struct vec *dst, const struct vec *src);
void carry_links_deinit(struct vec *groups);

/*
 * Copy those groups from the frozen layer from_fd into the new upper before
 * its overlay is built, so that they stay groups when they are written to.
 */
must_check int carry_rebuild(struct carry *c, const struct vec *groups, struct err *e);

/*
 * Make to_fd's owner, mode, extended attributes and times those of from_fd;
 * both directories or regular files, opened for reading. Attributes whose
 * names begin with skip_prefix (NULL: none) are left alone. What is equal is
 * not written, so that the ctime stays.
 */
must_check int carry_attributes(int to_fd, int from_fd, const char *skip_prefix);
