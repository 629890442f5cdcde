/*
 * child.h - a child of the keeper that works while the keeper serves.
 *
 * It has everything as memory, dies with the keeper, and holds only the
 * descriptors that it works with: others wait for the end of the rest.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"
#include "base/vec.h"

/* At once after the fork: it ends when the keeper does. name: what `ps` says. */
void child_begin(pid_t keeper, const char *name);

/* Close all but these (int; sorted here) and the standard ones. */
must_check int child_keep_only(struct vec *fds);
