/*
 * sum.h - what the files of a layer add up to, to see later that it is whole.
 *
 * The sum is over every entry's path, type, mode, owner, time of modification,
 * extended attributes, and the size of a file, the text of a symbolic link, the
 * number of a device. It finds what is missing, cut short, added, replaced or
 * edited. It does not read contents: bytes that a disk has turned are for the
 * file system to find (docs/decisions/0007).
 *
 * It holds for one user namespace: owners and attributes look different from
 * another.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

enum { LAYER_SUM_BYTES = 17 }; /* 64 bits in hex, and NUL */

struct layer_sum {
	bool known;       /* else the rest says nothing */
	uint64_t entries; /* files, directories and others */
	uint64_t bytes;   /* of files, as their sizes say */
	uint64_t digest;
};

/* Sum up the tree below an open directory of a sealed layer. */
must_check int layer_sum_take(int fs_fd, struct layer_sum *out);

static inline bool layer_sum_equal(const struct layer_sum *a, const struct layer_sum *b)
{
	return a->known && b->known && a->entries == b->entries && a->bytes == b->bytes &&
	       a->digest == b->digest;
}
