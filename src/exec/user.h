/*
 * user.h - names of users and groups, as the sandbox's own files have them.
 *
 * The keeper reads /etc/passwd and /etc/group inside the sandbox's root. Both
 * are the guest's: no path leads out of the root, nothing but a regular file
 * is read, and no more of it than USER_FILE_MAX.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"

enum {
	USER_FILE_MAX = 4 << 20,
	USER_NAME_BYTES = 64,
	USER_PATH_BYTES = 256,
	USER_GROUPS_MAX = 256,
};

struct user_account {
	uint32_t uid;
	uint32_t gid;
	uint32_t groups[USER_GROUPS_MAX]; /* supplementary, without gid */
	uint32_t n_groups;
	char name[USER_NAME_BYTES];  /* "" if the uid has none */
	char home[USER_PATH_BYTES];  /* "/" if it has none */
	char shell[USER_PATH_BYTES]; /* "/bin/sh" if it has none */
};

/*
 * Resolve "NAME", "UID", "NAME:GROUP", "UID:GID" (NULL or "": uid 0) below
 * root_fd. A number needs no entry; a name that has none is -ENOENT.
 */
must_check int user_resolve(int root_fd, const char *text, struct user_account *out, struct err *e);

/*
 * Append to env (char *, heap) what a login sets and env does not have yet:
 * PATH, HOME, USER, LOGNAME, SHELL. 0 or -ENOMEM.
 */
must_check int user_env(const struct user_account *u, struct vec *env);
