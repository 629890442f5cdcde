#include "sandbox/spares.h"

#include <errno.h>
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
	*s = (struct fs_spares){ .store = store,
				 .mounts = VEC_INIT(struct fs_mount),
				 .wanted = VEC_INIT(struct fs_mount) };
}

static void drop(struct fs_spares *s, struct vec *list, size_t i)
{
	fs_mount_deinit(s->store, vec_at(list, i));
	vec_remove(list, i);
}

static void clear(struct fs_spares *s, struct vec *list)
{
	while (list->n)
		drop(s, list, list->n - 1);
	vec_deinit(list);
	*list = VEC_INIT(struct fs_mount);
}

void fs_spares_clear(struct fs_spares *s)
{
	clear(s, &s->mounts);
	clear(s, &s->wanted);
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

static unsigned int count_alike(const struct vec *list, const struct fs_mount *m)
{
	unsigned int n = 0;
	vec_each(struct fs_mount, one, list)
		n += same_stack(one, m);
	return n;
}

static bool shows(const struct fs_mount *m, const struct vec *layers)
{
	vec_each(struct layer *, have, &m->layers)
		vec_each(struct layer *, l, layers)
			if (*have == *l)
				return true;
	return false;
}

void fs_spares_drop_layers(struct fs_spares *s, const struct vec *layers)
{
	struct vec *lists[] = { &s->mounts, &s->wanted };
	for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
		for (size_t i = lists[k]->n; i-- > 0;)
			if (shows(vec_at(lists[k], i), layers))
				drop(s, lists[k], i);
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
			drop(s, &s->mounts, i);
			return false;
		}
		struct fs_mount unfilled = *m;
		*m = *spare;
		vec_remove(&s->mounts, i);
		fs_mount_deinit(s->store, &unfilled);
		return true;
	}
	/* It is made now, by the caller. */
	for (size_t i = s->wanted.n; i-- > 0;)
		if (same_stack(vec_at(&s->wanted, i), m))
			drop(s, &s->wanted, i);
	return false;
}

/* A place for one more; the oldest ones go. */
static struct fs_mount *add(struct fs_spares *s, struct vec *list)
{
	while (s->mounts.n + s->wanted.n >= SPARES_MAX)
		drop(s, s->mounts.n ? &s->mounts : &s->wanted, 0);
	return vec_add(list);
}

static void want(struct fs_spares *s, const struct fs_mount *m)
{
	if (s->cannot || count_alike(&s->mounts, m) || count_alike(&s->wanted, m))
		return;
	struct fs_mount like;
	if (fs_mount_like(&like, m)) {
		fs_mount_deinit(s->store, &like);
		return;
	}
	struct fs_mount *to = add(s, &s->wanted);
	if (to)
		*to = like;
	else
		fs_mount_deinit(s->store, &like);
}

int fs_spares_make(struct fs_spares *s, const char *root, struct err *e)
{
	if (!s->wanted.n)
		return 0;
	/* the newest is the likeliest */
	struct fs_mount made = *(struct fs_mount *)vec_at(&s->wanted, s->wanted.n - 1);
	vec_remove(&s->wanted, s->wanted.n - 1);
	struct fs_tree t = { .store = s->store, .spares = s, .userxattr = sys_in_userns() };
	int r = fs_mount_make(&t, &made, root, e);
	s->cannot = r == 0 && made.keep_fd < 0;
	if (s->cannot)
		clear(s, &s->wanted);
	cleanup_fd(&made.mnt_fd);
	struct fs_mount *spare = r == 0 && !s->cannot ? add(s, &s->mounts) : NULL;
	if (spare)
		*spare = made;
	else
		fs_mount_deinit(s->store, &made);
	return r ? r : 1;
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
		if (m->keep_fd < 0 || m->retired.n || m->kept.n || !fs_mount_is_clean(m, false)) {
			want(t->spares, m);
			continue;
		}
		if (count_alike(&t->spares->mounts, m) >= SPARES_ALIKE)
			continue;
		struct fs_mount *spare = add(t->spares, &t->spares->mounts);
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
