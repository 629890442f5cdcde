/*
 * The new layer is made from the top: a queue of directories, each with the
 * directories of the run that it is made of. Attributes of directories come
 * last, the deepest first, because making entries changes their times.
 */
#include "sandbox/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/carry.h"
#include "sandbox/merge_internal.h"
#include "sandbox/overlay.h"
#include "sys/file.h"
#include "sys/mount.h"

enum {
	/* The uid and gid that unmapped ids are shown as in a user namespace. */
	OVERFLOW_ID = 65534,
	/* Those that chattr can set, and that are no matter of the file system. */
	INODE_FLAGS = FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL,
};

/* A file with several names that was copied: its next name is a link. */
struct copied {
	uint64_t ino;
	char *path; /* in the new layer */
};

struct merging {
	struct merge *m;
	struct vec dirs;    /* struct merge_dir; the queue, and what is to be finished */
	struct vec *copied; /* struct copied, one vector per layer */
	char *whiteout;     /* the first one made: the others are links to it */
	char *at;           /* what it failed at, or NULL */
};

static int failed_at(struct merging *g, const char *path, int r)
{
	if (r < 0 && !g->at)
		g->at = strdup(path);
	return r;
}

/*
 * Reading must leave no trace in the run: a checkpoint in the middle of it
 * still shows its times. So it is read through mounts of its own that keep no
 * time of access. Where that is not allowed only symbolic links show it.
 */
