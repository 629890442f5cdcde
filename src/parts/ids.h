/* ids.h - sessions and groups whose leader is gone. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "parts/image.h"

/*
 * Append a ghost for every session and group of the image without a leader.
 * A member of a session whose leader is gone must be PID 1's child, or its
 * parent's session be the same: else -ENOTSUP.
 */
must_check int ids_add_ghosts(struct tree_image *im, struct err *e);
