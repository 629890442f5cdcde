/*
 * ids.c - who is whose child, session and group.
 *
 * A leader that has ended still gives its number to a session or group: the
 * image gets a ghost for it, a process that is made only to found them. How
 * the tree is made from this is restore/tree.c's: it is an order, not a state
 * of one process.
 */
#include "parts/ids.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "parts/part.h"

static int look_ids(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	const struct procfs_status *s = &l->status;
	p->parent = f->parent;
	snprintf(p->comm, sizeof(p->comm), "%.15s", f->stat.comm);
	p->pid = f->ns_pid;
	p->pgid = s->ns_pgid[s->n_ns - 1];
	p->sid = s->ns_sid[s->n_ns - 1];
	p->state = f->zombie ? PROC_ZOMBIE : PROC_LIVE;
	p->exit_status = f->exit_code;
	if (!p->pgid || !p->sid)
		return look_refuse(e, p, -1, "its session or group was made outside the sandbox");
	if (p->pid > l->image->last_pid)
		l->image->last_pid = p->pid;
	return 0;
}

static int add_ghost(struct tree_image *im, pid_t pid, pid_t sid, int parent)
{
	struct image_proc *g = vec_add(&im->procs);
	if (!g)
		return -ENOMEM;
	g->pid = g->pgid = pid;
	g->sid = sid;
	g->parent = parent;
	g->state = PROC_GHOST;
	g->cwd = g->root = IMAGE_NONE;
	return 0;
}

int ids_add_ghosts(struct tree_image *im, struct err *e)
{
	size_t n = im->procs.n;
	for (size_t i = 0; i < n; i++) {
		struct image_proc p = *image_proc(im, (int)i);
		int r = 0;
		if (image_find_pid(im, p.sid) == IMAGE_NONE) {
			if (p.parent != IMAGE_NONE && image_proc(im, p.parent)->sid != p.sid)
				return look_refuse(e, &p, -1,
						   "the leader of its session is gone and its "
						   "parent is of another session");
			r = add_ghost(im, p.sid, p.sid, IMAGE_NONE);
		}
		if (!r && image_find_pid(im, p.pgid) == IMAGE_NONE)
			r = add_ghost(im, p.pgid, p.sid, p.parent);
		if (r)
			return err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

const struct part part_ids = { .name = "ids", .look = look_ids };
