#include "template/tracker.h"

#include <errno.h>
#include <signal.h>
#include <sys/random.h>

struct tracked *tracker_find(struct tracker *t, pid_t pid, uint64_t start_time)
{
	vec_each(struct tracked, p, &t->procs)
		if (p->pid == pid && p->start_time == start_time)
			return p;
	return NULL;
}

static uint64_t new_key(void)
{
	uint64_t key = 0;
	while (!key)
		if (getrandom(&key, sizeof(key), 0) != sizeof(key))
			key = 0;
	return key;
}

struct tracked *tracker_add(struct tracker *t, pid_t pid, uint64_t start_time, uint64_t key)
{
	struct tracked *p = vec_add(&t->procs);
	if (!p)
		return NULL;
	*p = (struct tracked){ .pid = pid,
			       .start_time = start_time,
			       .key = key ? key : new_key(),
			       .uffd = -1 };
	return p;
}

void tracker_invalidate(struct tracker *t)
{
	vec_each(struct tracked, p, &t->procs)
		p->fresh = false;
}

void tracker_forget_dead(struct tracker *t)
{
	for (size_t i = t->procs.n; i--;) {
		struct tracked *p = vec_at(&t->procs, i);
		if (kill(p->pid, 0) == 0 || errno != ESRCH)
			continue;
		cleanup_fd(&p->uffd);
		vec_remove(&t->procs, i);
	}
}

void tracker_deinit(struct tracker *t)
{
	vec_each(struct tracked, p, &t->procs)
		cleanup_fd(&p->uffd);
	vec_deinit(&t->procs);
}
