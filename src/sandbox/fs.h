/*
 * fs.h - the files of one incarnation: its overlays, and their rotation.
 *
 *	mount "/"	live upper  <- prepared: next upper, next overlay
 *	mount "/usr"	layers, newest first     (lowers: live upper, layers, base)
 *	  ...		base
 *
 * A checkpoint cuts: the prepared overlay takes the live one's place, the old
 * upper becomes the newest layer. Per mount:
 *
 *	      fs_prepare()         fs_cut()               fs_settle()
 *	LIVE ------------> READY ----------> CUT (old parked) --------> LIVE
 *	                     ^                 |
 *	                     +--- fs_uncut() --+  (prepared one is lost: LIVE)
 *
 * A mount whose upper is clean is not cut: it has the same files as its
 * newest layer, and stays as it is.
 *
 * Invariants: descriptors of layers and bases are of the mount namespace of
 * the process that builds the tree (the keeper's). While CUT all processes of
 * the incarnation are frozen. A sealed layer is never written.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/stage.h"
#include "base/vec.h"
#include "sandbox/carry.h"
#include "store/layer.h"
#include "store/manifest.h"
#include "store/store.h"

struct spec;
struct fs_spares;

enum fs_state { FS_LIVE, FS_READY, FS_CUT, FS_BROKEN };

struct fs_mount {
	char *target; /* "/" or the volume's place, no slash at the end */
	char *source; /* base directory */
	int base_fd;
	int skin_fd;              /* image_skin() above the base, or -1 */
	struct vec layers;        /* struct layer *, newest first, references: below
				   * the next upper, and below the live one unless
				   * some of it is retired */
	struct vec retired;       /* struct layer *: merged since the live overlay
				   * was built of them (chain.h), references */
	uint64_t retired_mnt_id;  /* of that overlay */
	struct layer *upper;      /* live */
	int mnt_fd;               /* live overlay: attach it with move_mount */
	int keep_fd;              /* the first one once more, see spares.h; or -1 */
	uint64_t mnt_id;          /* of it; keeps it when attached */
	struct vec seen;          /* struct carry_seen: upper as it began */
	bool racy;                /* changes cannot be told by that record */
	struct vec links;         /* struct carry_links in the upper as it began */
	struct vec kept;          /* struct keep_file of the live overlay */
	size_t kept_layers;       /* layers.n when that overlay was built */
	struct scan scan;         /* of the upper, as of the last fs_prepare() */
	bool fine;                /* every change there has a ctime of its own */
	bool silent;              /* ... but writing to a mapping has none: tmpfs */
	struct layer *next_upper; /* prepared, or NULL */
	int next_fd;              /* prepared overlay, detached, or -1 */
	int old_fd;               /* after a cut: the overlay before, or -1 */
	uint64_t old_mnt_id;      /* of it, 0: none */
};

struct fs_tree {
	struct store *store;      /* borrowed */
	struct fs_spares *spares; /* borrowed, or NULL */
	enum fs_state state;
	bool userxattr;
	struct vec mounts;    /* struct fs_mount, root first, outer
			       * before inner */
	struct fs_undo *undo; /* state of a cut not yet settled */
};

/* The files of a checkpoint. */
struct fs_snapshot_mount {
	char *target;
	char *source;
	struct vec layers; /* struct layer *, newest first, references */
	struct vec links;  /* struct carry_links of the newest layer */
};

struct fs_snapshot {
	struct vec mounts; /* struct fs_snapshot_mount, root first */
};

/*
 * Fresh overlays with empty uppers over snapshot's layers, or over the base
 * alone where snapshot is NULL; root is the base directory of "/", the
 * volumes of spec with mode cow get overlays of their own. Nothing is
 * attached: take mounts[i].mnt_fd. spares may be NULL. *out is freed with
 * fs_tree_free().
 */
must_check int fs_tree_new(struct store *store, struct fs_spares *spares, const char *root,
			   const struct spec *spec, const struct fs_snapshot *snapshot,
			   struct fs_tree **out, struct err *e);

/* Drop the tree: live uppers that no snapshot has are removed from disk. */
void fs_tree_free(struct fs_tree *t);

