#include "store/layer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/vec.h"
#include "store/internal.h"
#include "store/tree.h"
#include "sys/file.h"

enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };

static struct layer *layer_alloc(void)
{
	struct layer *l = calloc(1, sizeof(*l));
	if (l) {
		l->refs = 1;
		l->dir_fd = l->fs_fd = l->work_fd = -1;
	}
	return l;
}

static void scoped_layer(struct layer **l)
{
	layer_unref(*l);
}

/* layers/<id> exists and is ours: lock it and make what belongs in it. */
static int layer_fill(struct store *s, struct layer *l)
{
	int r = l->dir_fd = sys_openat(store_layers_fd(s), l->id, DIR_FLAGS, 0);
	if (r >= 0)
		r = sys_flock(l->dir_fd, LOCK_SH | LOCK_NB);
	if (r == 0)
		r = sys_mkdirat(l->dir_fd, "fs", 0755);
	if (r == 0)
		r = sys_mkdirat(l->dir_fd, "work", 0700);
	if (r == 0)
		r = l->fs_fd = sys_openat(l->dir_fd, "fs", DIR_FLAGS, 0);
	if (r >= 0)
		r = l->work_fd = sys_openat(l->dir_fd, "work", DIR_FLAGS, 0);
	return r < 0 ? r : 0;
}

int layer_new(struct store *s, struct layer **out, struct err *e)
{
	scoped(scoped_layer) struct layer *l = layer_alloc();
	if (!l)
		return err_set(e, ENOMEM, "no memory");
	int r = store_new_id(l->id, e);
	if (r)
		return r;
	/* Between mkdir and flock a gc would take it for a left-over. */
	scoped_fd int lock = store_lock(s, LOCK_SH, e);
	if (lock < 0)
		return lock;
	r = sys_mkdirat(store_layers_fd(s), l->id, 0700);
	if (r)
		return store_fail(e, r, "cannot make a layer in '%s'", store_path(s));
	r = layer_fill(s, l);
	if (r) {
		store_fail(e, r, "cannot make layer '%s' in '%s'", l->id, store_path(s));
		/* What stays in spite of this, gc takes. */
		if (tree_remove(store_layers_fd(s), l->id))
			return r;
		return r;
	}
	l->state = LAYER_LIVE;
	l->is_looked_through = true;	/* as long as we live, keep.c marks */
	*out = take_ptr(l);
	return 0;
}

static int check_id(const char *id, struct err *e)
{
	size_t len = strspn(id, "0123456789abcdef");
	if (len == STORE_ID_BYTES - 1 && !id[len])
		return 0;
	return err_set(e, EINVAL, "'%.80s' is not a layer id", id);
}

int layer_open(struct store *s, const char *id, struct layer **out, struct err *e)
{
	int r = check_id(id, e);
	if (r)
		return r;
	scoped(scoped_layer) struct layer *l = layer_alloc();
	if (!l)
		return err_set(e, ENOMEM, "no memory");
	memcpy(l->id, id, STORE_ID_BYTES);
	/* Not between a gc's lock on it and its removal. */
	scoped_fd int lock = store_lock(s, LOCK_SH, e);
	if (lock < 0)
		return lock;
	r = l->dir_fd = sys_openat(store_layers_fd(s), id, DIR_FLAGS, 0);
	if (r >= 0)
		r = sys_flock(l->dir_fd, LOCK_SH | LOCK_NB);
	if (r >= 0)
		r = l->fs_fd = sys_openat(l->dir_fd, "fs", DIR_FLAGS, 0);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "layer '%s' is missing from '%s'", id, store_path(s));
	if (r < 0)
		return store_fail(e, r, "cannot open layer '%s' in '%s'", id, store_path(s));
	l->state = LAYER_SEALED;
	*out = take_ptr(l);
	return 0;
}

struct layer *layer_ref(struct layer *l)
{
	assert(l->refs > 0);
	l->refs++;
	return l;
}

void layer_unref(struct layer *l)
{
	if (!l)
		return;
	assert(l->refs > 0);
	if (--l->refs)
		return;
	cleanup_fd(&l->work_fd);
	cleanup_fd(&l->fs_fd);
	cleanup_fd(&l->dir_fd);
	free(l);
}

int layer_aside(const struct layer *l, bool create)
{
	int r = create ? sys_mkdirat(l->dir_fd, "aside", 0755) : 0;
	if (r && r != -EEXIST)
		return r;
	return sys_openat(l->dir_fd, "aside", DIR_FLAGS, 0);
}

