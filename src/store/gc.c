/*
 * Collecting what nothing names any more.
 *
 * A layer is alive while a manifest names it or a process holds its flock.
 * Under the exclusive store lock nothing new appears, so what is neither is
 * dead: it is moved to trash/, and removed after the lock is released.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/vec.h"
#include "store/internal.h"
#include "store/manifest.h"
#include "store/store.h"
#include "store/tree.h"
#include "sys/file.h"

static bool layer_named(const struct vec *manifests, const char *id)
{
	vec_each(struct manifest, m, manifests)
		vec_each(struct manifest_mount, mm,
			 &m->mounts) for (size_t i = 0; i < mm->layers.n;
					  i++) if (!strcmp(vec_at(&mm->layers, i), id)) return true;
	return false;
}

/* By its last component: a state directory may have been moved. */
static bool base_named(const struct vec *manifests, const char *name)
{
	vec_each(struct manifest, m, manifests) vec_each(struct manifest_mount, mm, &m->mounts)
	{
		const char *slash = strrchr(mm->source, '/');
		if (slash && !strcmp(slash + 1, name))
			return true;
	}
	return false;
}

/*
 * Move what nobody holds to the trash: 1, 0 when it is held, or gone: who
 * holds a layer may remove it (layer_discard) without the store lock.
 */
static int put_aside(struct store *s, int dir_fd, const char *name)
{
	scoped_fd int fd = sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0 && fd != -ENOTDIR && fd != -ELOOP)
		return fd;
	int r = fd < 0 ? 0 : sys_flock(fd, LOCK_EX | LOCK_NB);
	if (r == -EWOULDBLOCK)
		return 0;
	if (r)
		return r;
	char away[STORE_ID_BYTES];
	r = store_new_id(away, NULL);
	if (r == 0)
		r = sys_renameat2(dir_fd, name, store_trash_fd(s), away, 0);
	if (r == -ENOENT)
		return 0;
	return r ? r : 1;
}

struct collect {
	struct store *store;
	const struct vec *manifests;
	struct store_gc *result;
	const char *newest_base;
};

static int collect_layer(struct collect *c, const char *name)
{
	if (layer_named(c->manifests, name))
		return 0;
	int r = put_aside(c->store, store_layers_fd(c->store), name);
	if (r > 0)
		c->result->layers++;
	return r;
}

/* host-1234.skin belongs to host-1234: it goes with it, or after it. */
static int collect_skin(struct collect *c, const char *name)
{
	struct stat st;
	char base[256];
	snprintf(base, sizeof(base), "%.*s", (int)(strlen(name) - 5), name);
	int r = sys_fstatat(store_bases_fd(c->store), base, &st, AT_SYMLINK_NOFOLLOW);
	if (r != -ENOENT)
		return r;
	return put_aside(c->store, store_bases_fd(c->store), name);
}

static bool is_skin(const char *name)
{
	size_t len = strlen(name);
	return len > 5 && !strcmp(name + len - 5, ".skin");
}

static int collect_base(struct collect *c, const char *name)
{
	if (is_skin(name))
		return collect_skin(c, name);
	bool half_made = name[0] == '.';
	if (base_named(c->manifests, name) || (c->newest_base && !strcmp(name, c->newest_base)))
		return 0;
	int r = put_aside(c->store, store_bases_fd(c->store), name);
	if (r <= 0)
		return r;
	if (half_made) {
		c->result->leftovers++;
		return r;
	}
	c->result->bases++;
	char skin[256];
	snprintf(skin, sizeof(skin), "%s.skin", name);
	return put_aside(c->store, store_bases_fd(c->store), skin);
}

/* Manifests are renamed into place: what begins with a dot never was. */
static int collect_temporary(struct collect *c, const char *name)
{
	if (name[0] != '.')
		return 0;
	int r = sys_unlinkat(store_checkpoints_fd(c->store), name, 0);
	if (r == 0)
		c->result->leftovers++;
	return r;
}

static int each_name(int dir_fd, int (*visit)(struct collect *c, const char *name),
		     struct collect *c)
{
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(dir_fd, &dir);
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		r = visit(c, d->d_name);
		if (r > 0)
			r = 0;
	}
	return r;
}

/* The base that the next sandbox will want: made or used last. */
static int newest_base(struct store *s, char **name)
{
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(store_bases_fd(s), &dir);
	int64_t best = -1;
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		struct stat st;
		r = 0;
		if (d->d_name[0] == '.' || is_skin(d->d_name))
			continue;
		r = sys_fstatat(store_bases_fd(s), d->d_name, &st, AT_SYMLINK_NOFOLLOW);
		if (r || st.st_ctim.tv_sec <= best)
			continue;
		best = st.st_ctim.tv_sec;
		free(*name);
		*name = strdup(d->d_name);
		r = *name ? 0 : -ENOMEM;
	}
	return r;
}

static int collect_all(struct store *s, struct store_gc *result, struct err *e)
{
	scoped_fd int lock = store_lock(s, LOCK_EX, e);
	if (lock < 0)
		return lock;
	struct vec manifests;
	int r = manifest_list(s, &manifests, e);
	if (r)
		return err_wrap(e, "nothing was collected");
	scoped_free char *newest = NULL;
	r = newest_base(s, &newest);
	struct collect c = {
		.store = s,
		.manifests = &manifests,
		.result = result,
		.newest_base = newest,
	};
	if (r == 0)
		r = each_name(store_layers_fd(s), collect_layer, &c);
	if (r == 0)
		r = each_name(store_bases_fd(s), collect_base, &c);
	if (r == 0)
		r = each_name(store_checkpoints_fd(s), collect_temporary, &c);
	manifest_list_deinit(&manifests);
	return r ? store_fail(e, r, "cannot collect in '%s'", store_path(s)) : 0;
}

int store_empty_trash(struct store *s, size_t *n, struct err *e)
{
	scoped_dir DIR *dir = NULL;
	/* One at a time: two would take each other's files away. */
	scoped_fd int lock = sys_openat(store_trash_fd(s), ".", O_RDONLY | O_DIRECTORY, 0);
	int r = lock < 0 ? lock : sys_flock(lock, LOCK_EX);
	if (r == 0)
		r = sys_opendir_fd(store_trash_fd(s), &dir);
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		r = tree_remove(store_trash_fd(s), d->d_name);
		if (r)
			return store_fail(e, r, "cannot remove '%s/trash/%s'", store_path(s),
					  d->d_name);
		++*n;
	}
	return r ? store_fail(e, r, "cannot read '%s/trash'", store_path(s)) : 0;
}

int store_gc(struct store *s, struct store_gc *result, struct err *e)
{
	struct store_gc counted = {0};
	size_t n = 0;
	int r = collect_all(s, &counted, e);
	if (r == 0)
		r = store_empty_trash(s, &n, e);
	if (r)
		return r;
	/* The trash has what was just put aside, and older things. */
	size_t put = counted.layers + counted.bases + counted.leftovers;
	if (n > put)
		counted.leftovers += n - put;
	*result = counted;
	return 0;
}
