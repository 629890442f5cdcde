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
	pid_t keeper;			/* whose connection `template` is */
	/* ancestor whose depth is ours with the j lowest bits cleared, a
	 * reference; NULL: this one is it, or it is not known */
	struct checkpoint *skip[IMAGE_LEVELS];
};

/* An empty one with one reference; NULL: no memory. */
struct checkpoint *checkpoint_new(void);
struct checkpoint *checkpoint_ref(struct checkpoint *c);
void checkpoint_unref(struct checkpoint *c);	/* takes NULL */

/* parent's next checkpoint is c: depth and ancestors follow. */
void checkpoint_descend(struct checkpoint *c, struct checkpoint *parent);

/*
 * A template that has the memory of c, for the checkpoint after it: a fork of
 * an ancestor's, brought up to date, or of c's own (template/ahead.h).
 */
must_check int checkpoint_fork_ahead(struct checkpoint *c, struct template *out, struct err *e);

/* The ancestor that checkpoint_fork_ahead() asks first, or NULL: c alone. */
const struct checkpoint *checkpoint_ahead_of(const struct checkpoint *c);

/*
 * In the keeper of a fork: replace the parent's connection to the template by
 * one of its own, made by the parent with checkpoint_attach().
 */
must_check int checkpoint_attach(const struct checkpoint *c, struct template *more,
				 struct err *e);
