/* named.h - does a name still lead to what is open? */
#pragma once

#include "parts/part.h"

/*
 * What /proc/PID/fd/N reads as, `link`, of a file, directory or FIFO: true
 * when no name leads to it any more. *other (allocated, may be NULL) is a name
 * that does where the one in `link` was removed. -ENOTSUP: there may be other
 * names, that cannot be found.
 */
must_check int named_is_gone(const struct look *l, const struct procfs_fd *fd, const char *link,
			     char **other);
