/*
 * mapfile.h - files that are mapped privately or executed.
 *
 * Templates hold them open, each at a number of its own: the mapping and
 * PR_SET_MM's exe_fd need the very inode, long after the path may lead
 * elsewhere. Of a file that may change they hold a copy (mapcopy.h).
 *
 * A child's list begins with its parent's: an index means the same in both. A
 * copy that nobody maps any more is marked as gone, and its number is free.
 */
#pragma once

#include "parts/part.h"

/* Does the name lead to the file that is mapped? */
bool mapfile_is_named(struct look *l, const struct procfs_map *map, const char *name);

/*
 * Of a file that was mapped by a name that is gone: a name that it still has,
 * "" where it has none, NULL where that cannot be told or it has one that is
 * not known.
 */
const char *mapfile_other_name(struct look *l, const struct frozen_proc *fp,
			       const struct procfs_map *map, const char *name);

/* Whether the file of a shared mapping has lost its name: 1, 0, -errno. */
must_check int mapfile_is_deleted(struct look *l, const struct procfs_map *map, const char *name);

/* Index in image.map_files of the file that a mapping is of, or -errno. */
must_check int mapfile_find_or_open(struct look *l, const struct image_proc *p,
				    const struct frozen_proc *fp, const struct procfs_map *map,
				    const char *name, struct err *e);

/* The same for the executable. */
must_check int mapfile_exe(struct look *l, const struct image_proc *p,
			   const struct frozen_proc *fp, struct err *e);

/* After all processes were looked at: let go of copies that nobody maps. */
void mapfile_look_end(struct look *l);

/* The overlay mount that a mapped file lies on; NULL: none of them. */
const struct part_mount *mapfile_mount(struct look *l, const struct frozen_proc *fp,
				       const struct procfs_map *map, const char *name);

/* Whether templates of the image have a file of the list at this number. */
bool mapfile_has_number(const struct tree_image *im, int number);

/* Start an image's list from its parent's. 0 or -errno. */
must_check int mapfile_inherit(struct tree_image *im, const struct tree_image *parent);
