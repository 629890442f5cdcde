#include "sandbox/diff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/fs_internal.h"
#include "sandbox/overlay.h"
#include "store/tree.h"
#include "sys/file.h"
#include "sys/mount.h"

enum { COMPARE_CHUNK = 64 << 10 };

/* One state of one mount. */
struct side {
	const char *root; /* base of "/": it may have skins */
	const char *target;
	const char *source;
	const struct vec *layers; /* struct layer *, newest first */
	const struct layer *top;  /* live upper above them, or NULL */
};

struct touched {
	char *path;
	bool deep; /* all below may differ, named by a layer or not */
};

struct compare {
	const char *target;
	const char *prefix; /* of the overlay's attributes */
	int a_fd, b_fd;     /* merged views */
	struct vec touched; /* struct touched */
	struct vec *files;  /* struct diff_file, out */
};

void diff_deinit(struct vec *files)
{
	vec_each(struct diff_file, f, files) free(f->path);
	vec_deinit(files);
}

/* What lies over the layers of a checkpoint: sandbox/keep.h. A live upper has it. */
static int open_aside(const struct side *s)
{
	if (s->top || !s->layers->n)
		return -ENOENT;
	return layer_aside(*(struct layer **)vec_at(s->layers, 0), false);
}

/* A read-only overlay of that state, or the base itself where it has no layer. */
static int open_view(const struct side *s, bool userxattr, struct err *e)
{
	scoped_fd int base = sys_openat(AT_FDCWD, s->source, O_RDONLY | O_DIRECTORY, 0);
	if (base < 0)
		return err_set(e, -base, "cannot open the base directory '%s': %s", s->source,
			       strerror(-base));
	int fds[OVERLAY_LOWERS_MAX + 4];
	size_t n = 0;
	if (s->layers->n > OVERLAY_LOWERS_MAX - 4)
		return err_set(e, E2BIG, "too many layers to compare");
	scoped_fd int aside = open_aside(s);
	if (aside < 0 && aside != -ENOENT)
		return err_set(e, -aside, "cannot open what lies beside a layer: %s",
			       strerror(-aside));
	if (aside >= 0)
		fds[n++] = aside;
	if (s->top)
		fds[n++] = s->top->fs_fd;
	vec_each(struct layer *, l, s->layers) fds[n++] = (*l)->fs_fd;
	scoped_fd int skin = -1;
	int r = fs_open_skin(s->root, s->target, &skin);
	if (r)
		return err_set(e, -r, "cannot open the skin of '%s': %s", s->target, strerror(-r));
	if (skin >= 0)
		fds[n++] = skin;
	if (!n)
		return take_fd(&base);
	fds[n++] = base;
	/* The newest layer's own directory will do to mount on for a moment. */
	const struct layer *newest = s->top         ? s->top
				     : s->layers->n ? *(struct layer **)vec_at(s->layers, 0)
						    : NULL;
	struct overlay o = {
		.lower_fds = fds,
		.n_lowers = n,
		.upper_fd = -1,
		.work_fd = -1,
		.scratch_fd = newest ? newest->dir_fd : -1,
		.userxattr = userxattr,
	};
	return overlay_build(&o, e);
}

static bool has_layer(const struct side *s, const struct layer *wanted)
{
	if (s->top && !strcmp(s->top->id, wanted->id))
		return true;
	vec_each(struct layer *, l, s->layers) if (!strcmp((*l)->id, wanted->id)) return true;
	return false;
}

