/* locked.h - what limits.c must know of locked memory. */
#pragma once

#include "parts/image.h"

/* Whether RLIMIT_MEMLOCK is set with the locks, not with the other limits. */
bool locked_limits_later(const struct image_proc *p);
