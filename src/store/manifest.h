/*
 * manifest.h - what a checkpoint's files are made of, on disk.
 *
 * One JSON file per checkpoint, checkpoints/<id>.json. It is written under a
 * temporary name, synced and renamed: the rename commits the checkpoint.
 * A file that cannot be read as a manifest is an error that names it.
 */
#pragma once

#include <stdint.h>

#include "base/vec.h"
#include "store/store.h"

enum { MANIFEST_VERSION = 1 };

/* One overlay: the root or a cow volume. */
struct manifest_mount {
	char *target;      /* "/" or where the volume is mounted */
	char *source;      /* directory below all layers */
	struct vec layers; /* char[STORE_ID_BYTES], newest first */
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
	struct vec mounts; /* struct manifest_mount, root first */
};

/* An empty manifest; m owns what its pointers name. */
void manifest_init(struct manifest *m);
void manifest_deinit(struct manifest *m);

/* Append a mount with no layers; NULL: no memory. */
struct manifest_mount *manifest_add_mount(struct manifest *m, const char *target,
					  const char *source);
must_check int manifest_add_layer(struct manifest_mount *mm, const char *id);

/*
 * Write or replace the manifest of m->id. On failure (a full disk) the
 * directory is as it was. -EINVAL: m is not complete.
 */
must_check int manifest_write(struct store *s, const struct manifest *m, struct err *e);

/* Read one. -ENOENT: no such checkpoint; -EBADMSG: damaged, names the file. */
must_check int manifest_read(struct store *s, const char *id, struct manifest *m, struct err *e);
must_check int manifest_remove(struct store *s, const char *id, struct err *e);

/*
 * All manifests, oldest first: a vector of struct manifest for
 * manifest_list_deinit(). A damaged one is an error that names it.
 */
must_check int manifest_list(struct store *s, struct vec *list, struct err *e);
void manifest_list_deinit(struct vec *list);
