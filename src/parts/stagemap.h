/*
 * stagemap.h - where in a template each process's memory is staged.
 *
 * Guest addresses are divided into chunks of 16 GB. A chunk in which a
 * process has private memory gets a chunk of the template's staging range;
 * neighbouring chunks under one mapping get neighbouring ones. So all of a
 * chunk moves to its place by one mremap, at one distance, aligned well
 * enough to move whole page tables. A chunk keeps its place from checkpoint
 * to checkpoint; that of a process that ended is free again.
 *
 *	63 TB / 16 GB = 4,032 chunks; a usual process has three.
 */
#pragma once

#include "parts/image.h"

#define STAGE_CHUNK_BITS 34
#define STAGE_CHUNK_BYTES (1ull << STAGE_CHUNK_BITS)

struct stage_chunk {
	uint64_t key;		/* process */
	uint64_t guest;		/* first guest address */
	uint64_t stage;		/* first address in templates */
};

/*
 * Staging address for [start, end) of the process `key`. *moved says that
 * the chunks had to be placed anew: what base templates have staged for any
 * of these chunks under this process is not where it was. 0 or -ENOSPC,
 * -ENOMEM.
 */
int stagemap_place(struct tree_image *im, uint64_t key, uint64_t start, uint64_t end,
		   uint64_t *stage, bool *moved);

/* Start an image's map from its parent's, without processes that are gone. */
int stagemap_inherit(struct tree_image *im, const struct tree_image *parent);
