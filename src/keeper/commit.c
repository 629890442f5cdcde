/*
 * commit.c - the files of a checkpoint go to disk, in the background.
 *
 *	sum		what its new layers add up to
 *	sync		the layers, and the sandbox's record
 *	manifest	its rename commits the checkpoint
 *
 * Until then the checkpoint is the keeper's alone: when the keeper is killed
 * its layers have no name, and gc takes them. A commit that fails (a full
 * disk) is tried again later: the checkpoint is due until it is done.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "keeper/box.h"
#include "keeper/nodes.h"
#include "sandbox/fs.h"
#include "store/manifest.h"

#define RETRY_FIRST_NS 1000000000ull
#define RETRY_MAX_NS 60000000000ull

struct commit {
	struct box *box;
	struct node *node;
};

static int commit_sum(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	return fs_snapshot_sum(&c->node->checkpoint->files, e);
}

static int commit_sync(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	/* one sync for all that name a merged layer */
	if (!c->node->manifest_due && !c->box->merge_unsynced)
		return 0;
	int r = store_sync(c->box->store, e);
	c->box->merge_unsynced &= r != 0;
	return r;
}

static int manifest_of(struct box *b, struct node *n, struct manifest *m)
{
	manifest_init(m);
	m->id = strdup(n->id);
	m->tag = n->tag[0] ? strdup(n->tag) : NULL;
	m->parent = n->parent ? strdup(n->parent->id) : NULL;
	m->sandbox = strdup(n->sandbox);
	m->family = strdup(b->family);
	m->base = strdup(b->image.name);
	m->created_ns = n->created_ns;
	m->processes = n->checkpoint->image.procs.n;
	m->spec = spec_encode(&b->spec);
	if (!m->id || !m->sandbox || !m->family || !m->base || !m->spec ||
	    (n->tag[0] && !m->tag) || (n->parent && !m->parent))
		return -ENOMEM;
	return fs_snapshot_save(&n->checkpoint->files, m);
}

static int commit_manifest(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	struct manifest m;
	int r = manifest_of(c->box, c->node, &m);
	if (r)
		err_set(e, -r, "no memory for a manifest");
	else
		r = manifest_write(c->box->store, &m, e);
	manifest_deinit(&m);
	return r;
}

static const struct stage commit_stages[] = {
	{ .name = "sum", .run = commit_sum },
	{ .name = "sync", .run = commit_sync },
	{ .name = "manifest", .run = commit_manifest },
};

static void retry_fire(struct loop_timer *timer)
{
	struct box *b = loop_owner(timer, struct box, commit_retry);
	b->commit_waits = false;
	loop_idle(&b->loop, &b->background);
}

static void retry_later(struct box *b)
{
	uint64_t wait = b->commit_retry_ns ? 2 * b->commit_retry_ns : RETRY_FIRST_NS;
	b->commit_retry_ns = wait > RETRY_MAX_NS ? RETRY_MAX_NS : wait;
	b->commit_waits = true;
	b->commit_retry.fire = retry_fire;
	loop_timer_set(&b->loop, &b->commit_retry, clock_now_ns() + b->commit_retry_ns);
}

static struct node *next_due(const struct box *b)
{
	vec_each(struct node *, at, &b->nodes)
		if ((*at)->manifest_due || (*at)->manifest_stale)
			return *at;
	return NULL;
}

bool box_commit_next(struct box *b)
{
	struct commit c = { .box = b, .node = next_due(b) };
	struct err e = ERR_INIT;
	if (!c.node || b->commit_waits)
		return false;
	if (stage_run(commit_stages, sizeof(commit_stages) / sizeof(commit_stages[0]), &c, NULL,
		      &e)) {
		fprintf(stderr, "sandbox=%s what=commit checkpoint=%s code=%s cause=\"%s\"\n",
			b->place.name, c.node->id, err_name(e.code), e.cause);
		retry_later(b);
		return true;
	}
	c.node->manifest_due = c.node->manifest_stale = false;
	b->commit_retry_ns = 0;
	return true;
}

void box_commit_all(struct box *b)
{
	b->commit_waits = false;
	while (box_commit_next(b))
		;
}