/* The directory hides, or stands for another of, what lies below this layer. */
static int replaces_lower(const struct compare *c, const struct tree_entry *entry, bool *deep)
{
	scoped_fd int fd =
		sys_openat(entry->dir_fd, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r = fd < 0 ? fd : overlay_dir_replaces(fd, c->prefix);
	*deep |= r == 1;
	return r < 0 ? r : 0;
}

static int touch(void *ctx, const struct tree_entry *entry)
{
	struct compare *c = ctx;
	bool whiteout = S_ISCHR(entry->st->st_mode) && entry->st->st_rdev == 0;
	bool deep = whiteout;
	int r = S_ISDIR(entry->st->st_mode) ? replaces_lower(c, entry, &deep) : 0;
	if (r)
		return r;
	struct touched *t = vec_add(&c->touched);
	if (!t)
		return -ENOMEM;
	*t = (struct touched){.path = strdup(entry->path), .deep = deep};
	return t->path ? 0 : -ENOMEM;
}

/* Order in which a directory is followed by all that is below it. */
static int path_order(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	int x = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0;
	int y = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
	return x - y;
}

static int touched_order(const void *a, const void *b)
{
	const struct touched *x = a, *y = b;
	int by_path = path_order(x->path, y->path);
	return by_path ? by_path : (int)y->deep - (int)x->deep;
}

static int file_order(const void *a, const void *b)
{
	const struct diff_file *x = a, *y = b;
	return path_order(x->path, y->path);
}

static int report(struct compare *c, const char *path, char change, const struct stat *st)
{
	struct diff_file *f = vec_add(c->files);
	if (!f)
		return -ENOMEM;
	const char *target = strcmp(c->target, "/") ? c->target : "";
	bool top = !strcmp(path, ".");
	if (asprintf(&f->path, "%s%s%s", target, top && *target ? "" : "/", top ? "" : path) < 0) {
		f->path = NULL;
		return -ENOMEM;
	}
	f->change = change;
	f->size_bytes = S_ISREG(st->st_mode) || S_ISLNK(st->st_mode) ? (uint64_t)st->st_size : 0;
	f->mode = st->st_mode;
	return 0;
}

/* 1: there, 0: not there. */
static int look(int view_fd, const char *path, struct stat *st)
{
	scoped_fd int fd = sys_open_beneath(view_fd, path, O_PATH, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	int r = fd < 0 ? fd : sys_fstat(fd, st);
	return r ? r : 1;
}

/* 1: contents are the same. */
static int same_contents(const struct compare *c, const char *path)
{
	scoped_fd int a = sys_open_beneath(c->a_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (a < 0)
		return a;
	scoped_fd int b = sys_open_beneath(c->b_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (b < 0)
		return b;
	scoped_free char *bytes = malloc(2 * COMPARE_CHUNK);
	if (!bytes)
		return -ENOMEM;
	for (off_t at = 0;;) {
		ssize_t n = pread(a, bytes, COMPARE_CHUNK, at);
		ssize_t m = pread(b, bytes + COMPARE_CHUNK, COMPARE_CHUNK, at);
		if (n < 0 || m < 0)
			return -EIO;
		if (n != m || memcmp(bytes, bytes + COMPARE_CHUNK, (size_t)n))
			return 0;
		if (n == 0)
			return 1;
		at += n;
	}
}

static int same_link(const struct compare *c, const char *path)
{
	char a[4096], b[4096];
	ssize_t n = readlinkat(c->a_fd, path, a, sizeof(a));
	ssize_t m = readlinkat(c->b_fd, path, b, sizeof(b));
	if (n < 0 || m < 0)
		return -EIO;
	return n == m && !memcmp(a, b, (size_t)n);
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* 1: the same but for times. Both are of one type. */
static int same_file(const struct compare *c, const char *path, const struct stat *a,
		     const struct stat *b)
{
	if (a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		return 0;
	switch (a->st_mode & S_IFMT) {
	case S_IFREG:
		if (a->st_size != b->st_size)
			return 0;
		/* One and the same file of a layer that both have. */
		if (a->st_ino == b->st_ino && same_time(&a->st_ctim, &b->st_ctim) &&
		    same_time(&a->st_mtim, &b->st_mtim))
			return 1;
		return same_contents(c, path);
	case S_IFLNK:
		return same_link(c, path);
	case S_IFCHR:
	case S_IFBLK:
		return a->st_rdev == b->st_rdev;
	default:
		return 1;
	}
}

static int compare_path(struct compare *c, const char *path, bool deep, bool *covered);

static void free_names(struct vec *names)
{
	vec_each(char *, name, names) free(*name);
	vec_deinit(names);
}

/* Add what the directory at path of a view has; twice does not matter. */
static int list_names(int view_fd, const char *path, struct vec *names)
{
	scoped_fd int fd = sys_open_beneath(view_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(fd, &dir);
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		r = 0;
		char **name = vec_add(names);
		if (!name || asprintf(name, "%s/%s", path, d->d_name) < 0)
			return -ENOMEM;
	}
	return r;
}

static int name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Everything below path, on either side. The depth of the recursion is that
 * of the tree; names longer than PATH_MAX end it.
 */
static int compare_below(struct compare *c, const char *path, bool in_a, bool in_b)
{
	struct vec names = VEC_INIT(char *);
	int r = in_a ? list_names(c->a_fd, path, &names) : 0;
	if (r == 0 && in_b)
		r = list_names(c->b_fd, path, &names);
	if (names.n)
		qsort(names.data, names.n, sizeof(char *), name_order);
	const char *last = "";
	vec_each(char *, name, &names)
	{
		bool covered;
		if (r == 0 && strcmp(*name, last))
			r = compare_path(c, *name, true, &covered);
		last = *name;
	}
	free_names(&names);
	return r;
}

/* covered: all below path has been compared, too. */
static int compare_path(struct compare *c, const char *path, bool deep, bool *covered)
{
	struct stat a, b;
	int in_a = look(c->a_fd, path, &a);
	int in_b = in_a < 0 ? in_a : look(c->b_fd, path, &b);
	if (in_b < 0)
		return in_b;
	bool a_dir = in_a && S_ISDIR(a.st_mode), b_dir = in_b && S_ISDIR(b.st_mode);
	*covered = deep || a_dir != b_dir;
	int r = 0;
	if (in_a && in_b && (a.st_mode & S_IFMT) == (b.st_mode & S_IFMT)) {
		int same = same_file(c, path, &a, &b);
		r = same < 0 ? same : same ? 0 : report(c, path, 'M', &b);
	} else if (in_a && in_b) {
		r = report(c, path, 'T', &b);
	} else if (in_b) {
		r = report(c, path, 'A', &b);
	} else if (in_a) {
		r = report(c, path, 'D', &a);
	}
	if (r || !*covered || (!a_dir && !b_dir))
		return r;
	return compare_below(c, path, a_dir, b_dir);
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return len && !strncmp(path, dir, len) && (path[len] == '/' || !path[len]);
}

static int compare_touched(struct compare *c)
{
	if (c->touched.n)
		qsort(c->touched.data, c->touched.n, sizeof(struct touched), touched_order);
	bool covered;
	int r = compare_path(c, ".", false, &covered);
	const char *done = "";
	vec_each(struct touched, t, &c->touched)
	{
		if (r || is_below(t->path, done))
			continue;
		r = compare_path(c, t->path, t->deep, &covered);
		/* A shallow one is done, too: it may be named by two layers. */
		done = covered ? t->path : "";
	}
	return r;
}

/* Paths in layers that `from` has and `other` has not. */
static int touch_layers(struct compare *c, const struct side *from, const struct side *other)
{
	int r = 0;
	if (from->top && !has_layer(other, from->top))
		r = tree_walk(from->top->fs_fd, touch, c);
	vec_each(struct layer *, l, from->layers) if (r == 0 && !has_layer(other, *l)) r =
		tree_walk((*l)->fs_fd, touch, c);
	scoped_fd int aside = r ? -ENOENT : open_aside(from);
	if (aside == -ENOENT)
		return r;
	return aside < 0 ? aside : tree_walk(aside, touch, c);
}

static int compare_sides(const char *target, const struct side *a, const struct side *b,
			 struct vec *files, struct err *e)
{
	bool userxattr = sys_in_userns();
	struct compare c = {
		.target = target,
		.prefix = overlay_xattr_prefix(userxattr),
		.touched = VEC_INIT(struct touched),
		.files = files,
	};
	int r = touch_layers(&c, a, b);
	if (r == 0)
		r = touch_layers(&c, b, a);
	if (r)
		err_set(e, -r, "cannot read the layers of '%s': %s", target, strerror(-r));
	scoped_fd int a_fd = -1, b_fd = -1;
	if (r == 0 && c.touched.n) {
		r = a_fd = open_view(a, userxattr, e);
		if (r >= 0)
			r = b_fd = open_view(b, userxattr, e);
		c.a_fd = a_fd;
		c.b_fd = b_fd;
		if (r >= 0) {
			r = compare_touched(&c);
			if (r)
				err_set(e, -r, "cannot compare the files of '%s': %s", target,
					strerror(-r));
		}
	}
	vec_each(struct touched, t, &c.touched) free(t->path);
	vec_deinit(&c.touched);
	return r < 0 ? r : 0;
}

/* Sort, and drop what two layers led to. */
static void finish(struct vec *files)
{
	if (files->n)
		qsort(files->data, files->n, sizeof(struct diff_file), file_order);
	size_t kept = 0;
	struct diff_file *f = files->data;
	for (size_t i = 0; i < files->n; i++) {
		if (kept && !strcmp(f[kept - 1].path, f[i].path))
			free(f[i].path);
		else
			f[kept++] = f[i];
	}
	files->n = kept;
}

static const struct fs_snapshot_mount *mount_at(const struct fs_snapshot *s, const char *target)
{
	vec_each(struct fs_snapshot_mount, sm,
		 &s->mounts) if (!strcmp(sm->target, target)) return sm;
	return NULL;
}

static struct side side_of(const struct fs_snapshot *s, const struct fs_snapshot_mount *sm)
{
	const struct fs_snapshot_mount *root = vec_at(&s->mounts, 0);
	return (struct side){.root = root->source,
			     .target = sm->target,
			     .source = sm->source,
			     .layers = &sm->layers};
}

int diff_snapshots(const struct fs_snapshot *a, const struct fs_snapshot *b, struct vec *files,
		   struct err *e)
{
	struct vec found = VEC_INIT(struct diff_file);
	int r = 0;
	vec_each(struct fs_snapshot_mount, sm, &b->mounts)
	{
		const struct fs_snapshot_mount *old = mount_at(a, sm->target);
		if (r == 0 && !old)
			r = err_set(e, ESTALE, "one of the checkpoints has no files for '%s'",
				    sm->target);
		if (r)
			break;
		struct side from = side_of(a, old), to = side_of(b, sm);
		r = compare_sides(sm->target, &from, &to, &found, e);
	}
	if (r) {
		diff_deinit(&found);
		return r;
	}
	finish(&found);
	*files = found;
	return 0;
}

int diff_live(const struct fs_snapshot *a, const struct fs_tree *t, struct vec *files,
	      struct err *e)
{
	struct vec found = VEC_INIT(struct diff_file);
	int r = 0;
	vec_each(struct fs_mount, m, &t->mounts)
	{
		const struct fs_snapshot_mount *old = mount_at(a, m->target);
		if (r == 0 && !old)
			r = err_set(e, ESTALE, "the checkpoint has no files for '%s'", m->target);
		if (r)
			break;
		struct side from = side_of(a, old);
		struct side to = from;
		to.layers = &m->layers;
		to.top = m->upper;
		r = compare_sides(m->target, &from, &to, &found, e);
	}
	if (r) {
		diff_deinit(&found);
		return r;
	}
	finish(&found);
	*files = found;
	return 0;
}
