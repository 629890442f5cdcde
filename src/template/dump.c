/*
 * dump.c - plan: compare mappings, collect pages. run.c of this directory
 * turns the plan into a program.
 */
#include "template/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "parts/memory.h"
#include "parts/stagemap.h"
#include "sys/pagemap.h"
#include "sys/uffd.h"
#include "template/dropped.h"
#include "template/plan.h"

enum { BIG_RESERVATION = 64 << 20 };

void dump_init(struct dump *d, struct tree_image *image, const struct tree_image *base,
	       unsigned int depth)
{
	*d = (struct dump){ .image = image,
			    .base = base,
			    .depth = depth,
			    .procs = VEC_INIT(struct dump_proc) };
}

static void proc_deinit(struct dump_proc *p)
{
	cleanup_fd(&p->pagemap_fd);
	cleanup_fd(&p->mem_fd);
	vec_deinit(&p->vmas);
	vec_deinit(&p->pull);
	vec_deinit(&p->drop);
}

void dump_deinit(struct dump *d)
{
	vec_each(struct dump_proc, p, &d->procs)
		proc_deinit(p);
	vec_deinit(&d->procs);
}

/*
 * Tracking costs page tables in unpopulated reservations and fault-around in
 * file text: those are compared as a whole instead.
 */
static bool want_tracked(const struct image_vma *v)
{
	if (!memory_is_staged(v))
		return false;
	if (v->kind == VMA_FILE)
		return (v->prot & PROT_WRITE) || v->has_anon;
	return v->prot != PROT_NONE || v->has_anon || v->end - v->start < BIG_RESERVATION;
}

bool plan_same_mapping(const struct image_vma *a, const struct image_vma *b)
{
	return a->kind == b->kind && a->object == b->object && a->grows_down == b->grows_down &&
	       (a->kind == VMA_ANON || a->offset - a->start == b->offset - b->start);
}

bool plan_same_place(const struct image_vma *a, const struct image_vma *b)
{
	return a->stage - a->start == b->stage - b->start;
}

const struct image_vma *plan_only_overlap(const struct image_proc *base,
					  const struct image_vma *v)
{
	const struct image_vma *found = NULL;
	if (!base)
		return NULL;
	vec_each(struct image_vma, o, &base->vmas) {
		if (!memory_is_staged(o) || o->end <= v->start)
			continue;
		if (o->start >= v->end)
			break;
		if (found)
			return NULL;
		found = o;
	}
	return found;
}

static enum plan_kind decide(const struct dump_proc *dp, const struct image_vma *v,
			     const struct image_vma *o, bool tracked, bool has_anon)
{
	if (!o || !plan_same_mapping(o, v) || !plan_same_place(o, v) || o->start > v->start)
		return PLAN_BUILD;
	if (!tracked)
		return !want_tracked(v) && !has_anon && !o->has_anon && o->start == v->start &&
				       o->end == v->end ?
			       PLAN_SAME :
			       PLAN_BUILD;
	if (o->end >= v->end)
		return PLAN_KEEP;
	return v->kind == VMA_ANON && !v->grows_down ? PLAN_GROW : PLAN_BUILD;
}

/* Sort the written runs of a kept mapping into there and gone. */
static int sort_written(struct dump_proc *dp, const struct vec *written)
{
	vec_each(struct sys_page_run, w, written) {
		struct vec there = VEC_INIT(struct sys_page_run);
		int r = sys_pagemap_anonymous(dp->pagemap_fd, w->start, w->end, &there);
		uint64_t at = w->start;
		vec_each(struct sys_page_run, t, &there) {
			struct sys_page_run *pull = vec_add(&dp->pull);
			struct sys_page_run *gone = t->start > at ? vec_add(&dp->drop) : NULL;
			if (!pull || (t->start > at && !gone)) {
				r = -ENOMEM;
				break;
			}
			*pull = *t;
			if (gone)
				*gone = (struct sys_page_run){ at, t->start };
			at = t->end;
		}
		if (!r && at < w->end) {
			struct sys_page_run *gone = vec_add(&dp->drop);
			if (gone)
				*gone = (struct sys_page_run){ at, w->end };
			else
				r = -ENOMEM;
		}
		vec_deinit(&there);
		if (r)
			return r;
	}
	return 0;
}

