/* pid1.h - PID 1's program; within restore/ only. */
#pragma once

#include "restore/build.h"

/* Write it and the tree's. The mounts must be prepared. */
must_check int pid1_write(struct build *b, struct err *e);

/* The descriptors it expects, at most PUP_FDS_MAX - 2. */
size_t pid1_fds(struct build *b, int *fds);
