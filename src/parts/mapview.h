/*
 * mapview.h - which of an overlay's files a private mapping shows.
 *
 * A mapping stays with the file that it was made of. When a file of a lower
 * layer is written to, the overlay copies it up, and has two under one number:
 * mappings from before show the old one and those from then on the new one. No
 * call tells which; their contents do.
 */
#pragma once

#include "parts/part.h"

/* Was the file of this mapping copied up since the last cut? 1, 0, -errno. */
must_check int mapview_has_two(const struct look *l, const struct procfs_map *map,
			       const char *name);

/*
 * Does the mapping show what is in the file, wherever the process has not
 * written itself? 1, 0, -errno. Reads all of it.
 */
must_check int mapview_shows(struct look *l, const struct frozen_proc *fp,
			     const struct procfs_map *map, int fd);