/*
 * Where the memory of a mapping ends. What is armed and not populated looks
 * as if it were in the swap: behind the end of a file there is nothing.
 */
static uint64_t end_of(const struct dump *d, const struct image_vma *v)
{
	if (v->kind != VMA_FILE)
		return v->end;
	const struct image_map_file *f = vec_at(&d->image->map_files, (size_t)v->object);
	uint64_t pages = f->bytes / PUP_PAGE + (f->bytes % PUP_PAGE != 0);
	uint64_t first = v->offset / PUP_PAGE, all = (v->end - v->start) / PUP_PAGE;
	uint64_t there = pages > first ? pages - first : 0;
	return v->start + (there < all ? there : all) * PUP_PAGE;
}

/* Was it armed by the checkpoint before, and is there nothing else by now? */
static bool is_as_before(const struct image_proc *base, const struct image_vma *v)
{
	const struct image_vma *o = memory_is_staged(v) ? plan_only_overlap(base, v) : NULL;
	return o && o->tracked && o->start == v->start && o->end == v->end &&
	       plan_same_mapping(o, v) && plan_same_place(o, v);
}

/* Mappings that are asked for together, and what was written in them. */
struct asked_together {
	size_t end;		/* index after the last */
	bool tracked;
	struct vec written;	/* struct sys_page_run */
};

/*
 * A call costs more than what it tells: what was not armed is not asked for,
 * and neighbours that were are asked for together. Should one be new all the
 * same, what was written in the others is not known any more: all of them are
 * copied.
 */
static int ask_written(const struct dump_proc *dp, const struct image_proc *base, size_t k,
		       const struct tracked *t, struct asked_together *a)
{
	const struct vec *vmas = &dp->live->vmas;
	const struct image_vma *first = vec_at(vmas, k), *last = first;
	a->end = k + 1;
	a->tracked = false;
	a->written.n = 0;
	const struct image_vma *o = plan_only_overlap(base, first);
	/* what was not armed would answer EPERM */
	if (!t->fresh || t->uffd < 0 || !o || !o->tracked)
		return 0;
	for (bool joins = is_as_before(base, first); joins && a->end < vmas->n;) {
		const struct image_vma *next = vec_at(vmas, a->end);
		joins = next->start == last->end && is_as_before(base, next);
		if (joins) {
			last = next;
			a->end++;
		}
	}
	int r = sys_pagemap_written(dp->pagemap_fd, first->start, last->end, &a->written);
	a->tracked = r == 0;
	return r == -EPERM || r == -ENOTTY ? 0 : r;
}

/* The part of the runs that lies in a mapping. */
static int written_in(const struct vec *runs, const struct image_vma *v, struct vec *mine)
{
	vec_each(struct sys_page_run, w, runs) {
		uint64_t start = w->start > v->start ? w->start : v->start;
		uint64_t end = w->end < v->end ? w->end : v->end;
		struct sys_page_run *run = start < end ? vec_add(mine) : NULL;
		if (run)
			*run = (struct sys_page_run){ start, end };
		else if (start < end)
			return -ENOMEM;
	}
	return 0;
}

static int plan_vma(struct dump *d, struct dump_proc *dp, const struct image_proc *base,
		    struct image_vma *v, const struct asked_together *a)
{
	struct vec written = VEC_INIT(struct sys_page_run);
	bool tracked = a->tracked;
	int r = tracked ? written_in(&a->written, v, &written) : 0;
	if (r)
		goto out;
	size_t before = dp->pull.n;
	const struct image_vma *o = plan_only_overlap(base, v);
	enum plan_kind kind = decide(dp, v, o, tracked, false);
	if (kind == PLAN_KEEP || kind == PLAN_GROW) {
		v->has_anon = o->has_anon || written.n;
		r = sort_written(dp, &written);
		if (r == 0 && v->kind == VMA_FILE && v->has_anon)
			r = dropped_find(dp, v, end_of(d, v), before);
	} else {
		r = sys_pagemap_anonymous(dp->pagemap_fd, v->start, end_of(d, v), &dp->pull);
		v->has_anon = dp->pull.n > before;
		kind = decide(dp, v, o, tracked, v->has_anon);
		if (kind == PLAN_KEEP || kind == PLAN_GROW)
			kind = PLAN_BUILD;
		if (r == 0 && v->kind == VMA_FILE && v->has_anon)
			r = dropped_note_built(dp, before);
	}
	struct dump_vma *dv = r ? NULL : vec_add(&dp->vmas);
	if (!r && !dv)
		r = -ENOMEM;
	if (dv)
		*dv = (struct dump_vma){ .kind = kind,
					 .vma = (size_t)(v - (struct image_vma *)dp->live->vmas.data),
					 .base = o,
					 .first_pull = before,
					 .end_pull = dp->pull.n,
					 .was_tracked = tracked };
	v->tracked = want_tracked(v);
	v->born = kind == PLAN_BUILD || !o ? d->depth : o->born;
out:
	vec_deinit(&written);
	return r;
}

