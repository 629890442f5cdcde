/*
 * mapcopy.h - copies of privately mapped files that may still change.
 *
 * A template must show what the file had at the checkpoint. The files of a
 * frozen layer do, and what lies outside of the sandbox is as it is today; a
 * file of a memory file system, or one without a name, goes on with the live
 * processes. Of these the template maps a copy, a memfd that is sealed.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

/*
 * May the contents of the file change, as long as the sandbox lives? 1, 0, or
 * -errno. in_memory: it lies in a memory file system of the sandbox.
 * -EOPNOTSUPP: it may, and cannot be copied.
 */
must_check int mapcopy_is_needed(int fd, bool in_memory);

/* A sealed memfd with the contents of the file, named after it. */
must_check int mapcopy_make(int fd, const char *name);

/* Whether a copy has the contents that the file has now: 1, 0, -errno. */
must_check int mapcopy_is_current(int fd, int copy_fd);
