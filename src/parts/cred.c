/*
 * cred.c - ids, capabilities, no_new_privs. All threads of a process must
 * have the same. The seccomp filter is the sandbox's own for every process:
 * one that has filters of its own is refused before anything runs in it
 * (task/remote.c), so it need not be saved.
 */
#include "parts/part.h"

#include <string.h>

#include "sandbox/confine.h"

static bool same_cred(const struct procfs_status *a, const struct procfs_status *b)
{
	return !memcmp(a->uid, b->uid, sizeof(a->uid)) && !memcmp(a->gid, b->gid, sizeof(a->gid)) &&
	       a->cap_inh == b->cap_inh && a->cap_prm == b->cap_prm && a->cap_eff == b->cap_eff &&
	       a->cap_bnd == b->cap_bnd && a->cap_amb == b->cap_amb &&
	       a->no_new_privs == b->no_new_privs && a->seccomp == b->seccomp;
}

static int look_groups(struct look *l, struct image_proc *p, pid_t pid, struct err *e)
{
	struct vec groups = VEC_INIT(gid_t);
	int n = procfs_groups(l->procfs, pid, &groups);
	if (n > IMAGE_GROUPS_MAX)
		n = look_refuse(e, p, -1, "it has more than %d groups", IMAGE_GROUPS_MAX);
	else if (n < 0)
		n = look_refuse(e, p, -1, "its groups: %s", strerror(-n));
	else
		for (p->cred.n_groups = 0; p->cred.n_groups < (uint32_t)n; p->cred.n_groups++)
			p->cred.groups[p->cred.n_groups] =
				*(gid_t *)vec_at(&groups, p->cred.n_groups);
	vec_deinit(&groups);
	return n < 0 ? n : 0;
}

static int look_cred(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	const struct procfs_status *s = &l->status;
	memcpy(p->cred.uid, s->uid, sizeof(p->cred.uid));
	memcpy(p->cred.gid, s->gid, sizeof(p->cred.gid));
	p->cred.inheritable = s->cap_inh;
	p->cred.permitted = s->cap_prm;
	p->cred.effective = s->cap_eff;
	p->cred.bounding = s->cap_bnd;
	p->cred.ambient = s->cap_amb;
	p->cred.no_new_privs = s->no_new_privs;
	p->cred.filters = (uint32_t)s->seccomp_filters;
	if (s->seccomp_filters > l->own_filters || s->seccomp == 1)
		return look_refuse(e, p, -1, "it has a seccomp filter of its own");
	for (size_t k = 1; k < f->threads.n; k++) {
		struct procfs_status other;
		const struct frozen_thread *t = frozen_thread(f, k);
		int r = procfs_status(l->procfs, f->pid, t->tid, &other);
		if (r < 0)
			return look_refuse(e, p, -1, "thread %d: %s", t->ns_tid, strerror(-r));
		if (!same_cred(s, &other))
			return look_refuse(e, p, -1, "thread %d has other credentials", t->ns_tid);
	}
	return look_groups(l, p, f->pid, e);
}

static void load_thread(struct load *l, const struct image_thread *t)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	const struct image_cred *c = &p->cred;
	struct confinement to = {
		.ruid = c->uid[0], .euid = c->uid[1], .suid = c->uid[2], .fsuid = c->uid[1],
		.rgid = c->gid[0], .egid = c->gid[1], .sgid = c->gid[2], .fsgid = c->gid[1],
		.groups = c->groups,
		.n_groups = c->n_groups,
		.cap_inh = c->inheritable,
		.cap_prm = c->permitted,
		.cap_eff = c->effective,
		.cap_bnd = c->bounding,
		.cap_amb = c->ambient,
		.securebits = c->securebits,
		.no_new_privs = c->no_new_privs,
		.keep_groups = l->keep_groups,
		.dumpable = p->dumpable,
	};
	confine_emit(l->prog, &to, confine_bounding());
}

const struct part part_cred = {
	.name = "cred",
	.look = look_cred,
	.load_thread = load_thread,
};
