#include "sandbox/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <time.h>

#include "image/image.h"
#include "sandbox/fs_internal.h"
#include "sandbox/keep.h"
#include "sandbox/overlay.h"
#include "sandbox/spares.h"
#include "sandbox/spec.h"
#include "sys/file.h"
#include "sys/mount.h"

int fs_fail(struct err *e, int r, const char *what, const char *target)
{
	err_set(e, -r, "cannot %s '%s': %s", what, target, strerror(-r));
	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "make room where the state directory lies, or run 'mulligan gc'");
	return r;
}

void fs_layers_deinit(struct vec *layers)
{
	vec_each(struct layer *, l, layers) layer_unref(*l);
	vec_deinit(layers);
}

int fs_layers_copy(struct vec *dst, const struct vec *src)
{
	int r = vec_copy(dst, src);
	if (r == 0)
		vec_each(struct layer *, l, dst) layer_ref(*l);
	return r;
}

/*
 * Does this file system give every change of a file that was looked at a time
 * of its own (Linux 6.13)? Else two changes within a clock tick look alike.
 */
static bool fine_grained(int fd)
{
	struct stat st[4];
	uint64_t start_ns = clock_now_ns();
	for (size_t i = 0; i < 4; i++) {
		if (sys_fchmod(fd, 0700) || sys_fstat(fd, &st[i]))
			return false;
		if (i && st[i].st_ctim.tv_nsec == st[i - 1].st_ctim.tv_nsec &&
		    st[i].st_ctim.tv_sec == st[i - 1].st_ctim.tv_sec)
			return false;
	}
	/* 1 ms: the shortest tick; slower than that proves nothing. */
	return clock_now_ns() - start_ns < 1000000;
}

/* Something in the record may be changed again without its ctime changing. */
static bool record_is_racy(const struct vec *seen)
{
	struct timespec tick;
	clock_gettime(CLOCK_REALTIME_COARSE, &tick);
	vec_each(struct carry_seen, s,
		 seen) if (s->ctime_s > tick.tv_sec ||
			   (s->ctime_s == tick.tv_sec &&
			    s->ctime_ns >= (uint32_t)tick.tv_nsec)) return true;
	return false;
}

void fs_mount_take_seen(struct fs_mount *m, struct vec *seen, bool held)
{
	carry_seen_deinit(&m->seen);
	m->seen = *seen;
	*seen = VEC_INIT(struct carry_seen);
	m->racy = held || (!m->fine && record_is_racy(&m->seen));
}

/* Mark the root of a new upper before the kernel reads the mark. */
static int mark_root(const struct fs_tree *t, const struct layer *upper)
{
	char name[64];
	snprintf(name, sizeof(name), "%simpure", overlay_xattr_prefix(t->userxattr));
	return sys_fsetxattr(upper->fs_fd, name, "y", 1);
}

/* Lowers of an overlay: top (or none), the layers, the base. */
static int build(const struct fs_tree *t, const struct fs_mount *m, const struct layer *top,
		 const struct layer *upper, struct err *e)
{
	int fds[OVERLAY_LOWERS_MAX];
	size_t n = 0;
	size_t wanted = m->layers.n + 1 + (top != NULL) + (m->skin_fd >= 0);
	if (wanted > OVERLAY_LOWERS_MAX) {
		err_set(e, E2BIG, "'%s' has %zu layers, %d are the most", m->target, wanted,
			OVERLAY_LOWERS_MAX);
		return err_remedy(e, "roll back to an older checkpoint");
	}
	if (top)
		fds[n++] = top->fs_fd;
	vec_each(struct layer *, l, &m->layers) fds[n++] = (*l)->fs_fd;
	if (m->skin_fd >= 0)
		fds[n++] = m->skin_fd;
	fds[n++] = m->base_fd;
	struct overlay o = {
		.lower_fds = fds,
		.n_lowers = n,
		.upper_fd = upper->fs_fd,
		.work_fd = upper->work_fd,
		.scratch_fd = upper->dir_fd,
		.userxattr = t->userxattr,
	};
	int r = overlay_build(&o, e);
	return r < 0 ? err_wrap(e, "'%s'", m->target), r : r;
}

