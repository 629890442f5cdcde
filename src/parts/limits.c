/* limits.c - resource limits, all of them. */
#include "parts/locked.h"
#include "parts/part.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

_Static_assert((int)RLIM_NLIMITS <= (int)IMAGE_LIMITS, "room for every limit");

static int look_limits(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	int r = procfs_limits(l->procfs, f->pid, p->limit);
	return r < 0 ? look_refuse(e, p, -1, "its resource limits: %s", strerror(-r)) : 0;
}

/* PID 1 has the keeper's own; only what differs is set. */
static void load_limits(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit ours;
		if (i == RLIMIT_MEMLOCK && locked_limits_later(p))
			continue;
		if (getrlimit(i, &ours) == 0 && !memcmp(&ours, &p->limit[i], sizeof(ours)))
			continue;
		prog_sys(l->prog, SYS_prlimit64, 0, (uint64_t)i,
			 prog_data(l->prog->arena, &p->limit[i], sizeof(p->limit[i])), 0);
	}
}

const struct part part_limits = {
	.name = "limits",
	.look = look_limits,
	.load = load_limits,
};
