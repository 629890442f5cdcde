/*
 * lost.h - checkpoints as the state directory knows them: files alone.
 *
 * What a keeper knows of its tree it knows better. This is for those whose
 * keeper is dead, and for taking files of one sandbox to another.
 */
#pragma once

#include "store/manifest.h"
#include "store/record.h"

struct lost {
	struct vec manifests;	/* struct manifest, oldest first */
	struct vec records;	/* struct record, of living sandboxes too */
};

/* Read all of it; for lost_deinit(), also after a failure. */
must_check int lost_read(struct store *s, struct lost *out, struct err *e);
void lost_deinit(struct lost *l);

/* The record of that name; NULL: none. */
const struct record *lost_find(const struct lost *l, const char *name);

/* Is it a checkpoint of the sandbox's tree? */
bool lost_has(const struct record *r, const struct manifest *m);

/*
 * A checkpoint by id, tag or beginning of an id. r NULL: of any sandbox, and
 * not by tag. -ENOENT: none, or more than one.
 */
must_check int lost_checkpoint(const struct lost *l, const struct record *r, const char *text,
			       const struct manifest **out, struct err *e);

/* "NAME@CKPT", or an id. */
must_check int lost_parse(const struct lost *l, const char *text, const struct manifest **out,
			  struct err *e);
