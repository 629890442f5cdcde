/*
 * The cut, as a table of stages. What a cut made is kept in struct fs_undo
 * until fs_settle() or fs_uncut(), so that a later part of the checkpoint can
 * still fail.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "sandbox/fs_internal.h"
#include "sandbox/keep.h"
#include "sandbox/overlay.h"
#include "sandbox/swap.h"
#include "sys/file.h"
#include "sys/mount.h"

/* One mount's part; mounts that are clean have none. */
struct cut_mount {
	size_t index; /* in fs_tree */
	struct carry carry;
	struct vec seen;     /* new upper as it begins */
	struct vec old_seen; /* put back by fs_uncut() */
	struct vec old_links;
	struct vec old_kept;
	size_t old_kept_layers;
	bool old_racy;
	uint64_t next_id;
};

struct fs_undo {
	struct fs_tree *tree;
	struct fs_cut *cut; /* only during fs_cut() */
	struct fs_snapshot snapshot;
	struct vec mounts; /* struct cut_mount */
	struct swap swap;
	bool broken; /* an undo failed */
};

void fs_undo_free(struct fs_undo *u)
{
	if (!u)
		return;
	vec_each(struct cut_mount, cm, &u->mounts)
	{
		carry_deinit(&cm->carry);
		carry_seen_deinit(&cm->seen);
		carry_seen_deinit(&cm->old_seen);
		carry_links_deinit(&cm->old_links);
		keep_files_deinit(&cm->old_kept);
	}
	vec_deinit(&u->mounts);
	swap_deinit(&u->swap);
	fs_snapshot_deinit(&u->snapshot);
	free(u);
}

static struct fs_mount *mount_of(const struct fs_undo *u, const struct cut_mount *cm)
{
	return vec_at(&u->tree->mounts, cm->index);
}

/* Which mounts are cut; their next overlays exist. */
static int stage_choose(void *ctx, struct err *e)
{
	struct fs_undo *u = ctx;
	for (size_t i = 0; i < u->tree->mounts.n; i++) {
		struct fs_mount *m = vec_at(&u->tree->mounts, i);
		if (fs_mount_is_clean(m, u->cut->writers))
			continue;
		/* What cannot fail later needs its memory now. */
		struct cut_mount *cm = vec_add(&u->mounts);
		if (!cm || vec_reserve(&m->layers, m->layers.n + 1))
			return err_set(e, ENOMEM, "no memory");
		cm->index = i;
		cm->seen = VEC_INIT(struct carry_seen);
		cm->old_seen = VEC_INIT(struct carry_seen);
		cm->old_links = VEC_INIT(struct carry_links);
		cm->old_kept = VEC_INIT(struct keep_file);
		carry_init(&cm->carry, m->upper, -1,
			   overlay_xattr_prefix(u->tree->userxattr));
		int r = fs_mount_prepare(u->tree, m, e);
		if (r)
			return r;
		cm->carry.to_fd = m->next_upper->fs_fd;
	}
	return 0;
}

static int carry_mount(struct fs_undo *u, struct cut_mount *cm, struct err *e)
{
	struct fs_mount *m = mount_of(u, cm);
	int r = carry_links(&cm->carry, &m->scan, e);
	for (size_t i = 0; r == 0 && i < u->cut->n_carry; i++) {
		struct carry_want *want = &u->cut->carry[i];
		if (want->mount == cm->index)
			r = keep_choose(&cm->carry, m, want->path, &want->moved, e);
	}
	if (r == 0)
		r = keep_raise(&cm->carry, m->next_fd, e);
	return r ? r : carry_finish(&cm->carry, e);
}

static void undo_carry(void *ctx)
{
	struct fs_undo *u = ctx;
	vec_each(struct cut_mount, cm, &u->mounts) if (carry_undo(&cm->carry, NULL)) u->broken =
		true;
}

static int stage_carry(void *ctx, struct err *e)
{
	struct fs_undo *u = ctx;
	int r = 0;
	vec_each(struct cut_mount, cm, &u->mounts)
	{
		if (r == 0)
			r = carry_mount(u, cm, e);
		u->cut->stats.carried += cm->carry.files;
		u->cut->stats.reflinked += cm->carry.reflinked;
		u->cut->stats.copied_bytes += cm->carry.copied_bytes;
	}
	if (r)
		undo_carry(u);
	return r;
}

