#include "sandbox/spares.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/fs_internal.h"
#include "sys/mount.h"

enum {
	SPARES_MAX = 8,
	SPARES_ALIKE = 2,	/* for a standby, and for the next one */
};

#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

void fs_spares_init(struct fs_spares *s, struct store *store)
{
	*s = (struct fs_spares){ .store = store, .mounts = VEC_INIT(struct fs_mount) };
}

static void drop(struct fs_spares *s, size_t i)
{
	fs_mount_deinit(s->store, vec_at(&s->mounts, i));
	vec_remove(&s->mounts, i);
}

void fs_spares_clear(struct fs_spares *s)
{
	while (s->mounts.n)
		drop(s, s->mounts.n - 1);
	vec_deinit(&s->mounts);
	s->mounts = VEC_INIT(struct fs_mount);
}

void fs_spares_abandon(struct fs_spares *s)
{
	vec_each(struct fs_mount, m, &s->mounts)
		fs_mount_abandon(m);
	fs_spares_clear(s);
}

static bool same_stack(const struct fs_mount *a, const struct fs_mount *b)
{
	if (strcmp(a->target, b->target) || strcmp(a->source, b->source) ||
	    a->layers.n != b->layers.n)
		return false;
	for (size_t i = 0; i < a->layers.n; i++) {
		const struct layer *x = *(struct layer **)vec_at(&a->layers, i);
		const struct layer *y = *(struct layer **)vec_at(&b->layers, i);
		if (strcmp(x->id, y->id))
			return false;
	}
	return true;
}

static unsigned int count_alike(const struct fs_spares *s, const struct fs_mount *m)
{
	unsigned int n = 0;
	vec_each(struct fs_mount, spare, &s->mounts)
		n += same_stack(spare, m);
	return n;
}

static int clone_of(int mnt_fd)
{
	return sys_open_tree(mnt_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

void fs_mount_keep(struct fs_mount *m)
{
	m->keep_fd = clone_of(m->mnt_fd);
	if (m->keep_fd < 0)
		m->keep_fd = -1;	/* before 6.15 */
}

bool fs_spares_take(struct fs_spares *s, struct fs_mount *m)
{
	for (size_t i = s->mounts.n; i-- > 0;) {
		struct fs_mount *spare = vec_at(&s->mounts, i);
		if (!same_stack(spare, m))
			continue;
		spare->mnt_fd = clone_of(spare->keep_fd);
		if (spare->mnt_fd < 0 || sys_mnt_id(spare->mnt_fd, &spare->mnt_id)) {
			drop(s, i);
			return false;
		}
		struct fs_mount unfilled = *m;
		*m = *spare;
		vec_remove(&s->mounts, i);
		fs_mount_deinit(s->store, &unfilled);
		return true;
	}
	return false;
}

void fs_tree_recycle(struct fs_tree *t)
{
	if (!t || !t->spares || t->undo)
		return;
	for (size_t i = t->mounts.n; i-- > 0;) {
		struct fs_mount *m = vec_at(&t->mounts, i);
		/*
		 * Its layers were merged: the next one is shorter. Or it has
		 * files of its own, which may have been mapped.
		 */
		if (m->keep_fd < 0 || count_alike(t->spares, m) >= SPARES_ALIKE ||
		    m->retired.n || m->kept.n || !fs_mount_is_clean(m, false))
			continue;
		if (t->spares->mounts.n == SPARES_MAX)
			drop(t->spares, 0);
		struct fs_mount *spare = vec_add(&t->spares->mounts);
		if (!spare)
			return;
		fs_mount_unprepare(t, m);
		cleanup_fd(&m->old_fd);
		cleanup_fd(&m->mnt_fd);
		m->old_mnt_id = 0;
		*spare = *m;
		vec_remove(&t->mounts, i);
	}
}