static int open_procs(struct dump_proc *dp, struct procfs *procfs)
{
	dp->pagemap_fd = procfs_openat(procfs, dp->pid, 0, "pagemap", O_RDONLY | O_CLOEXEC);
	if (dp->pagemap_fd < 0)
		return dp->pagemap_fd;
	dp->mem_fd = procfs_openat(procfs, dp->pid, 0, "mem", O_RDONLY | O_CLOEXEC);
	return dp->mem_fd < 0 ? dp->mem_fd : 0;
}

int dump_plan(struct dump *d, int i, struct procfs *procfs, pid_t pid, struct tracked *t,
	      struct err *e)
{
	struct image_proc *live = image_proc(d->image, i);
	int bi = image_find_key(d->base, live->key);
	const struct image_proc *base = bi == IMAGE_NONE ? NULL : image_proc(d->base, bi);
	struct dump_proc *dp = vec_add(&d->procs);
	if (!dp)
		return err_set(e, ENOMEM, "out of memory");
	*dp = (struct dump_proc){ .index = i,
				  .key = live->key,
				  .pid = pid,
				  .live = live,
				  .base = base,
				  .pagemap_fd = -1,
				  .mem_fd = -1,
				  .vmas = VEC_INIT(struct dump_vma),
				  .pull = VEC_INIT(struct sys_page_run),
				  .drop = VEC_INIT(struct sys_page_run),
				  .procfs = procfs };
	int r = open_procs(dp, procfs);
	if (r == 0)
		r = stagemap_place(d->image, live);
	if (t->uffd >= 0 && !sys_uffd_is_alive(t->uffd)) {
		/* it has executed another program */
		cleanup_fd(&t->uffd);
		t->fresh = false;
	}
	struct asked_together together = { .written = VEC_INIT(struct sys_page_run) };
	for (size_t k = 0; r == 0 && k < live->vmas.n; k++) {
		struct image_vma *v = vec_at(&live->vmas, k);
		if (!memory_is_staged(v))
			continue;
		if (k >= together.end)
			r = ask_written(dp, base, k, t, &together);
		if (r == 0)
			r = plan_vma(d, dp, base, v, &together);
	}
	vec_deinit(&together.written);
	if (r) {
		t->fresh = false;
		err_set(e, -r, "read the memory of process %d (%s): %s", live->pid, live->comm,
			strerror(-r));
		return err_about(e, live->pid, -1);
	}
	vec_each(struct sys_page_run, run, &dp->pull)
		d->pages += (run->end - run->start) / PUP_PAGE;
	return 0;
}

