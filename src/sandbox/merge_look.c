/*
 * What a name means in a run of layers, by the rules of the kernel's
 * ovl_lookup() (fs/overlayfs/namei.c): layer by layer from the newest,
 *
 *	nothing		look in the next layer
 *	whiteout	the end: nothing from here on down
 *	file		the end; below a directory: that directory is opaque
 *	directory	one part of a merged directory; the next layer may have more,
 *			under another name if this one has a redirect:
 *			"name"	in the same parents
 *			"/a/b"	from the roots of the layers, also where the
 *				parents have come to an end
 *	  opaque	the end after this one, and its redirect does not count
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/merge_internal.h"
#include "sandbox/overlay.h"
#include "sys/file.h"

enum { REDIRECT_BYTES = 65536 }; /* XATTR_SIZE_MAX */

struct lookup {
	const struct merge *m;
	struct merge_found *out;
	char *want; /* name, or "/path" once a redirect said so */
	bool stop;
};

char *merge_join(const char *dir, const char *name)
{
	char *path;
	if (!strcmp(dir, "."))
		return strdup(name);
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static void spots_deinit(struct vec *spots)
{
	vec_each(struct merge_spot, s, spots)
		free(s->path);
	vec_deinit(spots);
}

void merge_found_deinit(struct merge_found *f)
{
	spots_deinit(&f->spots);
	free(f->below);
	f->below = NULL;
}

void merge_dir_deinit(struct merge_dir *d)
{
	spots_deinit(&d->spots);
	free(d->path);
	free(d->below);
}

static int add_spot(struct vec *spots, size_t layer, const char *path, bool whiteouts)
{
	struct merge_spot *s = vec_add(spots);
	if (!s)
		return -ENOMEM;
	*s = (struct merge_spot){ .layer = layer, .path = strdup(path), .whiteouts = whiteouts };
	if (s->path)
		return 0;
	spots->n--;
	return -ENOMEM;
}

/* An attribute of the overlay: length, 0 where there is none. */
static ssize_t get_mark(const struct merge *m, int fd, const char *mark, char *value, size_t len)
{
	char name[64];
	snprintf(name, sizeof(name), "%s%s", overlay_xattr_prefix(m->userxattr), mark);
	ssize_t n = sys_fgetxattr(fd, name, value, len);
	return n == -ENODATA || n == -EOPNOTSUPP ? 0 : n;
}

static int is_whiteout(const struct merge *m, size_t layer, const char *path, const struct stat *st,
		       bool by_attribute)
{
	if (S_ISCHR(st->st_mode) && st->st_rdev == 0)
		return 1;
	if (!by_attribute || !S_ISREG(st->st_mode) || st->st_size)
		return 0;
	scoped_fd int fd = sys_open_quietly(m->fs_fds[layer], path, O_NONBLOCK);
	if (fd < 0)
		return fd;
	char name[64], value[8];
	snprintf(name, sizeof(name), "%swhiteout", overlay_xattr_prefix(m->userxattr));
	ssize_t n = sys_fgetxattr(fd, name, value, sizeof(value));
	return n == -ENODATA ? 0 : n < 0 ? (int)n : 1;
}

/*
 * A redirect of the directory fd, which was met in l->want after its first
 * `before` bytes, and with `after` behind it.
 */
static int follow_redirect(struct lookup *l, int fd, size_t before, const char *after)
{
	if (l->m->userxattr)
		return 0;
	scoped_free char *value = malloc(REDIRECT_BYTES + 1);
	if (!value)
		return -ENOMEM;
	ssize_t n = get_mark(l->m, fd, "redirect", value, REDIRECT_BYTES);
	if (n <= 0)
		return (int)n;
	value[n] = '\0';
	bool absolute = value[0] == '/';
	char *want;
	if (asprintf(&want, "%.*s%s%s", absolute ? 0 : (int)before, l->want, value, after) < 0)
		return -ENOMEM;
	free(l->want);
	l->want = want;
	/* What stopped on the way here does not hold for a path from the root. */
	if (absolute)
		l->stop = false;
	return 0;
}

/*
 * One element of a path in one layer: 1 where it is there, and counts. last:
 * it is what is looked for, not a directory on the way to it.
 */
static int look_element(struct lookup *l, const struct merge_spot *parent, size_t layer,
			const char *path, size_t before, const char *after, struct merge_spot *spot,
			struct stat *st)
{
	bool last = !*after;
	int r = sys_fstatat(l->m->fs_fds[layer], path, st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	r = is_whiteout(l->m, layer, path, st, parent && parent->whiteouts);
	if (r < 0)
		return r;
	if (r) {
		l->stop = true;
		if (last && l->out->kind == MERGE_NONE)
			l->out->kind = MERGE_GONE;
		return 0;
	}
	if (!S_ISDIR(st->st_mode)) {
		l->stop = true;
		return last && l->out->kind == MERGE_NONE;
	}
	scoped_fd int fd = sys_open_quietly(l->m->fs_fds[layer], path, O_DIRECTORY);
	if (fd < 0)
		return fd;
	char value[8] = "";
	ssize_t n = get_mark(l->m, fd, "opaque", value, sizeof(value));
	if (n < 0)
		return (int)n;
	spot->whiteouts = n == 1 && value[0] == 'x';
	if (n == 1 && value[0] == 'y') {
		l->stop = true;
		return 1;
	}
	r = follow_redirect(l, fd, before, after);
	return r ? r : 1;
}

/* It is there: one part more, or the file. */
static int take(struct lookup *l, size_t layer, const char *path, const struct merge_spot *spot,
		const struct stat *st)
{
	if (l->out->kind == MERGE_NONE) {
		l->out->kind = S_ISDIR(st->st_mode) ? MERGE_DIR : MERGE_FILE;
		l->out->st = *st;
	}
	return add_spot(&l->out->spots, layer, path, spot->whiteouts);
}

/* By name, in one of the parents. */
static int look_in(struct lookup *l, const struct merge_spot *parent)
{
	scoped_free char *path = merge_join(parent->path, l->want);
	if (!path)
		return -ENOMEM;
	struct merge_spot spot = { 0 };
	struct stat st;
	int r = look_element(l, parent, parent->layer, path, 0, "", &spot, &st);
	return r > 0 ? take(l, parent->layer, path, &spot, &st) : r;
}

/* By path, from the root of a layer. */
static int look_from_root(struct lookup *l, size_t layer)
{
	/* l->want may change on the way: that is for the next layers. */
	scoped_free char *path = strdup(l->want + 1);
	if (!path)
		return -ENOMEM;
	struct merge_spot spot = { 0 };
	struct stat st;
	for (char *at = path;;) {
		size_t before = strlen(l->want) - strlen(at);
		char *slash = strchr(at, '/');
		scoped_free char *after = strdup(slash ? slash : "");
		if (!after)
			return -ENOMEM;
		if (slash)
			*slash = '\0';
		int r = look_element(l, NULL, layer, path, before, after, &spot, &st);
		if (r <= 0)
			return r;
		if (!slash)
			return take(l, layer, path, &spot, &st);
		*slash = '/';
		at = slash + 1;
	}
}

static int look_everywhere(struct lookup *l, const struct merge_dir *dir)
{
	size_t next = 0; /* layer */
	int r = 0;
	for (size_t i = 0; r == 0 && !l->stop && l->want[0] != '/' && i < dir->spots.n; i++) {
		const struct merge_spot *parent = vec_at(&dir->spots, i);
		next = parent->layer + 1;
		r = look_in(l, parent);
	}
	if (l->want[0] == '/')
		for (; r == 0 && !l->stop && next < l->m->n; next++)
			r = look_from_root(l, next);
	return r;
}

/* Where the kernel goes on below the run; NULL in *below: nowhere. */
static int find_below(const struct lookup *l, const struct merge_dir *dir, char **below)
{
	*below = NULL;
	if (l->stop || (l->want[0] != '/' && !dir->below))
		return 0;
	*below = l->want[0] == '/' ? strdup(l->want + 1) : merge_join(dir->below, l->want);
	return *below ? 0 : -ENOMEM;
}

int merge_find(const struct merge *m, const struct merge_dir *dir, const char *name,
	       struct merge_found *out)
{
	*out = (struct merge_found){ .spots = VEC_INIT(struct merge_spot) };
	struct lookup l = { .m = m, .out = out, .want = strdup(name) };
	int r = l.want ? look_everywhere(&l, dir) : -ENOMEM;
	if (r == 0)
		r = find_below(&l, dir, &out->below);
	free(l.want);
	if (r)
		merge_found_deinit(out);
	return r;
}

int merge_find_root(const struct merge *m, struct merge_dir *root)
{
	*root = (struct merge_dir){ .spots = VEC_INIT(struct merge_spot) };
	root->path = strdup(".");
	root->below = strdup(".");
	int r = root->path && root->below ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < m->n; i++) {
		char value[8] = "";
		ssize_t n = get_mark(m, m->fs_fds[i], "opaque", value, sizeof(value));
		r = n < 0 ? (int)n : add_spot(&root->spots, i, ".", n == 1 && value[0] == 'x');
	}
	if (r)
		merge_dir_deinit(root);
	return r;
}
