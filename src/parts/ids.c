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

/* Index of the new ghost, or -ENOMEM. */
static int add_ghost(struct tree_image *im, pid_t pid, pid_t sid, int parent)
{
	struct image_proc *g = vec_add(&im->procs);
	if (!g)
		return -ENOMEM;
	g->pid = g->pgid = pid;
	g->sid = sid;
	g->parent = parent;
	g->state = PROC_GHOST;
	g->cwd = g->root = g->maker = IMAGE_NONE;
	return (int)im->procs.n - 1;
}

/* Its session has a leader, and yet its parent is not of the session. */
static bool was_adopted(const struct tree_image *im, const struct image_proc *p)
{
	int leader = image_find_pid(im, p->sid);
	if (p->pid == p->sid || leader == IMAGE_NONE ||
	    image_proc(im, leader)->state != PROC_LIVE)
		return false;
	return p->parent == IMAGE_NONE || image_proc(im, p->parent)->sid != p->sid;
}

static bool is_used(const struct tree_image *im, pid_t id)
{
	vec_each(struct image_proc, p, &im->procs) {
		if (p->pid == id || p->pgid == id || p->sid == id)
			return true;
		vec_each(struct image_thread, t, &p->threads)
			if (t->tid == id)
				return true;
	}
	return false;
}

/* The ghost of its group, or one that is made for it alone. */
static int add_maker(struct tree_image *im, const struct image_proc *p)
{
	int leader = image_find_pid(im, p->sid);
	int group = image_find_pid(im, p->pgid);
	if (group == IMAGE_NONE)
		return add_ghost(im, p->pgid, p->sid, leader);
	if (image_proc(im, group)->state == PROC_GHOST && image_proc(im, group)->parent == leader)
		return group;
	pid_t unused = 2;
	while (is_used(im, unused))
		unused++;
	return add_ghost(im, unused, p->sid, leader);
}

static int add_ghosts_of(struct tree_image *im, int i, struct err *e)
{
	const struct image_proc p = *image_proc(im, i);
	int r = 0;
	if (image_find_pid(im, p.sid) == IMAGE_NONE) {
		if (p.parent != IMAGE_NONE && image_proc(im, p.parent)->sid != p.sid)
			return look_refuse(e, &p, -1,
					   "the leader of its session is gone and its "
					   "parent is of another session");
		r = add_ghost(im, p.sid, p.sid, IMAGE_NONE);
	}
	if (was_adopted(im, &p)) {
		if (p.parent != IMAGE_NONE)
			return look_refuse(e, &p, -1, "its parent has adopted it from another "
					   "session");
		r = add_maker(im, &p);
		image_proc(im, i)->maker = r;
	} else if (r >= 0 && image_find_pid(im, p.pgid) == IMAGE_NONE) {
		r = add_ghost(im, p.pgid, p.sid, p.parent);
	}
	return r < 0 ? err_set(e, ENOMEM, "out of memory") : 0;
}

int ids_add_ghosts(struct tree_image *im, struct err *e)
{
	size_t n = im->procs.n;
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_ghosts_of(im, (int)i, e);
	return r;
}

static bool is_below(const struct tree_image *im, int i, const struct image_proc *p)
{
	for (; i != IMAGE_NONE; i = image_proc(im, i)->parent)
		if (image_proc(im, i) == p)
			return true;
	return false;
}

bool ids_would_adopt(const struct tree_image *im, const struct image_proc *p)
{
	vec_each(struct image_proc, o, &im->procs)
		if (o->maker != IMAGE_NONE && is_below(im, o->maker, p))
			return true;
	return false;
}

const struct part part_ids = { .name = "ids", .look = look_ids };
