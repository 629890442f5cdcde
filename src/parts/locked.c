/*
 * locked.c - memory that must stay in memory: mlock, mlock2, mlockall.
 *
 * That something is locked stands in /proc/PID/status, what it is only in
 * smaps, which is slow and so read only then. That future mappings will be
 * locked (MCL_FUTURE) is in no file: an untouched page of what the keeper has
 * just mapped there tells. It is locked if it cannot be made cold (EINVAL),
 * and resident unless it is to be locked on a fault only.
 *
 * In a restore: locked before limits come down, and before dirty tracking,
 * which would take the pages that are faulted in for written ones. What is in
 * the future comes when the process has mapped all that it will.
 */
#include "parts/locked.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "parts/part.h"

static void mark(struct image_proc *p, const struct procfs_locked *range)
{
	vec_each(struct image_vma, v, &p->vmas)
		if (v->start >= range->start && v->end <= range->end)
			v->lock = range->on_fault ? LOCK_ON_FAULT : LOCK_NOW;
}

static int look_locked(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	if (!l->status.locked_kb)
		return 0;
	struct vec ranges = VEC_INIT(struct procfs_locked);
	int r = procfs_locked(l->procfs, frozen_proc(l->frozen, (size_t)i)->pid, &ranges);
	vec_each(struct procfs_locked, range, &ranges)
		mark(p, range);
	vec_deinit(&ranges);
	return r < 0 ? look_refuse(e, p, -1, "its locked memory: %s", strerror(-r)) : 0;
}

static int ask_locked(struct image_proc *p, struct asked *a)
{
	a->locked_first = prog_sys(a->prog, SYS_mincore, a->untouched, PUP_PAGE,
				   prog_remote(a->prog->arena, &a->answers->resident));
	prog_sys(a->prog, SYS_madvise, a->untouched, PUP_PAGE, MADV_COLD);
	prog_mayfail(a->prog);
	return 0;
}

static int heard_locked(struct image_proc *p, const struct asked *a, struct err *e)
{
	int64_t r = prog_result(a->prog, a->locked_first + 1);
	if (r != 0 && r != -EINVAL)
		return look_refuse(e, p, -1, "whether it locks memory: %s", strerror((int)-r));
	bool now = a->answers->resident & 1;
	p->lock_future = r == 0 ? LOCK_NONE : now ? LOCK_NOW : LOCK_ON_FAULT;
	return 0;
}

bool locked_limits_later(const struct image_proc *p)
{
	bool any = p->lock_future != LOCK_NONE;
	vec_each(struct image_vma, v, &p->vmas)
		any |= v->lock != LOCK_NONE;
	return any;
}

static void set_limit(struct prog *p, const struct rlimit *limit)
{
	prog_sys(p, SYS_prlimit64, 0, RLIMIT_MEMLOCK,
		 prog_data(p->arena, limit, sizeof(*limit)), 0);
}

static void load_locked(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	if (!locked_limits_later(p))
		return;
	const struct rlimit most = { l->own->memlock.rlim_max, l->own->memlock.rlim_max };
	set_limit(l->prog, &most);
	vec_each(struct image_vma, v, &p->vmas) {
		if (v->lock == LOCK_NONE)
			continue;
		prog_sys(l->prog, SYS_mlock2, v->start, v->end - v->start,
			 v->lock == LOCK_ON_FAULT ? MLOCK_ONFAULT : 0);
		if (!v->prot)	/* ENOMEM: nothing can be faulted in there */
			prog_mayfail(l->prog);
	}
}

/* The first thread is the last that is made. */
static void load_future(struct load *l, const struct image_thread *t)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	if (t != vec_at(&p->threads, 0) || !locked_limits_later(p))
		return;
	if (p->lock_future != LOCK_NONE)
		prog_sys(l->prog, SYS_mlockall,
			 MCL_FUTURE | (p->lock_future == LOCK_ON_FAULT ? MCL_ONFAULT : 0));
	set_limit(l->prog, &p->limit[RLIMIT_MEMLOCK]);
}

const struct part part_locked = {
	.name = "locked memory",
	.look = look_locked,
	.ask = ask_locked,
	.heard = heard_locked,
	.load = load_locked,
	.load_thread = load_future,
};
