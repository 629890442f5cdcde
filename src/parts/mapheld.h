/*
 * mapheld.h - private mappings of files that are open.
 *
 * Such a file goes on as another inode after a cut (sandbox/keep.h), and comes
 * back as the file of the new overlay: what is written to it, and where it
 * grows, must be seen in private mappings, too. Those that nobody has written
 * to are mapped anew, like shared ones; they need no place in a template.
 */
#pragma once

#include "parts/part.h"

/* After all descriptors and mappings were looked at. */
must_check int mapheld_find(struct look *l, struct err *e);