int fs_mount_prepare(struct fs_tree *t, struct fs_mount *m, struct err *e)
{
	if (m->next_upper)
		return 0;
	struct layer *next;
	int r = layer_new(t->store, &next, e);
	if (r)
		return r;
	const char *prefix = overlay_xattr_prefix(t->userxattr);
	r = carry_attributes(next->fs_fd, m->upper->fs_fd, prefix);
	if (r == 0)
		r = mark_root(t, next);
	if (r)
		fs_fail(e, r, "prepare the next layer of", m->target);
	if (r == 0)
		r = m->next_fd = build(t, m, m->upper, next, e);
	if (r >= 0) {
		m->next_upper = next;
		return 0;
	}
	m->next_fd = -1;
	layer_discard(t->store, next);
	return r;
}

void fs_mount_unprepare(struct fs_tree *t, struct fs_mount *m)
{
	cleanup_fd(&m->next_fd);
	layer_discard(t->store, m->next_upper);
	m->next_upper = NULL;
}

int fs_prepare(struct fs_tree *t, struct err *e)
{
	assert(t->state != FS_CUT);
	if (t->state == FS_BROKEN)
		return err_set(e, EIO, "the sandbox's files are broken");
	vec_each(struct fs_mount, m, &t->mounts)
	{
		cleanup_fd(&m->old_fd);
		m->old_mnt_id = 0;
		if (m->retired.n && m->retired_mnt_id != m->mnt_id)
			fs_layers_deinit(&m->retired);
	}
	for (size_t i = 0; i < t->mounts.n; i++) {
		struct fs_mount *m = vec_at(&t->mounts, i);
		/* volumes are written seldom: the cut prepares one that it meets */
		int r = i && fs_mount_is_clean(m, false) ? 0 : fs_mount_prepare(t, m, e);
		if (r)
			return r;
		/* The guest runs, and may get in the way: then it is done frozen. */
		if (scan_update(&m->scan, m->upper->fs_fd))
			scan_deinit(&m->scan);
	}
	t->state = FS_READY;
	return 0;
}

bool fs_mount_is_clean(const struct fs_mount *m, bool writers)
{
	if (m->racy || (m->seen.n > 1 && (writers || m->silent)))
		return false;
	vec_each(struct carry_seen, s,
		 &m->seen) if (!carry_seen_holds(s, m->upper->fs_fd)) return false;
	return m->seen.n > 0;
}

bool fs_is_clean(const struct fs_tree *t, bool writers)
{
	vec_each(struct fs_mount, m, &t->mounts) if (!fs_mount_is_clean(m, writers)) return false;
	return true;
}

/* The first upper of a mount: like the root of what lies below it. */
static int first_upper(struct fs_tree *t, struct fs_mount *m, struct err *e)
{
	int r = layer_new(t->store, &m->upper, e);
	if (r)
		return r;
	struct layer *newest = m->layers.n ? *(struct layer **)vec_at(&m->layers, 0) : NULL;
	const char *prefix = overlay_xattr_prefix(t->userxattr);
	int below_fd = newest ? newest->fs_fd : m->skin_fd >= 0 ? m->skin_fd : m->base_fd;
	r = carry_attributes(m->upper->fs_fd, below_fd, prefix);
	if (r == 0)
		r = mark_root(t, m->upper);
	if (r)
		return fs_fail(e, r, "make the first layer of", m->target);
	struct carry c;
	carry_init(&c, newest, m->upper->fs_fd, prefix);
	if (newest && m->links.n)
		r = carry_rebuild(&c, &m->links, e);
	if (newest && r == 0)
		r = keep_choose_all(&c, e);
	if (r == 0)
		r = m->mnt_fd = build(t, m, NULL, m->upper, e);
	if (r >= 0)
		r = keep_raise(&c, m->mnt_fd, e);
	if (r == 0 && c.kept.n)
		r = carry_finish(&c, e);
	if (r == 0)
		r = sys_mnt_id(m->mnt_fd, &m->mnt_id);
	m->fine = fine_grained(m->upper->dir_fd);
	struct statfs fs;
	m->silent = fstatfs(m->upper->fs_fd, &fs) || fs.f_type == TMPFS_MAGIC;
	struct vec seen = VEC_INIT(struct carry_seen);
	if (r >= 0)
		r = carry_record(&c, &seen, e);
	if (r == 0)
		fs_mount_take_seen(m, &seen, false);
	m->kept = c.kept;
	m->kept_layers = m->layers.n;
	c.kept = VEC_INIT(struct keep_file);
	carry_deinit(&c);
	return r;
}

