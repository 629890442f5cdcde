#include "template/ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "parts/memory.h"
#include "sys/file.h"
#include "sys/pagemap.h"
#include "sys/proc.h"
#include "template/dump.h"
#include "template/plan.h"

unsigned int ahead_level(unsigned int n)
{
	unsigned int level = n ? (unsigned int)__builtin_ctz(n) : 0;
	return level < IMAGE_LEVELS ? level : IMAGE_LEVELS - 1;
}

struct ahead {
	struct dump dump;
	unsigned int ancestor_depth, level;
	pid_t parent_pid;
	struct vec opened;		/* struct look_opened */
};

/* Pages of [start, end) that the parent's template has, as guest addresses. */
static int pull_there(struct dump_proc *dp, const struct image_vma *v, uint64_t start, uint64_t end,
		      bool drop_rest)
{
	uint64_t to_stage = v->stage - v->start;
	struct vec there = VEC_INIT(struct sys_page_run);
	int r = sys_pagemap_anonymous(dp->pagemap_fd, start + to_stage, end + to_stage, &there);
	uint64_t at = start;
	vec_each(struct sys_page_run, t, &there) {
		struct sys_page_run *pull = vec_add(&dp->pull);
		struct sys_page_run *gone = drop_rest ? vec_add(&dp->drop) : NULL;
		if (!pull || (drop_rest && !gone)) {
			r = -ENOMEM;
			break;
		}
		*pull = (struct sys_page_run){ t->start - to_stage, t->end - to_stage };
		if (gone)
			*gone = (struct sys_page_run){ at, pull->start };
		if (gone && gone->start == gone->end)
			dp->drop.n--;
		at = pull->end;
	}
	vec_deinit(&there);
	if (r == 0 && drop_rest && at < end) {
		struct sys_page_run *gone = vec_add(&dp->drop);
		if (!gone)
			return -ENOMEM;
		*gone = (struct sys_page_run){ at, end };
	}
	return r;
}

static int pull_changed(const struct ahead *a, struct dump_proc *dp, const struct image_vma *v)
{
	vec_each(struct image_run, run, &dp->live->since[a->level]) {
		uint64_t start = run->start > v->start ? run->start : v->start;
		uint64_t end = run->start + run->bytes;
		end = end < v->end ? end : v->end;
		int r = start < end ? pull_there(dp, v, start, end, true) : 0;
		if (r)
			return r;
	}
	return 0;
}

static enum plan_kind decide(const struct ahead *a, const struct image_vma *v,
			     const struct image_vma *o)
{
	if (!o || v->born > a->ancestor_depth || !plan_same_mapping(o, v) ||
	    !plan_same_place(o, v) || o->start > v->start)
		return PLAN_BUILD;
	if (o->end >= v->end)
		return PLAN_KEEP;
	return v->kind == VMA_ANON && !v->grows_down ? PLAN_GROW : PLAN_BUILD;
}

static int plan_vma(const struct ahead *a, struct dump_proc *dp, const struct image_vma *v)
{
	const struct image_vma *o = plan_only_overlap(dp->base, v);
	enum plan_kind kind = decide(a, v, o);
	size_t first = dp->pull.n;
	int r = kind == PLAN_BUILD ? pull_there(dp, v, v->start, v->end, false) :
				     pull_changed(a, dp, v);
	if (r)
		return r;
	if (dp->pull.n > first && !(v->prot & PROT_READ))
		return -EOPNOTSUPP;
	struct dump_vma *dv = vec_add(&dp->vmas);
	if (!dv)
		return -ENOMEM;
	*dv = (struct dump_vma){ .kind = kind,
				 .vma = (size_t)(v - (struct image_vma *)dp->live->vmas.data),
				 .base = o,
				 .first_pull = first,
				 .end_pull = dp->pull.n };
	return 0;
}

static int plan_proc(struct ahead *a, int i)
{
	struct image_proc *p = image_proc(a->dump.image, i);
	int base = image_find_key(a->dump.base, p->key);
	struct dump_proc *dp = vec_add(&a->dump.procs);
	if (!dp)
		return -ENOMEM;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/pagemap", a->parent_pid);
	*dp = (struct dump_proc){ .index = i,
				  .key = p->key,
				  .pid = a->parent_pid,
				  .live = p,
				  .base = base == IMAGE_NONE ? NULL :
							       image_proc(a->dump.base, base),
				  .is_template = true,
				  .pagemap_fd = sys_openat(AT_FDCWD, path, O_RDONLY, 0),
				  .mem_fd = -1,
				  .vmas = VEC_INIT(struct dump_vma),
				  .pull = VEC_INIT(struct sys_page_run),
				  .drop = VEC_INIT(struct sys_page_run) };
	int r = dp->pagemap_fd < 0 ? dp->pagemap_fd : 0;
	for (size_t k = 0; r == 0 && k < p->vmas.n; k++) {
		const struct image_vma *v = vec_at(&p->vmas, k);
		if (memory_is_staged(v))
			r = plan_vma(a, dp, v);
	}
	return r;
}

static bool has_file(const struct tree_image *im, const struct image_map_file *file)
{
	vec_each(struct image_map_file, f, &im->map_files)
		if (!f->is_gone && f->template_fd == file->template_fd && f->dev == file->dev &&
		    f->ino == file->ino)
			return true;
	return false;
}

/* Files that the parent's template holds and the ancestor's does not. */
static int fetch_files(struct ahead *a)
{
	scoped_fd int pidfd = sys_pidfd_open(a->parent_pid);
	if (pidfd < 0)
		return pidfd;
	vec_each(struct image_map_file, f, &a->dump.image->map_files) {
		if (f->is_gone || has_file(a->dump.base, f))
			continue;
		struct look_opened *o = vec_add(&a->opened);
		if (!o)
			return -ENOMEM;
		*o = (struct look_opened){ sys_pidfd_getfd(pidfd, f->template_fd), f->template_fd };
		if (o->fd < 0)
			return o->fd;
	}
	return 0;
}

static int catch_up(struct ahead *a, const struct template *t, struct err *e)
{
	int r = fetch_files(a);
	for (size_t i = 0; r == 0 && i < a->dump.image->procs.n; i++)
		if (image_proc(a->dump.image, (int)i)->state == PROC_LIVE)
			r = plan_proc(a, (int)i);
	if (r)
		return err_set(e, -r, "plan the next template: %s", strerror(-r));
	return dump_run(&a->dump, t, &a->opened, e);
}

int ahead_make(const struct template *ancestor, const struct tree_image *ancestor_image,
	       unsigned int ancestor_depth, const struct template *parent,
	       struct tree_image *parent_image, unsigned int level, struct template *out,
	       struct err *e)
{
	struct ahead a = { .ancestor_depth = ancestor_depth,
			   .level = level,
			   .parent_pid = parent->pid,
			   .opened = VEC_INIT(struct look_opened) };
	struct template t;
	int r = template_fork(ancestor, &t, e);
	if (r)
		return r;
	dump_init(&a.dump, parent_image, ancestor_image, 0);
	r = catch_up(&a, &t, e);
	dump_deinit(&a.dump);
	vec_each(struct look_opened, o, &a.opened)
		cleanup_fd(&o->fd);
	vec_deinit(&a.opened);
	if (r)
		template_close(&t);
	else
		*out = t;
	return r;
}
