/* dropped.c - see dropped.h. */
#include "template/dropped.h"

#include <errno.h>

#include "sys/procfs.h"

static int add_pages(struct vec *runs, uint64_t start, uint64_t end)
{
	struct sys_page_run *run = start < end ? vec_add(runs) : NULL;
	if (run)
		*run = (struct sys_page_run){ start, end };
	return run || start >= end ? 0 : -ENOMEM;
}

/* What the template has in the mapping and the process has not; all ascending. */
static int compare(const struct vec *had, const struct image_vma *v, const struct vec *has,
		   struct vec *lost)
{
	size_t i = 0;	/* in has: those before it end before what is looked at */
	vec_each(struct image_run, h, had) {
		uint64_t at = h->start > v->start ? h->start : v->start;
		uint64_t end = h->start + h->bytes < v->end ? h->start + h->bytes : v->end;
		while (at < end) {
			const struct sys_page_run *now = i < has->n ? vec_at(has, i) : NULL;
			if (now && now->end <= at) {
				i++;
				continue;
			}
			uint64_t until = now && now->start < end ? now->start : end;
			int r = add_pages(lost, at, until);
			if (r)
				return r;
			at = until < end ? now->end : end;
		}
	}
	return 0;
}

/*
 * What lies in the swap looks lost, too. Ask after the scan: nothing that it
 * saw as present can have been there before. A copy is right in both cases,
 * but no more of the file.
 */
static int settle(struct dump_proc *dp, const struct vec *lost, uint64_t file_end)
{
	struct procfs_status status;
	int r = procfs_status(dp->procfs, dp->pid, 0, &status);
	if (r < 0)
		return r;
	vec_each(struct sys_page_run, run, lost) {
		uint64_t middle = run->end < file_end ? run->end : file_end;
		if (!status.swap_kb || middle < run->start)
			middle = run->start;
		r = add_pages(&dp->pull, run->start, middle);
		if (r == 0)
			r = add_pages(&dp->drop, middle, run->end);
		if (r)
			return r;
	}
	return 0;
}

static int note(struct dump_proc *dp, const struct vec *runs, size_t first)
{
	struct vec mine = VEC_INIT(struct image_run), others = VEC_INIT(struct image_run);
	int r = 0;
	vec_each(struct sys_page_run, run, runs)
		if (r == 0)
			r = plan_add_run(&mine, run->start, run->end);
	for (size_t i = first; r == 0 && i < dp->pull.n; i++) {
		const struct sys_page_run *run = vec_at(&dp->pull, i);
		struct image_run *other = vec_add(&others);
		if (other)
			*other = (struct image_run){ run->start, run->end - run->start };
		else
			r = -ENOMEM;
	}
	if (r == 0)
		r = plan_unite(&dp->live->own, &mine, &others);
	vec_deinit(&mine);
	vec_deinit(&others);
	return r;
}

int dropped_find(struct dump_proc *dp, const struct image_vma *v, uint64_t file_end, size_t first)
{
	struct vec has = VEC_INIT(struct sys_page_run), lost = VEC_INIT(struct sys_page_run);
	int r = sys_pagemap_private(dp->pagemap_fd, v->start, v->end, &has);
	if (r == 0)
		r = compare(&dp->base->own, v, &has, &lost);
	if (r == 0 && lost.n)
		r = settle(dp, &lost, file_end);
	if (r == 0)
		r = note(dp, &has, first);
	vec_deinit(&has);
	vec_deinit(&lost);
	return r;
}

int dropped_note_built(struct dump_proc *dp, size_t first)
{
	static const struct vec nothing = VEC_INIT(struct sys_page_run);
	return note(dp, &nothing, first);
}
