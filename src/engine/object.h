/*
 * object.h - a checkpoint: files, process image, template.
 *
 * Counted references: the tree of the keeper holds one, an incarnation that
 * was built from it another. The template ends when its last keeper lets go.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "parts/image.h"
#include "sandbox/fs.h"
#include "template/template.h"

struct checkpoint {
	unsigned int refs;
	unsigned int depth;		/* checkpoints below it on its branch */
	struct fs_snapshot files;
	struct tree_image image;
	struct template template;	/* socket -1: memory lost */
	uint64_t dirty_pages;		/* copied for it */
};

/* An empty one with one reference; NULL: no memory. */
struct checkpoint *checkpoint_new(void);
struct checkpoint *checkpoint_ref(struct checkpoint *c);
void checkpoint_unref(struct checkpoint *c);	/* takes NULL */

/*
 * In the keeper of a fork: replace the parent's connection to the template by
 * one of its own, made by the parent with checkpoint_attach().
 */
must_check int checkpoint_attach(const struct checkpoint *c, struct template *more,
				 struct err *e);
