/* tools.h - what the keeper program does without being a keeper. */
#pragma once

#include <stdbool.h>

#include "sandbox/limits.h"

/*
 * Remove what dead keepers left: runtime directories, cgroups, the records of
 * families of which nobody lives, layers that nothing names. Exit code.
 */
int tool_gc(bool json);

/* Look at this machine feature by feature. Exit code: 0 if sandboxes work. */
int tool_doctor(bool json);