int plan_add_run(struct vec *runs, uint64_t start, uint64_t end)
{
	struct image_run *last = runs->n ? vec_at(runs, runs->n - 1) : NULL;
	if (last && start <= last->start + last->bytes) {
		if (end > last->start + last->bytes)
			last->bytes = end - last->start;
		return 0;
	}
	struct image_run *run = vec_add(runs);
	if (!run)
		return -ENOMEM;
	*run = (struct image_run){ start, end - start };
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct image_run *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* What this plan changes in mappings that are not built afresh. */
static int changed_pages(const struct dump_proc *dp, struct vec *out)
{
	vec_each(struct dump_vma, dv, &dp->vmas)
		for (size_t i = dv->first_pull; dv->kind != PLAN_BUILD && i < dv->end_pull; i++) {
			const struct sys_page_run *run = vec_at(&dp->pull, i);
			struct image_run *r = vec_add(out);
			if (!r)
				return -ENOMEM;
			*r = (struct image_run){ run->start, run->end - run->start };
		}
	vec_each(struct sys_page_run, run, &dp->drop) {
		struct image_run *r = vec_add(out);
		if (!r)
			return -ENOMEM;
		*r = (struct image_run){ run->start, run->end - run->start };
	}
	return 0;
}

int plan_unite(struct vec *out, const struct vec *a, const struct vec *b)
{
	struct vec all;
	if (vec_copy(&all, a))
		return -ENOMEM;
	int r = 0;
	vec_each(struct image_run, run, b) {
		struct image_run *mine = vec_add(&all);
		if (!mine)
			r = -ENOMEM;
		else
			*mine = *run;
	}
	if (all.n)
		qsort(all.data, all.n, sizeof(struct image_run), by_start);
	vec_each(struct image_run, run, &all)
		if (r == 0)
			r = plan_add_run(out, run->start, run->start + run->bytes);
	vec_deinit(&all);
	return r;
}

int dump_note_changes(struct dump *d, struct err *e)
{
	static const struct vec nothing = VEC_INIT(struct image_run);
	int r = 0;
	vec_each(struct dump_proc, dp, &d->procs) {
		struct vec changed = VEC_INIT(struct image_run);
		r = changed_pages(dp, &changed);
		for (int j = 1; r == 0 && j < IMAGE_LEVELS; j++) {
			bool is_ancestor = !(d->depth & ((1u << j) - 1));
			const struct vec *before = dp->base ? &dp->base->since[j] : &nothing;
			if (!is_ancestor)
				r = plan_unite(&dp->live->since[j], before, &changed);
		}
		vec_deinit(&changed);
		if (r)
			return err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

/* Neighbours are registered and armed together. */
static int arm_runs(const struct image_proc *p, const struct vec *skip, int uffd, int pagemap_fd)
{
	uint64_t start = 0, end = 0;
	for (size_t k = 0; k <= p->vmas.n; k++) {
		const struct image_vma *v = k < p->vmas.n ? vec_at(&p->vmas, k) : NULL;
		bool arm = v && v->tracked && !(skip && *(bool *)vec_at(skip, k));
		if (arm && end == v->start && end) {
			end = v->end;
			continue;
		}
		if (end) {
			int r = sys_uffd_register(uffd, start, end);
			if (r == 0)
				r = sys_pagemap_arm(pagemap_fd, start, end);
			if (r)
				return r;
			end = 0;
		}
		if (arm) {
			start = v->start;
			end = v->end;
		}
	}
	return 0;
}

int dump_arm(struct dump *d, int i, struct tracked *t, struct err *e)
{
	struct dump_proc *dp = vec_at(&d->procs, (size_t)i);
	struct vec skip = VEC_INIT(bool);
	int r = vec_reserve(&skip, dp->live->vmas.n + 1);
	for (size_t k = 0; r == 0 && k < dp->live->vmas.n; k++)
		*(bool *)vec_add(&skip) = false;
	vec_each(struct dump_vma, dv, &dp->vmas)
		if (r == 0 && dv->was_tracked)
			*(bool *)vec_at(&skip, dv->vma) = true;
	if (r == 0)
		r = arm_runs(dp->live, &skip, t->uffd, dp->pagemap_fd);
	vec_deinit(&skip);
	t->fresh = r == 0;
	if (r)
		err_set(e, -r, "track the memory of process %d (%s): %s", dp->live->pid,
			dp->live->comm, strerror(-r));
	return r;
}

int dump_arm_restored(const struct image_proc *p, struct procfs *procfs, pid_t pid, int uffd,
		      struct err *e)
{
	scoped_fd int pagemap = procfs_openat(procfs, pid, 0, "pagemap", O_RDONLY | O_CLOEXEC);
	int r = pagemap < 0 ? pagemap : arm_runs(p, NULL, uffd, pagemap);
	return r ? err_set(e, -r, "track the memory of restored process %d (%s): %s", p->pid,
			   p->comm, strerror(-r)) :
		   0;
}
