/*
 * box_files.c - a checkpoint's files without its processes.
 *
 * Create is a restore of an empty tree; so is this, of one whose layers are
 * not the base's alone. Two ways lead to it: a rollback to the files in a
 * sandbox that lives (its processes may be lost, or are not wanted), and a new
 * sandbox that begins with the files of a checkpoint that nobody holds any
 * more. Both look first whether the layers are what was written down: damaged
 * files are refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "keeper/box.h"
#include "keeper/lost.h"
#include "keeper/nodes.h"
#include "sandbox/fs.h"

static void refuse_damaged(struct err *e, const char *id)
{
	if (!e || (e->code != EBADMSG && e->code != ENOENT))
		return;
	err_wrap(e, "checkpoint %s cannot be restored", id);
	err_remedy(e, "use another checkpoint; `mulligan doctor` says which are whole");
}

/* In a sandbox that lives */

/* A node below `of` that has its files and no processes. */
static int files_node(struct box *b, struct node *of, struct node **out, struct err *e)
{
	struct fs_snapshot *files = &of->checkpoint->files;
	int r = fs_snapshot_sum(files, e);
	if (!r)
		r = fs_snapshot_verify(files, e);
	if (r) {
		refuse_damaged(e, of->id);
		return r;
	}
	struct node *n;
	r = node_new(b, NULL, of, &n, e);
	if (r)
		return r;
	r = checkpoint_first(&n->checkpoint, e);
	if (!r && fs_snapshot_copy(&n->checkpoint->files, files))
		r = err_set(e, ENOMEM, "no memory for a checkpoint");
	if (r) {
		node_free(n);
		return r;
	}
	n->files_only = true;
	n->manifest_due = true;
	*out = n;
	return 0;
}

int box_rollback_files(struct box *b, struct node *node, struct box_rollback *out, struct err *e)
{
	struct node *n;
	if (vec_reserve(&b->nodes, b->nodes.n + 1))
		return err_set(e, ENOMEM, "no memory for a checkpoint");
	int r = files_node(b, node, &n, e);
	if (r)
		return r;
	r = box_rollback(b, n, out, e);
	if (r) {
		node_free(n);
		return r;
	}
	/* cannot fail: there is room */
	return node_add(b, n, e);
}

/* In a new one */

static void from_free(struct box *b)
{
	if (b->from)
		manifest_deinit(b->from);
	free(b->from);
	b->from = NULL;
}

/* What its sandbox was asked to be, without its name and its lease. */
static int from_spec(struct box *b, struct err *e)
{
	if (!b->from->spec)
		return err_set(e, EBADMSG, "checkpoint %s does not say how its sandbox was made",
			       b->from->id);
	struct spec s;
	int r = spec_decode(&s, b->from->spec, e);
	if (r)
		return err_wrap(e, "checkpoint %s", b->from->id);
	s.name[0] = '\0';
	s.timeout_ns = s.idle_timeout_ns = 0;
	s.die_with_parent = false;
	spec_deinit(&b->spec);
	b->spec = s;
	return 0;
}

int box_from(struct box *b, const char *text, struct err *e)
{
	struct store *s;
	struct lost l;
	const struct manifest *m;
	/* the specification says which namespaces: so it is read before them */
	int r = store_open(b->state_path, &s, e);
	if (r)
		return r;
	r = lost_read(s, &l, e);
	if (!r)
		r = lost_parse(&l, text, &m, e);
	b->from = r ? NULL : malloc(sizeof(*b->from));
	if (!r && !b->from)
		r = err_set(e, ENOMEM, "no memory for a manifest");
	if (!r) {
		r = manifest_read(s, m->id, b->from, e);
		if (r) {
			free(b->from);
			b->from = NULL;
		}
	}
	lost_deinit(&l);
	store_close(s);
	if (!r)
		r = from_spec(b, e);
	if (r)
		from_free(b);
	return r;
}

int box_from_image(struct box *b, struct err *e)
{
	const char *root = NULL;
	vec_each(struct manifest_mount, m, &b->from->mounts)
		if (!strcmp(m->target, "/"))
			root = m->source;
	if (!root)
		return err_set(e, EBADMSG, "checkpoint %s has no root", b->from->id);
	return image_open_again(b->store, b->from->base, root, &b->image, e);
}

/* Would the sandbox show these files? */
static bool has_place(const struct spec *effective, const struct manifest_mount *m)
{
	if (!strcmp(m->target, "/"))
		return true;
	vec_each(struct volume, v, &effective->volumes)
		if (v->mode == VOLUME_COW && !strcmp(v->dst, m->target))
			return !strcmp(v->src, m->source);
	return false;
}

int box_from_files(struct box *b, const struct spec *effective, struct fs_snapshot *files,
		   struct err *e)
{
	struct manifest *from = b->from;
	int r = 0;
	vec_each(struct manifest_mount, m, &from->mounts)
		if (!r && !has_place(effective, m)) {
			err_set(e, ESTALE, "checkpoint %s has files of '%s' over '%s', which are "
					   "not there in the same way now",
				from->id, m->target, m->source);
			r = err_remedy(e, "bring '%s' back, without mounts in it", m->source);
		}
	if (!r) {
		r = fs_snapshot_load(b->store, from, files, e);
		if (r)
			fs_snapshot_init(files);
	}
	if (!r)
		r = fs_snapshot_verify(files, e);
	if (r)
		refuse_damaged(e, from->id);
	from_free(b);
	return r;
}
