/* ids.h - sessions and groups whose leader is gone. */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "parts/image.h"

/*
 * Append a ghost for every session and group of the image without a leader,
 * and one that makes who is of a session without being a child of it. Such a
 * process must be PID 1's child: else -ENOTSUP.
 */
must_check int ids_add_ghosts(struct tree_image *im, struct err *e);

/*
 * Would p, if it adopts the orphans below it (PR_SET_CHILD_SUBREAPER), adopt
 * in a new tree those that PID 1 had adopted before?
 */
bool ids_would_adopt(const struct tree_image *im, const struct image_proc *p);