static int open_quiet(int fs_fd)
{
	scoped_fd int fd = sys_open_tree(fs_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
	int r = fd < 0 ? fd : sys_mount_setattr(fd, "", AT_EMPTY_PATH, MOUNT_ATTR_NOATIME,
						MOUNT_ATTR__ATIME);
	return sys_openat(r < 0 ? fs_fd : fd, ".", O_RDONLY | O_DIRECTORY, 0);
}

/* Files */

static int copy_flags(int to_fd, int from_fd)
{
	unsigned int from, to;
	int r = sys_get_inode_flags(from_fd, &from);
	if (r == 0 && (from & INODE_FLAGS))
		r = sys_get_inode_flags(to_fd, &to);
	if (r || !(from & INODE_FLAGS))
		return r;
	return sys_set_inode_flags(to_fd, (to & ~(unsigned int)INODE_FLAGS) | (from & INODE_FLAGS));
}

/* More than may be copied: the sandbox needs what room there is. */
static bool too_much(const struct merge *m, const struct stat *st)
{
	return !m->stats.reflinked &&
	       m->stats.copied_bytes + (uint64_t)st->st_blocks * 512 > m->bytes_max;
}

static int copy_regular(struct merging *g, const struct merge_spot *from, const char *path)
{
	struct merge *m = g->m;
	scoped_fd int in = sys_open_quietly(m->fs_fds[from->layer], from->path, O_NONBLOCK);
	if (in < 0)
		return in;
	struct stat st;
	int r = sys_fstat(in, &st);
	if (r == 0 && too_much(m, &st))
		r = -ENOSPC;
	if (r)
		return r;
	scoped_fd int out = sys_openat(m->to_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (out < 0)
		return out;
	r = sys_copy_contents(out, in);
	if (r < 0)
		return r;
	if (r == 1)
		m->stats.reflinked++;
	else
		m->stats.copied_bytes += (uint64_t)st.st_blocks * 512;
	r = carry_attributes(out, in, NULL);
	if (r == 0)
		r = copy_flags(out, in);
	/* So that there is little left to do for the sync before the manifests. */
	return r ? r : sys_start_writeback(out);
}

static int copy_special_owner(struct merge *m, const char *path, const struct stat *st)
{
	int r = sys_fchownat(m->to_fd, path, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
	bool unmapped = st->st_uid == OVERFLOW_ID || st->st_gid == OVERFLOW_ID;
	return (r == -EINVAL || r == -EPERM) && unmapped ? 0 : r;
}

/* A symbolic link, FIFO, socket or device. */
static int copy_special(struct merging *g, const struct merge_spot *from, const char *path,
			const struct stat *st)
{
	struct merge *m = g->m;
	int r;
	if (S_ISLNK(st->st_mode)) {
		scoped_free char *text = NULL;
		r = sys_readlinkat(m->fs_fds[from->layer], from->path, &text);
		if (r == 0)
			r = sys_symlinkat(text, m->to_fd, path);
	} else {
		r = sys_mknodat(m->to_fd, path, (st->st_mode & S_IFMT) | 0600, st->st_rdev);
	}
	if (r == 0)
		r = copy_special_owner(m, path, st);
	if (r == 0 && !S_ISLNK(st->st_mode))
		r = sys_fchmodat(m->to_fd, path, st->st_mode & 07777);
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	return r ? r : sys_utimensat(m->to_fd, path, times, AT_SYMLINK_NOFOLLOW);
}

static const char *other_name(const struct vec *copied, uint64_t ino)
{
	vec_each(struct copied, c, copied)
		if (c->ino == ino)
			return c->path;
	return NULL;
}

static int remember(struct vec *copied, uint64_t ino, const char *path)
{
	struct copied *c = vec_add(copied);
	if (!c)
		return -ENOMEM;
	*c = (struct copied){ .ino = ino, .path = strdup(path) };
	return c->path ? 0 : -ENOMEM;
}

static int make_file(struct merging *g, const struct merge_found *f, const char *path)
{
	const struct merge_spot *from = vec_at(&f->spots, 0);
	struct vec *copied = &g->copied[from->layer];
	bool several = f->st.st_nlink > 1;
	g->m->stats.files++;
	const char *other = several ? other_name(copied, f->st.st_ino) : NULL;
	if (other)
		return sys_linkat(g->m->to_fd, other, g->m->to_fd, path, 0);
	int r = S_ISREG(f->st.st_mode) ? copy_regular(g, from, path) :
					 copy_special(g, from, path, &f->st);
	return r || !several ? r : remember(copied, f->st.st_ino, path);
}

/* Whiteouts */

/* Only what is there below has to be hidden. */
static int is_below(const struct merge *m, const struct merge_dir *dir, const char *name)
{
	if (!dir->below)
		return 0;
	if (m->below_fd < 0)
		return 1;
	scoped_free char *path = merge_join(dir->below, name);
	struct stat st;
	int r = path ? sys_fstatat(m->below_fd, path, &st, AT_SYMLINK_NOFOLLOW) : -ENOMEM;
	return r == -ENOENT || r == -ENOTDIR ? 0 : r ? r : 1;
}

static int make_whiteout(struct merging *g, const char *path)
{
	struct merge *m = g->m;
	m->stats.whiteouts++;
	int r = g->whiteout ? sys_linkat(m->to_fd, g->whiteout, m->to_fd, path, 0) : -EMLINK;
	if (r != -EMLINK)
		return r;
	r = sys_mknodat(m->to_fd, path, S_IFCHR, 0);
	if (r)
		return r;
	free(g->whiteout);
	g->whiteout = strdup(path);
	return g->whiteout ? 0 : -ENOMEM;
}

/* Directories */

/* Takes what f has. */
static int make_dir(struct merging *g, size_t parent, const char *name, const char *path,
		    struct merge_found *f)
{
	int r = sys_mkdirat(g->m->to_fd, path, 0700);
	struct merge_dir *d = r ? NULL : vec_add(&g->dirs);
	if (!d)
		return r ? r : -ENOMEM;
	g->m->stats.dirs++;
	const struct merge_dir *above = vec_at(&g->dirs, parent);
	*d = (struct merge_dir){ .path = strdup(path), .spots = f->spots,
				 .below = take_ptr(f->below) };
	f->spots = VEC_INIT(struct merge_spot);
	scoped_free char *usual = above->below ? merge_join(above->below, name) : NULL;
	if (!d->path || (above->below && !usual))
		return -ENOMEM;
	/* In an opaque directory everything is. */
	d->opaque = !d->below && above->below;
	d->redirect = d->below && (!usual || strcmp(usual, d->below));
	return 0;
}

static int make_entry(struct merging *g, size_t parent, const char *name)
{
	const struct merge_dir *dir = vec_at(&g->dirs, parent);
	struct merge_found f;
	int r = merge_find(g->m, dir, name, &f);
	if (r)
		return failed_at(g, name, r);
	scoped_free char *path = merge_join(dir->path, name);
	if (!path)
		r = -ENOMEM;
	else if (f.kind == MERGE_DIR)
		r = make_dir(g, parent, name, path, &f);
	else if (f.kind == MERGE_FILE)
		r = make_file(g, &f, path);
	else if (f.kind == MERGE_GONE && (r = is_below(g->m, dir, name)) > 0)
		r = make_whiteout(g, path);
	merge_found_deinit(&f);
	return failed_at(g, path ? path : name, r);
}

static void free_names(struct vec *names)
{
	vec_each(char *, name, names)
		free(*name);
	vec_deinit(names);
}

static int add_names(const struct merge *m, const struct merge_spot *spot, struct vec *names)
{
	scoped_fd int fd = sys_open_quietly(m->fs_fds[spot->layer], spot->path, O_DIRECTORY);
	if (fd < 0)
		return fd;
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_take(&fd, &dir);
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		r = 0;
		char **name = vec_add(names);
		if (!name || !(*name = strdup(d->d_name)))
			return -ENOMEM;
	}
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fill_dir(struct merging *g, size_t at)
{
	struct vec names = VEC_INIT(char *);
	int r = 0;
	const struct merge_dir *dir = vec_at(&g->dirs, at);
	vec_each(struct merge_spot, spot, &dir->spots)
		if (r == 0)
			r = add_names(g->m, spot, &names);
	failed_at(g, dir->path, r);
	if (names.n)
		qsort(names.data, names.n, sizeof(char *), by_name);
	const char *last = "";
	vec_each(char *, name, &names) {
		if (r == 0 && strcmp(*name, last))
			r = make_entry(g, at, *name);
		last = *name;
	}
	free_names(&names);
	return r;
}

/* One of the overlay's own attributes: set, or not there. */
static int set_mark(const struct merge *m, int fd, const char *mark, const char *value)
{
	char name[64];
	snprintf(name, sizeof(name), "%s%s", overlay_xattr_prefix(m->userxattr), mark);
	if (value)
		return sys_fsetxattr(fd, name, value, strlen(value));
	int r = sys_fremovexattr(fd, name);
	return r == -ENODATA || r == -EOPNOTSUPP ? 0 : r;
}

static int finish_dir(struct merging *g, const struct merge_dir *d)
{
	const struct merge *m = g->m;
	const struct merge_spot *newest = vec_at(&d->spots, 0);
	scoped_fd int from = sys_open_quietly(m->fs_fds[newest->layer], newest->path, O_DIRECTORY);
	if (from < 0)
		return from;
	scoped_fd int to = sys_open_beneath(m->to_fd, d->path, O_RDONLY | O_DIRECTORY, 0);
	if (to < 0)
		return to;
	int r = carry_attributes(to, from, NULL);
	if (r == 0)
		r = set_mark(m, to, "opaque", d->opaque ? "y" : NULL);
	if (r == 0 && !m->userxattr) {
		scoped_free char *below = NULL;
		if (d->redirect && asprintf(&below, "/%s", d->below) < 0)
			return -ENOMEM;
		r = set_mark(m, to, "redirect", below);
	}
	return r ? r : copy_flags(to, from);
}

static int run(struct merging *g)
{
	struct merge_dir *root = vec_add(&g->dirs);
	int r = root ? merge_find_root(g->m, root) : -ENOMEM;
	if (r) {
		g->dirs.n = 0;
		return r;
	}
	/* The vector is the queue: it grows behind us, and moves. */
	for (size_t i = 0; r == 0 && i < g->dirs.n; i++)
		r = fill_dir(g, i);
	for (size_t i = g->dirs.n; r == 0 && i-- > 0;) {
		const struct merge_dir *d = vec_at(&g->dirs, i);
		r = failed_at(g, d->path, finish_dir(g, d));
	}
	return r;
}

static void merging_deinit(struct merging *g)
{
	vec_each(struct merge_dir, d, &g->dirs)
		merge_dir_deinit(d);
	vec_deinit(&g->dirs);
	for (size_t i = 0; g->copied && i < g->m->n; i++) {
		vec_each(struct copied, c, &g->copied[i])
			free(c->path);
		vec_deinit(&g->copied[i]);
	}
	free(g->copied);
	free(g->whiteout);
	free(g->at);
}

/* With the layers of the run opened, in fds. */
static int merge_opened(struct merge *m, struct err *e)
{
	struct merging g = { .m = m, .dirs = VEC_INIT(struct merge_dir) };
	g.copied = calloc(m->n, sizeof(*g.copied));
	for (size_t i = 0; g.copied && i < m->n; i++)
		g.copied[i] = VEC_INIT(struct copied);
	int r = g.copied ? run(&g) : -ENOMEM;
	if (r)
		err_set(e, -r, "cannot merge %zu layers: %s%s%s", m->n, g.at ? g.at : "",
			g.at ? ": " : "", strerror(-r));
	merging_deinit(&g);
	return r;
}

int merge_layers(struct merge *m, struct err *e)
{
	struct merge quiet = *m;
	scoped_free int *fds = malloc(m->n * sizeof(*fds));
	if (!fds)
		return err_set(e, ENOMEM, "no memory");
	quiet.fs_fds = fds;
	quiet.stats = (struct merge_stats){ 0 };
	size_t n = 0;
	int r = 0;
	for (; r == 0 && n < m->n; n++) {
		fds[n] = open_quiet(m->fs_fds[n]);
		if (fds[n] < 0)
			r = err_set(e, -fds[n], "cannot open a layer: %s", strerror(-fds[n]));
	}
	if (r == 0)
		r = merge_opened(&quiet, e);
	while (n--)
		cleanup_fd(&fds[n]);
	m->stats = quiet.stats;
	return r;
}
