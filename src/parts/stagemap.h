/*
 * stagemap.h - where in a template each process's memory is staged.
 *
 * Guest addresses are divided into chunks of 8 GB. A chunk in which a
 * process has private memory gets a chunk of the template's staging range;
 * neighbouring chunks under one mapping get neighbouring ones. So all of a
 * chunk moves to its place by one mremap, at one distance, aligned well
 * enough to move whole page tables. A chunk keeps its place from checkpoint
 * to checkpoint; that of a process that ended is free again.
 *
 * Two chunks of a process can have the same distance and somebody else's
 * chunk between them in the template: they do not move together.
 *
 *	guest	  A . B		template  A X B		(X: of another place)
 *
 *	18 TB / 8 GB = 2,304 chunks; a usual process has three.
 */
#pragma once

#include "parts/image.h"

#define STAGE_CHUNK_BITS 33
#define STAGE_CHUNK_BYTES (1ull << STAGE_CHUNK_BITS)

struct stage_chunk {
	uint64_t key;		/* process */
	uint64_t guest;		/* first guest address */
	uint64_t stage;		/* first address in templates */
};

/*
 * Give every private mapping of a process its staging address. Mappings that
 * share a chunk with one that goes on into the next are placed together: one
 * of them may have moved, away from where base templates have it. 0 or
 * -ENOSPC, -ENOMEM.
 */
must_check int stagemap_place(struct tree_image *im, struct image_proc *p);

/* Whether a range that ends at `end` and one from start on, above it, have no
 * chunk of anybody else between them in the template. */
bool stagemap_adjoin(uint64_t end, uint64_t start);

/* Start an image's map from its parent's, without processes that are gone. */
int stagemap_inherit(struct tree_image *im, const struct tree_image *parent);
