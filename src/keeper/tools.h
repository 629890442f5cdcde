/* tools.h - what the keeper program does without being a keeper. */
#pragma once

#include <stdbool.h>

#include "sandbox/limits.h"

/*
 * Remove what dead keepers left: runtime directories, cgroups, layers that
 * nothing names. The files of checkpoints are kept; those of the dead sandboxes
 * in names, or of all of them, are deleted, too, and single checkpoints of them
 * (NAME@CKPT). Exit code.
 */
int tool_gc(bool json, bool all, char *const names[]);

/*
 * Print as JSON the dead sandboxes of which files are kept; with a name, all
 * that is known of that one. Exit code.
 */
int tool_lost(const char *name);

/* Look at this machine feature by feature. Exit code: 0 if sandboxes work. */
int tool_doctor(bool json);
