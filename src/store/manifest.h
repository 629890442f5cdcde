/*
 * manifest.h - what a checkpoint's files are made of, on disk.
 *
 * One JSON file per checkpoint, checkpoints/<id>.json. It is written under a
 * temporary name, synced and renamed: the rename commits the checkpoint.
 * A file that cannot be read as a manifest is an error that names it.
 */
#pragma once

#include <stdint.h>

#include <jansson.h>

#include "base/vec.h"
#include "store/store.h"
#include "store/sum.h"

enum {
	MANIFEST_VERSION = 2,
	MANIFEST_VERSION_BARE = 1, /* had neither sums nor spec; read, not written */
};

struct manifest_layer {
	char id[STORE_ID_BYTES]; /* first: layers can be read as strings */
	struct layer_sum sum;
};

/* One overlay: the root or a cow volume. */
struct manifest_mount {
	char *target;      /* "/" or where the volume is mounted */
	char *source;      /* directory below all layers */
	struct vec layers; /* struct manifest_layer, newest first */
};

struct manifest {
	char *id;
	char *tag;           /* NULL: none */
	char *parent;        /* NULL: the first of its tree */
	char *sandbox;       /* name of the sandbox it was taken of */
	char *family;        /* id shared by a sandbox and its forks */
	char *base;          /* "host", "rootfs:/path" */
	uint64_t created_ns; /* wall clock */
	uint64_t processes;
	json_t *spec;      /* how its sandbox was made, for the keeper; NULL: not known */
	struct vec mounts; /* struct manifest_mount, root first */
};

/* An empty manifest; m owns what its pointers name. */
void manifest_init(struct manifest *m);
void manifest_deinit(struct manifest *m);

/* Append a mount with no layers; NULL: no memory. */
struct manifest_mount *manifest_add_mount(struct manifest *m, const char *target,
					  const char *source);
/* sum NULL: not known. */
must_check int manifest_add_layer(struct manifest_mount *mm, const char *id,
				  const struct layer_sum *sum);

/*
 * Write or replace the manifest of m->id. On failure (a full disk) the
 * directory is as it was. -EINVAL: m is not complete.
 */
must_check int manifest_write(struct store *s, const struct manifest *m, struct err *e);

/*
 * The same for n of them, with two syncs for all. On failure those that had
 * none have none; each of the others is the old one or the new one.
 */
must_check int manifest_write_all(struct store *s, const struct manifest *m, size_t n,
				  struct err *e);

/* Read one. -ENOENT: no such checkpoint; -EBADMSG: damaged, names the file. */
must_check int manifest_read(struct store *s, const char *id, struct manifest *m, struct err *e);
must_check int manifest_remove(struct store *s, const char *id, struct err *e);

/*
 * Look whether the layers of m are all there and what they were. 0; -ENOENT: a
 * layer is missing; -EBADMSG: one is damaged. Looks at every file. Where
 * `found` is given it has the sums seen so far (struct manifest_layer), which
 * are not taken again, and gets the others.
 */
must_check int manifest_verify(struct store *s, const struct manifest *m, struct vec *found,
			       struct err *e);

/*
 * All manifests, oldest first: a vector of struct manifest for
 * manifest_list_deinit(). A damaged one is an error that names it.
 */
must_check int manifest_list(struct store *s, struct vec *list, struct err *e);
void manifest_list_deinit(struct vec *list);
