/*
 * background.c - what nobody waits for, one piece at a time.
 *
 * After every reply the loop comes here when it has nothing else to do. The
 * order is that of what the next request needs: an overlay for a checkpoint,
 * a standby for a rollback, then the records of checkpoints, then shorter
 * stacks of layers, then the dead.
 * A piece that fails is told to the log and not tried again until something
 * changes: the request that needs it does the same work in line, and reports.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/box.h"
#include "keeper/merging.h"
#include "keeper/nodes.h"
#include "sandbox/fs.h"
#include "store/manifest.h"

static void background_failed(const struct box *b, const char *what, const struct err *e)
{
	fprintf(stderr, "sandbox=%s what=%s code=%s cause=\"%s\"\n", b->place.name, what,
		err_name(e->code), e->cause);
}

static bool prepare_files(struct box *b)
{
	struct err e = ERR_INIT;
	if (!b->live || b->live->fs->state != FS_LIVE)
		return false;
	if (checkpoint_prepare(b->live, &e))
		background_failed(b, "prepare-files", &e);
	return b->live->fs->state != FS_LIVE;
}

/* For tests and benchmarks of the cold path. */
static bool wants_standby(void)
{
	const char *no = getenv("MULLIGAN_NO_STANDBY");
	return !no || strcmp(no, "1") != 0;
}

static bool prepare_standby(struct box *b)
{
	struct err e = ERR_INIT;
	if (!b->live || b->quiet || !wants_standby() ||
	    (b->standby_node == b->head && (b->standby || b->standby_failed)))
		return false;
	box_drop_standby(b);
	b->standby_node = b->head;
	if (box_build(b, b->head, &b->standby, NULL, &e)) {
		b->standby = NULL;
		b->standby_failed = true;
		background_failed(b, "prepare-standby", &e);
	}
	return true;
}

static int manifest_of(struct box *b, struct node *n, struct manifest *m)
{
	manifest_init(m);
	m->id = strdup(n->id);
	m->tag = n->tag[0] ? strdup(n->tag) : NULL;
	m->parent = n->parent ? strdup(n->parent->id) : NULL;
	m->sandbox = strdup(b->place.name);
	m->family = strdup(b->family);
	m->base = strdup(b->image.name);
	m->created_ns = n->created_ns;
	m->processes = n->checkpoint->image.procs.n;
	if (!m->id || !m->sandbox || !m->family || !m->base || (n->tag[0] && !m->tag) ||
	    (n->parent && !m->parent))
		return -ENOMEM;
	return fs_snapshot_save(&n->checkpoint->files, m);
}

/* The files first, then the name of the record: the rename commits. */
static bool write_manifest(struct box *b)
{
	vec_each(struct node *, at, &b->nodes) {
		struct node *n = *at;
		if (!n->manifest_due && !n->manifest_stale)
			continue;
		struct manifest m;
		struct err e = ERR_INIT;
		/* one sync for all that name a merged layer */
		bool unsynced = n->manifest_due || b->merge_unsynced;
		n->manifest_due = n->manifest_stale = false;
		int r = manifest_of(b, n, &m);
		if (r)
			err_set(&e, -r, "no memory for a manifest");
		if (!r && unsynced)
			r = store_sync(b->store, &e);
		b->merge_unsynced &= r != 0;
		if (!r)
			r = manifest_write(b->store, &m, &e);
		manifest_deinit(&m);
		if (r)
			background_failed(b, "write-manifest", &e);
		return true;
	}
	return false;
}

void box_background(struct box *b)
{
	if (b->state == BOX_ENDING)
		return;
	if (prepare_files(b) || prepare_standby(b) || write_manifest(b) || merging_begin(b) ||
	    box_free_dying(b))
		loop_idle(&b->loop, &b->background);
}