int layer_aside_remove(const struct layer *l)
{
	int r = sys_unlinkat(l->dir_fd, "aside", AT_REMOVEDIR);
	return r == -ENOENT ? 0 : r;
}

void layer_seal(struct layer *l)
{
	cleanup_fd(&l->work_fd);
	l->state = LAYER_SEALED;
}

void layer_discard(struct store *s, struct layer *l)
{
	if (!l)
		return;
	assert(l->state == LAYER_LIVE && l->refs == 1);
	int layers = store_layers_fd(s);
	/*
	 * An empty one goes at once; one with files would take long, and goes
	 * where store_empty_trash() and gc find it. An error leaves a layer
	 * that nobody holds: gc's too.
	 */
	if (sys_unlinkat(l->dir_fd, "fs", AT_REMOVEDIR) == 0) {
		if (tree_remove(layers, l->id) == 0) {
			layer_unref(l);
			return;
		}
	}
	int r = sys_renameat2(layers, l->id, store_trash_fd(s), l->id, 0);
	if (r)
		r = sys_renameat2(layers, l->id, store_trash_fd(s), l->id, 0);
	(void)r;
	layer_unref(l);
}

/* Its files, and what lies aside of them. */
static int sum_up(const struct layer *l, struct layer_sum *out)
{
	struct layer_sum sum, more;
	int r = layer_sum_take(l->fs_fd, &sum);
	scoped_fd int aside = r ? -1 : layer_aside(l, false);
	if (r == 0 && aside != -ENOENT) {
		r = aside < 0 ? aside : layer_sum_take(aside, &more);
		sum.entries += r ? 0 : more.entries;
		sum.bytes += r ? 0 : more.bytes;
		/* a file is not the same in the other place */
		sum.digest += r ? 0 : more.digest * 3;
	}
	if (r == 0)
		*out = sum;
	return r;
}

int layer_sum(struct layer *l, struct err *e)
{
	assert(l->state == LAYER_SEALED);
	int r = l->sum.known ? 0 : sum_up(l, &l->sum);
	return r ? store_fail(e, r, "cannot look through layer '%s'", l->id) : 0;
}

int layer_verify(const struct layer *l, const struct layer_sum *want, struct err *e)
{
	struct layer_sum now = {0};
	if (!want->known)
		return err_set(e, EBADMSG, "nobody wrote down what layer '%s' adds up to", l->id);
	int r = sum_up(l, &now);
	if (r)
		return store_fail(e, r, "cannot look through layer '%s'", l->id);
	if (layer_sum_equal(&now, want))
		return 0;
	const char *what = "something in it was changed";
	char counts[96];
	if (now.entries != want->entries || now.bytes != want->bytes) {
		snprintf(counts, sizeof(counts), "it has %llu files of %llu bytes, it had %llu of %llu",
			 (unsigned long long)now.entries, (unsigned long long)now.bytes,
			 (unsigned long long)want->entries, (unsigned long long)want->bytes);
		what = counts;
	}
	return err_set(e, EBADMSG, "layer '%s' is damaged: %s", l->id, what);
}

struct disk {
	uint64_t blocks;
	struct vec seen; /* uint64_t: inodes with several names */
};

static int disk_add(void *ctx, const struct tree_entry *entry)
{
	struct disk *d = ctx;
	if (!S_ISDIR(entry->st->st_mode) && entry->st->st_nlink > 1) {
		vec_each(uint64_t, ino, &d->seen) if (*ino == entry->st->st_ino) return 0;
		uint64_t *ino = vec_add(&d->seen);
		if (!ino)
			return -ENOMEM;
		*ino = entry->st->st_ino;
	}
	d->blocks += (uint64_t)entry->st->st_blocks;
	return 0;
}

int layer_disk_bytes(struct layer *l, uint64_t *bytes, struct err *e)
{
	if (l->disk_known) {
		*bytes = l->disk_bytes;
		return 0;
	}
	struct disk d = {.seen = VEC_INIT(uint64_t)};
	int r = tree_walk(l->fs_fd, disk_add, &d);
	scoped_fd int aside = r ? -1 : layer_aside(l, false);
	if (r == 0 && aside != -ENOENT)
		r = aside < 0 ? aside : tree_walk(aside, disk_add, &d);
	vec_deinit(&d.seen);
	if (r)
		return store_fail(e, r, "cannot measure layer '%s'", l->id);
	*bytes = d.blocks * 512;
	l->disk_known = l->state == LAYER_SEALED && l->sum.known;
	l->disk_bytes = *bytes;
	return 0;
}
