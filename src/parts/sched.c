/*
 * sched.c - how each thread is scheduled: policy, priority, nice value, CPUs,
 * I/O priority. All of it is seen from outside. A new thread has what its
 * process's first one had from PID 1, that is the keeper's: threads are made
 * before the first one takes its own, so none has to go back up.
 */
#include "parts/part.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6	/* sched(7); not in glibc */
#endif

enum { IOPRIO_WHO_PROCESS = 1 };	/* linux/ioprio.h: one thread */

/* Kept where it is not the keeper's: cpus stays NULL else. */
static int look_cpus(struct image_thread *t, pid_t tid)
{
	uint8_t own[SYS_CPUS_BYTES], cpus[SYS_CPUS_BYTES];
	int n = sys_sched_getaffinity(tid, cpus);
	if (n < 0)
		return n;
	int n_own = sys_sched_getaffinity(0, own);
	if (n_own < 0)
		return n_own;
	if (n == n_own && !memcmp(cpus, own, (size_t)n))
		return 0;
	t->cpus = malloc((size_t)n);
	if (!t->cpus)
		return -ENOMEM;
	memcpy(t->cpus, cpus, (size_t)n);
	t->cpus_bytes = (uint32_t)n;
	return 0;
}

static int look_thread(struct image_thread *t, pid_t tid)
{
	int r = sys_sched_getattr(tid, &t->sched);
	if (r == 0)
		r = sys_get_nice(tid, &t->nice);
	if (r == 0)
		r = look_cpus(t, tid);
	if (r == 0)
		r = t->ioprio = sys_ioprio_get(tid);
	return r < 0 ? r : 0;
}

static int look_sched(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	for (size_t k = 0; k < p->threads.n; k++) {
		struct image_thread *t = vec_at(&p->threads, k);
		int r = look_thread(t, frozen_thread(f, k)->tid);
		if (r < 0)
			return look_refuse(e, p, -1, "how thread %d is scheduled: %s", t->tid,
					   strerror(-r));
		/* the time that it has used of its runtime cannot be set */
		if (t->sched.policy == SCHED_DEADLINE)
			return look_refuse(e, p, -1, "thread %d is scheduled by deadlines", t->tid);
	}
	return 0;
}

static void load_attr(struct load *l, const struct image_thread *t)
{
	const struct sys_sched_attr *own = &l->own->sched;
	struct sys_sched_attr attr = t->sched;
	if (!memcmp(own, &attr, sizeof(attr)))
		return;
	/* the keeper's slice is the default one: 0 asks for that */
	if (attr.runtime == own->runtime)
		attr.runtime = 0;
	if (attr.util_min != own->util_min || attr.util_max != own->util_max)
		attr.flags |= SYS_SCHED_UTIL_CLAMP;
	prog_sys(l->prog, SYS_sched_setattr, 0, prog_data(l->prog->arena, &attr, sizeof(attr)), 0);
}

static void load_thread(struct load *l, const struct image_thread *t)
{
	if (t->nice != l->own->nice)
		prog_sys(l->prog, SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)t->nice);
	load_attr(l, t);
	if (t->cpus)
		prog_sys(l->prog, SYS_sched_setaffinity, 0, t->cpus_bytes,
			 prog_data(l->prog->arena, t->cpus, t->cpus_bytes));
	if (t->ioprio != l->own->ioprio)
		prog_sys(l->prog, SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, (uint64_t)t->ioprio);
}

const struct part part_sched = {
	.name = "scheduling",
	.look = look_sched,
	.load_thread = load_thread,
};
