/* unlinked.h - copies of files by their data ranges. */
#pragma once

#include "base/cleanup.h"

/* Copy the data ranges of a file and its length; holes stay. 0 or -errno. */
must_check int unlinked_copy(int from, int to);
