/*
 * store.h - the state directory.
 *
 *	STATE/lock			flock: shared to add, exclusive to collect
 *	STATE/layers/<id>/{fs,work}	flock shared by whoever uses it
 *	STATE/checkpoints/<id>.json	manifests; the rename is the commit
 *	STATE/sandboxes/<name>/		a keeper's own things
 *	STATE/bases/			base root directories made here
 *	STATE/trash/			what is being removed
 *
 * A store must be opened in the mount namespace in which overlays are built
 * of its layers, and in the user namespace whose ids own its files: a keeper
 * opens it after it has made its own namespaces.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	STORE_ID_BYTES = 33, /* 128 random bits in hex, and NUL */
};

struct store;

/*
 * Open the state directory, and make what is missing of it (mode 0700).
 * path NULL: $MULLIGAN_STATE; else /var/lib/mulligan for real root; else
 * $XDG_STATE_HOME/mulligan or ~/.local/state/mulligan.
 * Errors that callers tell apart: EPERM (someone else's), ENOTDIR, EACCES or
 * EROFS (not writable), EOPNOTSUPP (a file system that cannot hold layers).
 */
must_check int store_open(const char *path, struct store **out, struct err *e);
void store_close(struct store *s);

/* The path store_open(NULL) would use; malloced. */
must_check int store_default_path(char **path, struct err *e);

const char *store_path(const struct store *s);
int store_fd(const struct store *s);        /* STATE */
int store_layers_fd(const struct store *s); /* STATE/layers */
int store_checkpoints_fd(const struct store *s);
int store_bases_fd(const struct store *s);
int store_trash_fd(const struct store *s);

/*
 * STATE/sandboxes/<name> opened, made when missing. -EINVAL for a name that
 * is not [A-Za-z0-9][A-Za-z0-9_.-]{0,62}.
 */
must_check int store_sandbox_dir(struct store *s, const char *name, struct err *e);
must_check int store_sandbox_remove(struct store *s, const char *name, struct err *e);

int store_sandboxes_fd(const struct store *s);

/* 0 or -EINVAL with the rule in the cause. `what`: "sandbox name" ... */
must_check int store_check_name(const char *what, const char *name, struct err *e);

/* A new random identifier. */
must_check int store_new_id(char id[STORE_ID_BYTES], struct err *e);

/*
 * Everything written so far is on the disk: before the manifest of a
 * checkpoint. A writeback error is an error. Takes milliseconds.
 */
must_check int store_sync(struct store *s, struct err *e);

/*
 * Hold the store lock: LOCK_SH while something is made that gc must not take
 * before it is locked by itself, LOCK_EX to collect. Released by closing.
 */
must_check int store_lock(struct store *s, int operation, struct err *e);

struct store_gc {
	size_t layers; /* removed */
	size_t bases;
	size_t leftovers; /* half-made things and old trash */
};

/*
 * Remove the layers and bases that no manifest names and nobody holds. A
 * damaged manifest stops it: what it names is not known. Runs with the
 * process' own credentials: in the user namespace that owns the files.
 */
must_check int store_gc(struct store *s, struct store_gc *result, struct err *e);

/*
 * Remove what was put aside to be removed later. Takes as long as the files
 * are many: for a child process or a moment of rest. Counts into *n.
 */
must_check int store_empty_trash(struct store *s, size_t *n, struct err *e);
