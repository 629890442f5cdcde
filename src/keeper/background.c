/*
 * background.c - what nobody waits for, one piece at a time.
 *
 * After every reply the loop comes here when it has nothing else to do. The
 * order is that of what the next request needs: an overlay for a checkpoint,
 * a standby for a rollback, overlays for rollbacks to other checkpoints, then
 * the records of checkpoints, then shorter stacks of layers, then the dead.
 * A piece that fails is told to the log and not tried again until something
 * changes: the request that needs it does the same work in line, and reports.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/box.h"
#include "keeper/commit.h"
#include "keeper/merging.h"
#include "keeper/nodes.h"
#include "sandbox/fs.h"
#include "sandbox/spares.h"

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
	if (box_prepare(b, &e))
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

static bool prepare_overlays(struct box *b)
{
	struct err e = ERR_INIT;
	if (!b->live || b->quiet)
		return false;
	int r = fs_spares_make(&b->engine.spares, b->engine.root, &e);
	if (r < 0)
		background_failed(b, "prepare-overlays", &e);
	return r != 0;
}

void box_background(struct box *b)
{
	if (b->state == BOX_ENDING)
		return;
	if (prepare_files(b) || prepare_standby(b) || prepare_overlays(b) || box_commit_begin(b) ||
	    merging_begin(b) || box_free_dying(b))
		loop_idle(&b->loop, &b->background);
}
