/* names.h - all names of files in a layer. */
#pragma once

#include "base/cleanup.h"

/*
 * Call visit with the path, relative to the layer, of everything in it that is
 * no directory and no whiteout, until it returns other than 0: that, 0 at the
 * end, or -errno. Takes some microseconds for each.
 */
must_check int names_each(int fs_fd, int (*visit)(void *ctx, const char *path), void *ctx);
