/*
 * record.h - which sandboxes there are and were: STATE/sandboxes/<name>/.
 *
 * A keeper makes the directory and holds a lock on the file `lock` in it as
 * long as it lives, however it ends. record.json says which family of
 * checkpoints it belongs to. What of a dead sandbox must stay is decided here:
 *
 *	living		locked
 *	kept		dead; it has checkpoints, or it is the last of a family
 *			that has: they stay until somebody deletes them
 *	left over	dead, and nothing would be lost with it; or it belonged
 *			to an owner or a lease that is over
 *
 * A family is a sandbox with its forks: their checkpoints are one tree.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "store/store.h"

enum { RECORD_NAME_BYTES = 64 };

enum record_state { RECORD_LIVING, RECORD_KEPT, RECORD_LEFT_OVER };

struct record {
	char name[RECORD_NAME_BYTES];
	enum record_state state;     /* of record_list() only */
	char id[STORE_ID_BYTES];     /* of the sandbox */
	char family[STORE_ID_BYTES]; /* "": nothing was written down */
	char *base;
	uint64_t created_ns;
	bool owned;                 /* it was to end with its owner */
	uint64_t expires_ns;        /* wall clock, its lease; 0: none */
	uint64_t idle_timeout_ns;   /* after its last checkpoint; 0: none */
};

void record_deinit(struct record *r);

/*
 * Make the directory of a living sandbox. Returns the descriptor of its lock:
 * a fork of the process must close it. What is left over there of a dead one
 * is removed. -EEXIST: a living one has the name, or a dead one that is kept.
 */
must_check int record_claim(struct store *s, const char *name, struct err *e);

/* -EEXIST where record_claim() would say so. */
must_check int record_check_free(struct store *s, const char *name, struct err *e);

/* Write record.json; whole, but on the disk only with the next store_sync(). */
must_check int record_write(struct store *s, const struct record *r, struct err *e);

/*
 * Everything in STATE/sandboxes, by name, and a made-up record for each family
 * of checkpoints that has none. *list is for record_list_deinit(); manifests:
 * of manifest_list().
 */
must_check int record_list(struct store *s, const struct vec *manifests, struct vec *list,
			   struct err *e);
void record_list_deinit(struct vec *list);

/* Is there one of the family, living or kept, besides that name? */
bool record_has_family(const struct vec *list, const char *family, const char *besides);

/* Remove what a dead sandbox that is kept does not need: all but its record. */
must_check int record_tidy(struct store *s, const struct record *r, struct err *e);

/*
 * Delete a dead sandbox: its record and, where it is the last of its family,
 * the manifests of their checkpoints, whose number is added to *checkpoints.
 * Layers are for store_gc().
 */
must_check int record_delete(struct store *s, const struct record *r, const struct vec *list,
			     const struct vec *manifests, size_t *checkpoints, struct err *e);
