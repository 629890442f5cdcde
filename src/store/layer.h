/*
 * layer.h - one layer of files: the upper of a live overlay, frozen later.
 *
 *	LIVE --layer_seal()--> SEALED
 *
 *	LIVE	the upper directory of one overlay; written through it
 *	SEALED	never written again; a lower of any number of overlays
 *
 * A process that has a struct layer holds flock(LOCK_SH) on its directory, so
 * that no gc takes it. Its last layer_unref() lets go of it; files stay until
 * a gc finds that no manifest names them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"
#include "store/sum.h"

enum layer_state { LAYER_LIVE, LAYER_SEALED };

struct layer {
	char id[STORE_ID_BYTES];
	enum layer_state state;
	unsigned int refs;
	int dir_fd;  /* layers/<id>; has the lock */
	int fs_fd;   /* its files */
	int work_fd; /* overlayfs' work directory; SEALED: -1 */
	bool has_numbers;    /* of files held later: sandbox/keep.h. Not to be merged */
	bool is_looked_through; /* what lies aside of it has marked those below */
	unsigned int level; /* 0: an upper; merged of layers one below */
	struct layer_sum sum; /* of a SEALED one, once somebody asked */
	bool disk_known;
	uint64_t disk_bytes; /* what layer_disk_bytes() says */
};

/* A new empty layer with one reference. */
must_check int layer_new(struct store *s, struct layer **out, struct err *e);

/* A layer that exists, sealed. -ENOENT: no such layer. */
must_check int layer_open(struct store *s, const char *id, struct layer **out, struct err *e);

struct layer *layer_ref(struct layer *l);
void layer_unref(struct layer *l); /* takes NULL */

/*
 * The tree of files that lie beside the layer's own: sandbox/keep.h says what
 * it is for. Returns a new descriptor; -ENOENT: create is false, and there is
 * none.
 */
must_check int layer_aside(const struct layer *l, bool create);

/* Remove that tree, empty as it is again. */
must_check int layer_aside_remove(const struct layer *l);

/* No more writing. Idempotent; cheap: nothing is synced. */
void layer_seal(struct layer *l);

/* Remove the files of a layer that was never frozen, and drop the reference. */
void layer_discard(struct store *s, struct layer *l);

/*
 * What the files of a sealed layer add up to, in l->sum. Looks at every entry
 * the first time: not for the pause of a checkpoint.
 */
must_check int layer_sum(struct layer *l, struct err *e);

/*
 * Are these the files that were summed up? -EBADMSG, with what differs: no. A
 * sum that is not known is a no, too. Looks at every entry, every time.
 */
must_check int layer_verify(const struct layer *l, const struct layer_sum *want, struct err *e);

/*
 * Bytes of disk its files take (st_blocks), hardlinks once. Of a layer that
 * was summed up, which is on the disk then, it is remembered; else this looks
 * at every entry.
 */
must_check int layer_disk_bytes(struct layer *l, uint64_t *bytes, struct err *e);
