/*
 * sems.c - System V semaphores: ids, owners, values, and who changed each last
 * (GETPID), which a child of the keeper with that number does again.
 *
 * What semop(2) will undo at the end of a process (SEM_UNDO) is known to the
 * kernel alone: a process with such a list is refused. Who sleeps in semop is
 * in no set: its call is interrupted, and starts again (task/interrupt.c).
 */
#include "parts/sems.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "parts/ipc.h"
#include "sys/fd.h"
#include "sys/proc.h"

int sems_look(struct look *l, struct err *e)
{
	scoped_fd int table = ipc_table(l->pid1_pidfd, sys_sem_table);
	int r = table < 0 ? table : sys_sem_table_read(table, &l->image->sem_sets);
	return r ? err_set(e, -r, "read the System V semaphores: %s", strerror(-r)) : 0;
}

/* The keeper has no list: who is equal to it has none, either. */
static int look_thread(struct look *l, int i, pid_t tid, struct err *e)
{
	int r = sys_kcmp(tid, getpid(), SYS_KCMP_SYSVSEM, 0, 0);
	if (r == 0)
		return 0;
	if (r < 0)
		return look_refuse(e, look_proc(l, i), -1, "its semaphores: %s", strerror(-r));
	return look_refuse(e, look_proc(l, i), -1, "it has used semop with SEM_UNDO");
}

int sems_look_end(struct look *l, struct err *e)
{
	for (int i = 0; l->image->sem_sets.n && i < (int)l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(l->frozen, (size_t)i);
		if (fp->zombie)
			continue;
		vec_each(struct frozen_thread, t, &fp->threads) {
			int r = t->stopped ? look_thread(l, i, t->tid, e) : 0;
			if (r)
				return r;
		}
	}
	return 0;
}

/* An id that was taken is not the one that was asked for. */
static int run_make(void *ctx)
{
	const struct sys_sem_set *set = ctx;
	int id = sys_sem_make(set);
	return id < 0 ? id : id == set->id ? 0 : -EEXIST;
}

static int make_set(const struct files_open *o, struct sys_sem_set *set)
{
	int r = sys_ipc_want_id("sem", set->id);
	if (r == 0)
		r = ipc_act(o->pid1_pidfd, 0, set->cuid, set->cgid, run_make, set);
	if (r == 0 && (set->uid != set->cuid || set->gid != set->cgid))
		r = sys_sem_set_owner(set);
	return r;
}

struct setting {
	const struct tree_image *image;
	pid_t pid;
};

/* The semaphore whose user is to be remembered as that of the set. */
static uint32_t used_one(const struct sys_sem_set *set)
{
	for (uint32_t i = 0; i < set->n; i++)
		if (set->sems[i].pid)
			return i;
	return 0;
}

/* All semaphores that this process changed last. They are 0. */
static int run_set(void *ctx)
{
	const struct setting *s = ctx;
	int r = 0;
	vec_each(struct sys_sem_set, set, &s->image->sem_sets)
		for (uint32_t i = 0; r == 0 && i < set->n; i++) {
			const struct sys_sem *sem = &set->sems[i];
			if (sem->pid != s->pid)
				continue;
			if (set->was_used && i == used_one(set))
				r = sys_sem_use(set->id, i);
			if (r == 0 && (sem->pid || sem->value))
				r = sys_sem_set_value(set->id, i, sem->value);
		}
	return r;
}

static bool is_among(const struct vec *pids, pid_t pid)
{
	vec_each(pid_t, p, pids)
		if (*p == pid)
			return true;
	return false;
}

static int set_values(const struct files_open *o)
{
	int r = 0;
	struct vec done = VEC_INIT(pid_t);
	vec_each(struct sys_sem_set, set, &o->image->sem_sets)
		for (uint32_t i = 0; r == 0 && i < set->n; i++) {
			struct setting s = { o->image, set->sems[i].pid };
			if (is_among(&done, s.pid))
				continue;
			pid_t *mine = vec_add(&done);
			if (mine)
				*mine = s.pid;
			r = mine ? ipc_act(o->pid1_pidfd, s.pid, 0, 0, run_set, &s) : -ENOMEM;
		}
	vec_deinit(&done);
	return r;
}

int sems_make(const struct files_open *o, struct err *e)
{
	if (!o->image->sem_sets.n)
		return 0;
	int home = -1;
	int r = sys_ipc_enter(o->pid1_pidfd, &home);
	vec_each(struct sys_sem_set, set, &o->image->sem_sets)
		if (r == 0)
			r = make_set(o, set);
	if (r == 0)
		r = set_values(o);
	sys_ipc_leave(&home);
	return r ? err_set(e, -r, "make the System V semaphores again: %s", strerror(-r)) : 0;
}