static int name_mount(struct fs_mount *m, const char *target, const char *source)
{
	*m = (struct fs_mount){
		.target = strdup(target),
		.source = strdup(source),
		.base_fd = -1,
		.skin_fd = -1,
		.mnt_fd = -1,
		.keep_fd = -1,
		.next_fd = -1,
		.old_fd = -1,
		.layers = VEC_INIT(struct layer *),
		.retired = VEC_INIT(struct layer *),
		.seen = VEC_INIT(struct carry_seen),
		.links = VEC_INIT(struct carry_links),
		.kept = VEC_INIT(struct keep_file),
		.scan = SCAN_INIT,
	};
	return m->target && m->source ? 0 : -ENOMEM;
}

int fs_mount_like(struct fs_mount *to, const struct fs_mount *m)
{
	int r = name_mount(to, m->target, m->source);
	if (r == 0)
		r = fs_layers_copy(&to->layers, &m->layers);
	return r ? r : carry_links_copy(&to->links, &m->links);
}

static int add_mount(struct fs_tree *t, const char *target, const char *source)
{
	struct fs_mount *m = vec_add(&t->mounts);
	return m ? name_mount(m, target, source) : -ENOMEM;
}

static int shorter_target(const void *a, const void *b)
{
	const struct fs_mount *x = a, *y = b;
	size_t nx = strlen(x->target), ny = strlen(y->target);
	return nx != ny ? (nx < ny ? -1 : 1) : strcmp(x->target, y->target);
}

static int add_mounts(struct fs_tree *t, const char *root, const struct spec *spec, struct err *e)
{
	int r = add_mount(t, "/", root);
	vec_each(struct volume, v, &spec->volumes)
		if (r == 0 && v->mode == VOLUME_COW)
			r = add_mount(t, v->dst, v->src);
	if (r)
		return err_set(e, -r, "no memory");
	/* Outer before inner: "/" is the shortest of all. */
	qsort(t->mounts.data, t->mounts.n, sizeof(struct fs_mount), shorter_target);
	return 0;
}

/* The layers that the snapshot has for this mount. */
static int take_layers(struct fs_mount *m, const struct fs_snapshot *snapshot, struct err *e)
{
	vec_each(struct fs_snapshot_mount, sm, &snapshot->mounts)
	{
		if (strcmp(sm->target, m->target))
			continue;
		int r = fs_layers_copy(&m->layers, &sm->layers);
		if (r == 0)
			r = carry_links_copy(&m->links, &sm->links);
		return r ? err_set(e, -r, "no memory") : 0;
	}
	return err_set(e, ESTALE, "the checkpoint has no files for '%s'", m->target);
}

int fs_open_skin(const char *root, const char *target, int *fd)
{
	*fd = -1;
	scoped_free char *path = NULL;
	int r = strcmp(target, "/") ? image_skin(root, target, &path) : 0;
	if (r || !path)
		return r;
	*fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	r = *fd;
	if (r < 0)
		*fd = -1;
	return r < 0 ? r : 0;
}

