/*
 * pipe.h - pipes and memory that travels as a descriptor, close-on-exec.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

/* ends[0] reads what ends[1] writes; both block. 0 or -errno. */
must_check int sys_pipe(int ends[2]);

/* A memfd that holds these bytes, its position at 0. Descriptor or -errno. */
must_check int sys_memfd_with(const char *name, const void *bytes, size_t len);
