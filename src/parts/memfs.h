/*
 * memfs.h - what lies in memory file systems: /dev/shm and --tmpfs.
 *
 * No layer has it. The image keeps a copy of each such tree in a tmpfs of its
 * own that is mounted nowhere, and each incarnation is given a copy of that.
 * The cost is the size of what is in them, at every checkpoint.
 */
#pragma once

#include "base/err.h"
#include "parts/image.h"

/* A name in a memory file system; the first of each is the mount itself. */
struct memfs_name {
	uint64_t dev, ino;
	char *path;
};

/* The root of a tmpfs of ours, mounted nowhere; nobody else ever sees it. */
must_check int memfs_new(void);

/*
 * Copy the tree at `path` of the frozen sandbox into im; nothing if empty.
 * Appends its files to names (struct memfs_name).
 */
must_check int memfs_save(struct tree_image *im, int root_fd, const char *path,
			  struct vec *names, struct err *e);
void memfs_names_deinit(struct vec *names);

/*
 * A path of the file, NULL: it has none. *known: it is of a file system that
 * was looked through.
 */
const char *memfs_find(const struct vec *names, uint64_t dev, uint64_t ino, bool *known);

/* Fill the memory file systems of a new incarnation, all empty still. */
must_check int memfs_fill(const struct tree_image *im, int root_fd, struct err *e);

void memfs_deinit(struct image_memfs *m);