int fs_mount_make(struct fs_tree *t, struct fs_mount *m, const char *root, struct err *e)
{
	int r = fs_open_skin(root, m->target, &m->skin_fd);
	if (r)
		return fs_fail(e, r, "open the skin of", m->target);
	m->base_fd = sys_openat(AT_FDCWD, m->source, O_RDONLY | O_DIRECTORY, 0);
	if (m->base_fd < 0) {
		fs_fail(e, m->base_fd, "open the base directory", m->source);
		return err_path(e, m->source);
	}
	r = first_upper(t, m, e);
	if (r == 0 && t->spares)
		fs_mount_keep(m);
	return r;
}

static int fill_mount(struct fs_tree *t, struct fs_mount *m, const char *root,
		      const struct fs_snapshot *snapshot, struct err *e)
{
	int r = snapshot ? take_layers(m, snapshot, e) : 0;
	if (r == 0)
		r = keep_find_numbers(&m->layers, overlay_xattr_prefix(t->userxattr), e);
	if (r || (t->spares && fs_spares_take(t->spares, m)))
		return r;
	return fs_mount_make(t, m, root, e);
}

static void scoped_tree(struct fs_tree **t)
{
	fs_tree_free(*t);
}

int fs_tree_new(struct store *store, struct fs_spares *spares, const char *root,
		const struct spec *spec, const struct fs_snapshot *snapshot, struct fs_tree **out,
		struct err *e)
{
	scoped(scoped_tree) struct fs_tree *t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, ENOMEM, "no memory");
	t->store = store;
	t->spares = spares;
	t->userxattr = sys_in_userns();
	t->mounts = VEC_INIT(struct fs_mount);
	int r = add_mounts(t, root, spec, e);
	vec_each(struct fs_mount, m, &t->mounts) if (r == 0) r =
		fill_mount(t, m, root, snapshot, e);
	if (r < 0)
		return r;
	*out = take_ptr(t);
	return 0;
}

void fs_mount_deinit(struct store *store, struct fs_mount *m)
{
	keep_files_deinit(&m->kept);
	cleanup_fd(&m->old_fd);
	cleanup_fd(&m->mnt_fd);
	cleanup_fd(&m->keep_fd);
	cleanup_fd(&m->next_fd);
	layer_discard(store, m->next_upper);
	if (m->upper && m->upper->state == LAYER_LIVE && m->upper->refs == 1)
		layer_discard(store, m->upper);
	else
		layer_unref(m->upper);
	fs_layers_deinit(&m->layers);
	fs_layers_deinit(&m->retired);
	carry_seen_deinit(&m->seen);
	carry_links_deinit(&m->links);
	scan_deinit(&m->scan);
	cleanup_fd(&m->skin_fd);
	cleanup_fd(&m->base_fd);
	free(m->target);
	free(m->source);
}

void fs_mount_abandon(struct fs_mount *m)
{
	layer_unref(take_ptr(m->upper));
	layer_unref(take_ptr(m->next_upper));
}

void fs_tree_abandon(struct fs_tree *t)
{
	vec_each(struct fs_mount, m, &t->mounts)
		fs_mount_abandon(m);
	fs_tree_free(t);
}

void fs_tree_free(struct fs_tree *t)
{
	if (!t)
		return;
	fs_undo_free(t->undo);
	vec_each(struct fs_mount, m, &t->mounts)
		fs_mount_deinit(t->store, m);
	vec_deinit(&t->mounts);
	free(t);
}

struct fs_mount *fs_tree_find_mount(const struct fs_tree *t, uint64_t mnt_id)
{
	vec_each(struct fs_mount, m,
		 &t->mounts) if (m->mnt_id == mnt_id ||
				 (m->old_mnt_id && m->old_mnt_id == mnt_id)) return m;
	return NULL;
}

struct fs_mount *fs_tree_find_target(const struct fs_tree *t, const char *target)
{
	vec_each(struct fs_mount, m, &t->mounts) if (!strcmp(m->target, target)) return m;
	return NULL;
}