/*
 * The next root directory was made some time ago: what changed since goes
 * through its overlay, which keeps owner and mode in its own inode. So do the
 * mount's flags: a root that was made read-only stays so.
 */
static int refresh_root(const struct fs_tree *t, const struct fs_mount *m)
{
	scoped_fd int root = sys_openat(m->next_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (root < 0)
		return root;
	int r = carry_attributes(root, m->upper->fs_fd, overlay_xattr_prefix(t->userxattr));
	struct statvfs fs;
	if (r == 0 && fstatvfs(m->mnt_fd, &fs))
		r = -EIO;
	if (r)
		return r;
	uint64_t set = (fs.f_flag & ST_RDONLY ? MOUNT_ATTR_RDONLY : 0) |
		       (fs.f_flag & ST_NOSUID ? MOUNT_ATTR_NOSUID : 0) |
		       (fs.f_flag & ST_NOEXEC ? MOUNT_ATTR_NOEXEC : 0);
	return set ? sys_mount_setattr(m->next_fd, "", AT_EMPTY_PATH, set, 0) : 0;
}

static int stage_attributes(void *ctx, struct err *e)
{
	struct fs_undo *u = ctx;
	vec_each(struct cut_mount, cm, &u->mounts)
	{
		struct fs_mount *m = mount_of(u, cm);
		int r = refresh_root(u->tree, m);
		if (r)
			return fs_fail(e, r, "copy the attributes of", m->target);
		r = carry_record(&cm->carry, &cm->seen, e);
		if (r)
			return r;
	}
	return 0;
}

/* The checkpoint's files: the frozen uppers on top. Memory is taken here. */
static int stage_snapshot(void *ctx, struct err *e)
{
	struct fs_undo *u = ctx;
	int r = fs_snapshot_now(u->tree, &u->snapshot, e);
	vec_each(struct cut_mount, cm, &u->mounts)
	{
		if (r)
			return r;
		struct fs_mount *m = mount_of(u, cm);
		struct fs_snapshot_mount *sm = vec_at(&u->snapshot.mounts, cm->index);
		struct layer **l = vec_insert(&sm->layers, 0);
		if (!l)
			return err_set(e, ENOMEM, "no memory");
		*l = layer_ref(m->upper);
		carry_links_deinit(&sm->links);
		r = carry_links_copy(&sm->links, &cm->carry.links);
		if (r)
			err_set(e, ENOMEM, "no memory");
	}
	return r;
}

static int stage_swap(void *ctx, struct err *e)
{
	struct fs_undo *u = ctx;
	vec_each(struct cut_mount, cm, &u->mounts)
	{
		struct fs_mount *m = mount_of(u, cm);
		int r = sys_mnt_id(m->next_fd, &cm->next_id);
		if (r)
			return fs_fail(e, r, "look at the next overlay of", m->target);
		if (!swap_add(&u->swap, m->target, m->mnt_fd, m->mnt_id, m->next_fd, cm->next_id))
			return err_set(e, ENOMEM, "no memory");
	}
	return u->mounts.n ? swap_run(&u->swap, u->cut->mntns_fd, e) : 0;
}

static const struct stage cut_table[] = {
	{.name = "choose", .run = stage_choose},
	{.name = "carry", .run = stage_carry, .undo = undo_carry},
	{.name = "attributes", .run = stage_attributes},
	{.name = "snapshot", .run = stage_snapshot},
	{.name = "swap", .run = stage_swap},
};

enum { CUT_STAGES = sizeof(cut_table) / sizeof(cut_table[0]) };

/* The live mount is the next one from here on. Cannot fail. */
static void rotate(struct fs_undo *u, struct cut_mount *cm)
{
	struct fs_mount *m = mount_of(u, cm);
	struct layer **l = vec_insert(&m->layers, 0);
	assert(l);
	*l = m->upper;
	cleanup_fd(&m->old_fd);
	m->old_fd = m->mnt_fd;
	m->old_mnt_id = m->mnt_id;
	cleanup_fd(&m->keep_fd);
	m->upper = take_ptr(m->next_upper);
	m->mnt_fd = take_fd(&m->next_fd);
	m->mnt_id = cm->next_id;
	cm->old_seen = m->seen;
	m->seen = VEC_INIT(struct carry_seen);
	cm->old_racy = m->racy;
	fs_mount_take_seen(m, &cm->seen, cm->carry.held);
	scan_deinit(&m->scan);
	cm->old_links = m->links;
	m->links = cm->carry.links;
	cm->carry.links = VEC_INIT(struct carry_links);
	cm->old_kept = m->kept;
	m->kept = cm->carry.kept;
	cm->old_kept_layers = m->kept_layers;
	m->kept_layers = m->layers.n;
	cm->carry.kept = VEC_INIT(struct keep_file);
}

/* The other way round; the next overlay and upper are lost. */
static void rotate_back(struct fs_undo *u, struct cut_mount *cm)
{
	struct fs_mount *m = mount_of(u, cm);
	keep_files_deinit(&m->kept);
	m->kept = cm->old_kept;
	m->kept_layers = cm->old_kept_layers;
	cm->old_kept = VEC_INIT(struct keep_file);
	cleanup_fd(&m->mnt_fd);
	layer_discard(u->tree->store, m->upper);
	m->mnt_fd = take_fd(&m->old_fd);
	m->mnt_id = m->old_mnt_id;
	m->old_mnt_id = 0;
	m->upper = *(struct layer **)vec_at(&m->layers, 0);
	vec_remove(&m->layers, 0);
	fs_mount_take_seen(m, &cm->old_seen, false);
	m->racy = cm->old_racy;
	scan_deinit(&m->scan);
	carry_links_deinit(&m->links);
	m->links = cm->old_links;
	cm->old_links = VEC_INIT(struct carry_links);
}

/* A failed cut may have used up or dirtied what was prepared. */
static void forget_prepared(struct fs_undo *u)
{
	vec_each(struct cut_mount, cm, &u->mounts) fs_mount_unprepare(u->tree, mount_of(u, cm));
	u->tree->state = u->broken ? FS_BROKEN : FS_LIVE;
}

int fs_cut(struct fs_tree *t, struct fs_cut *cut, struct fs_snapshot *out, struct err *e)
{
	if (t->state == FS_BROKEN)
		return err_set(e, EIO, "the sandbox's files are broken");
	assert(t->state != FS_CUT);
	struct fs_undo *u = calloc(1, sizeof(*u));
	if (!u)
		return err_set(e, ENOMEM, "no memory");
	u->tree = t;
	u->cut = cut;
	u->mounts = VEC_INIT(struct cut_mount);
	fs_snapshot_init(&u->snapshot);
	swap_init(&u->swap, ((struct fs_mount *)vec_at(&t->mounts, 0))->mnt_fd);
	cut->stats = (struct fs_cut_stats){0};
	struct err mine = ERR_INIT;
	int r = stage_run(cut_table, CUT_STAGES, u, &cut->stats.times, &mine);
	if (r) {
		u->broken |= mine.broken;
		mine.broken = u->broken;
		forget_prepared(u);
		fs_undo_free(u);
		if (e)
			*e = mine;
		return r;
	}
	vec_each(struct cut_mount, cm, &u->mounts) rotate(u, cm);
	cut->stats.mounts = u->mounts.n;
	u->cut = NULL;
	*out = u->snapshot;
	fs_snapshot_init(&u->snapshot);
	t->undo = u;
	t->state = FS_CUT;
	return 0;
}

int fs_uncut(struct fs_tree *t, int mntns_fd, struct err *e)
{
	assert(t->state == FS_CUT);
	struct fs_undo *u = take_ptr(t->undo);
	struct err mine = ERR_INIT;
	int r = u->mounts.n ? swap_undo(&u->swap, mntns_fd, &mine) : 0;
	if (r == 0) {
		undo_carry(u);
		if (u->broken)
			r = err_set(&mine, EIO, "cannot take back what was carried over");
	}
	if (r == 0)
		vec_each(struct cut_mount, cm, &u->mounts) rotate_back(u, cm);
	t->state = r ? FS_BROKEN : FS_LIVE;
	mine.broken = r != 0;
	if (r && e)
		*e = mine;
	fs_undo_free(u);
	return r;
}

int fs_settle(struct fs_tree *t, int mntns_fd, struct err *e)
{
	assert(t->state == FS_CUT);
	struct fs_undo *u = take_ptr(t->undo);
	vec_each(struct cut_mount, cm, &u->mounts)
	{
		struct fs_mount *m = mount_of(u, cm);
		layer_seal(*(struct layer **)vec_at(&m->layers, 0));
	}
	int r = u->mounts.n ? swap_settle(&u->swap, mntns_fd, e) : 0;
	fs_undo_free(u);
	t->state = FS_LIVE;
	return r;
}
