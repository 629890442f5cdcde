/* carry_internal.h - the steps that carry.c and keep.c take and take back. */
#pragma once

#include "sandbox/carry.h"

enum step_kind {
	STEP_MKDIR,      /* to/path is a directory of ours */
	STEP_ADD,        /* to/path is a name of a copy */
	STEP_EXCHANGE,   /* from/path and to/path changed places */
	STEP_ASIDE_ROOT, /* the aside tree of the frozen layer exists */
	STEP_ASIDE_DIR,  /* aside/path is a directory */
	STEP_ASIDE,      /* from/path went to aside/path */
	STEP_RAISE,      /* to/path was copied up, or soon will be */
};

struct carry_step {
	enum step_kind kind;
	char *path;
};

struct carry_dir {
	char *path;
	struct timespec times[2];
};

/* err_set() "cannot carry path", with a remedy. Returns r. */
int carry_refuse(int r, const char *path, struct err *e);

/*
 * Record a step and do it; link_to: of STEP_ADD, may be NULL. One that cannot
 * be recorded is not done, one that cannot be done is not recorded.
 */
must_check int carry_do_step(struct carry *c, enum step_kind kind, const char *path,
			     const char *link_to);

/* All directories above path exist in to/, outermost first; their times are kept. */
must_check int carry_touch_parents(struct carry *c, const char *path);

/* This inode was carried, or is the copy of one. */
bool carry_inode_done(const struct carry *c, uint64_t ino);