/* After fork(): free the tree, which is the parent's; no files are removed. */
void fs_tree_abandon(struct fs_tree *t);

/*
 * Build the next uppers and overlays ahead, where they are missing, and look
 * through what the live ones hold, so that fs_cut() has less to look at. Just
 * before the freeze; and in the background after a checkpoint, to let go of
 * the overlays before the last cut, which can take milliseconds.
 */
must_check int fs_prepare(struct fs_tree *t, struct err *e);

/*
 * true: no mount has changed since the last cut. All processes frozen.
 * writers: some file of the live uppers is open for writing or mapped shared
 * and writable now. Never a wrong yes; a mount that held open files at the
 * last cut, which may have been written through a mapping since, is a no.
 */
bool fs_is_clean(const struct fs_tree *t, bool writers);
bool fs_mount_is_clean(const struct fs_mount *m, bool writers);

struct fs_cut_stats {
	size_t mounts; /* cut; the others were clean */
	size_t carried;
	size_t reflinked;
	uint64_t copied_bytes;
	struct stage_times times;
};

struct fs_cut {
	int mntns_fd; /* the incarnation's mount namespace */
	struct carry_want *carry;  /* files that processes have open or mapped shared */
	size_t n_carry;
	bool writers;              /* as for fs_is_clean() */
	struct fs_cut_stats stats; /* out */
};

/*
 * Freeze the files: swap every mount that is not clean for its prepared
 * overlay, inside the live mount namespace. All processes frozen. On success
 * *out has the checkpoint's files (freed with fs_snapshot_deinit()), live
 * descriptors on old_mnt_id can be re-homed to mnt_fd, and either
 * fs_settle() or fs_uncut() must follow before the processes run. Descriptors
 * and shared mappings of what carry says was moved must be: the inode they
 * have is the checkpoint's now.
 * On failure nothing has changed; only e->broken says otherwise.
 */
must_check int fs_cut(struct fs_tree *t, struct fs_cut *cut, struct fs_snapshot *out,
		      struct err *e);

/* Take the cut back: the namespace, the carried files, the layers. */
must_check int fs_uncut(struct fs_tree *t, int mntns_fd, struct err *e);

/*
 * The cut stands: detach the old overlays from the namespace. Their
 * descriptors stay until fs_prepare(). A failure leaves the old overlays
 * hidden under the root, which harms nothing; it is worth reporting.
 */
must_check int fs_settle(struct fs_tree *t, int mntns_fd, struct err *e);

/*
 * The files as they are now without cutting: only right where the tree is
 * clean (a checkpoint of an untouched sandbox, checkpoint 0).
 */
must_check int fs_snapshot_now(const struct fs_tree *t, struct fs_snapshot *out, struct err *e);

/* The mount whose live or old overlay has this mount id; NULL: none. */
struct fs_mount *fs_tree_find_mount(const struct fs_tree *t, uint64_t mnt_id);
/* The mount at that target, NULL: none. */
struct fs_mount *fs_tree_find_target(const struct fs_tree *t, const char *target);

/* A snapshot of nothing; a mount is added, NULL: no memory. */
static inline void fs_snapshot_init(struct fs_snapshot *s)
{
	*s = (struct fs_snapshot){.mounts = VEC_INIT(struct fs_snapshot_mount)};
}
struct fs_snapshot_mount *fs_snapshot_add(struct fs_snapshot *s, const char *target,
					  const char *source);
must_check int fs_snapshot_copy(struct fs_snapshot *dst, const struct fs_snapshot *src);
void fs_snapshot_deinit(struct fs_snapshot *s);

/*
 * Sum up the layers, so that fs_snapshot_save() can write down what they are.
 * Looks at every file of those that are new: not while processes are frozen.
 */
must_check int fs_snapshot_sum(struct fs_snapshot *s, struct err *e);

/* Are the files what they were summed up to be? See layer_verify(). */
must_check int fs_snapshot_verify(const struct fs_snapshot *s, struct err *e);

/* Both directions between a snapshot and what a manifest says of it. */
must_check int fs_snapshot_save(const struct fs_snapshot *s, struct manifest *m);
must_check int fs_snapshot_load(struct store *store, const struct manifest *m,
				struct fs_snapshot *out, struct err *e);
