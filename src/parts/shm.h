/* shm.h - shared memory objects: anonymous shared memory. */
#pragma once

#include "parts/part.h"

/*
 * A shared mapping: find or make its object, grow it, note the mapping.
 * maybe_named: the file may have a name; then somebody must have it open, who
 * shows that it has none.
 */
must_check int shm_look(struct look *l, const struct procfs_map *map, bool maybe_named,
			struct image_vma *v, struct err *e);

/*
 * When all descriptors have been seen: mappings of files that somebody has
 * open become mappings of those.
 */
must_check int shm_find_files(struct look *l, struct err *e);

/* Read the objects' bytes, while everything is frozen. */
must_check int shm_read_all(struct look *l, struct err *e);

/* Operations that filling the objects takes. */
size_t shm_count_runs(const struct tree_image *im);

/* PID 1: make the objects, mapped at PUP_SHM, for the tree to inherit. */
void shm_emit_objects(struct prog *p, const struct tree_image *im, unsigned int first_slot);

/* All such mappings of a process. */
void shm_load(struct load *l, const struct image_proc *p);
