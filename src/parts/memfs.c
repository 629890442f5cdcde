#include "parts/memfs.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/inroot.h"
#include "sys/mount.h"

enum {
	DEPTH_MAX = 100,	/* two descriptors a level */
	FILES_MAX = 100000,
};

/* A file with several names, by the first one that was met. */
struct linked {
	ino_t ino;
	char path[];		/* below the top */
};

struct copy {
	int top_fd;		/* of the new tree */
	dev_t dev;		/* of the old one */
	void *linked;		/* struct linked, a tree of tsearch(3) */
	struct vec *names;	/* struct memfs_name, or NULL */
	const char *mount;	/* where it is in the sandbox */
	char path[4096];	/* of what is copied, below the top */
	size_t path_len;
	unsigned int depth, files;
};

static int copy_attributes(int to_fd, const char *name, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r = sys_fchownat(to_fd, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && !S_ISLNK(st->st_mode))
		r = sys_fchmodat(to_fd, name, st->st_mode & 07777);
	return r ? r : sys_utimensat(to_fd, name, times, AT_SYMLINK_NOFOLLOW);
}

static int add_name(struct vec *names, const struct stat *st, const char *mount,
		    const char *path)
{
	char full[8192];
	struct memfs_name *n = vec_add(names);
	if (!n)
		return -ENOMEM;
	snprintf(full, sizeof(full), "%s%s%s", mount, *path ? "/" : "", path);
	*n = (struct memfs_name){ st->st_dev, st->st_ino, strdup(full) };
	return n->path ? 0 : -ENOMEM;
}

const char *memfs_find(const struct vec *names, uint64_t dev, uint64_t ino, bool *known)
{
	*known = false;
	vec_each(struct memfs_name, n, names) {
		*known |= n->dev == dev;
		if (n->dev == dev && n->ino == ino)
			return n->path;
	}
	return NULL;
}

void memfs_names_deinit(struct vec *names)
{
	vec_each(struct memfs_name, n, names)
		free(n->path);
	vec_deinit(names);
}

static int by_ino(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* 1: it was one more name of a file that is there already. */
static int copy_name(struct copy *c, int to_fd, const char *name, const struct stat *st)
{
	const struct linked key = { .ino = st->st_ino };
	struct linked **known = tfind(&key, &c->linked, by_ino);
	if (known) {
		int r = sys_linkat(c->top_fd, (*known)->path, to_fd, name, 0);
		return r ? r : 1;
	}
	scoped_free struct linked *l = malloc(sizeof(*l) + c->path_len + 1);
	if (!l)
		return -ENOMEM;
	l->ino = st->st_ino;
	memcpy(l->path, c->path, c->path_len + 1);
	if (!tsearch(l, &c->linked, by_ino))
		return -ENOMEM;
	(void)take_ptr(l);
	return 0;
}

static int copy_regular(int from_dir, int to_dir, const char *name)
{
	scoped_fd int from = sys_open_quietly(from_dir, name, O_RDONLY);
	if (from < 0)
		return from;
	scoped_fd int to = sys_openat(to_dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (to < 0)
		return to;
	int r = sys_copy_contents(to, from);
	return r < 0 ? r : sys_copy_xattrs(to, from, NULL);
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
	scoped_free char *text = NULL;
	int r = sys_readlinkat(from_dir, name, &text);
	return r < 0 ? r : sys_symlinkat(text, to_dir, name);
}

static int copy_below(struct copy *c, int from_fd, int to_fd);

static int copy_directory(struct copy *c, int from_dir, int to_dir, const char *name)
{
	int r = sys_mkdirat(to_dir, name, 0700);
	if (r && r != -EEXIST)	/* the place of a mount in there */
		return r;
	scoped_fd int from = sys_open_quietly(from_dir, name, O_RDONLY | O_DIRECTORY);
	if (from < 0)
		return from;
	scoped_fd int to = sys_openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (to < 0)
		return to;
	if (++c->depth > DEPTH_MAX)
		return -ELOOP;
	r = copy_below(c, from, to);
	c->depth--;
	return r ? r : sys_copy_xattrs(to, from, NULL);
}

static int copy_entry(struct copy *c, int from_dir, int to_dir, const char *name)
{
	struct stat st;
	int r = sys_fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return r;
	if (st.st_dev != c->dev)
		return 0;	/* another mount: not ours */
	if (++c->files > FILES_MAX)
		return -E2BIG;
	if (c->names && S_ISREG(st.st_mode)) {
		r = add_name(c->names, &st, c->mount, c->path);
		if (r)
			return r;
	}
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
		r = copy_name(c, to_dir, name, &st);
		if (r)
			return r < 0 ? r : 0;
	}
	if (S_ISDIR(st.st_mode))
		r = copy_directory(c, from_dir, to_dir, name);
	else if (S_ISREG(st.st_mode))
		r = copy_regular(from_dir, to_dir, name);
	else if (S_ISLNK(st.st_mode))
		r = copy_link(from_dir, to_dir, name);
	else
		r = sys_mknodat(to_dir, name, st.st_mode, st.st_rdev);
	return r ? r : copy_attributes(to_dir, name, &st);
}

static int copy_below(struct copy *c, int from_fd, int to_fd)
{
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(from_fd, &dir);
	size_t at = c->path_len;
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		int n = snprintf(c->path + at, sizeof(c->path) - at, "%s%s", at ? "/" : "",
				 d->d_name);
		if (n < 0 || (size_t)n >= sizeof(c->path) - at)
			return -ENAMETOOLONG;
		c->path_len = at + (size_t)n;
		r = copy_entry(c, from_fd, to_fd, d->d_name);
	}
	c->path_len = at;
	c->path[at] = '\0';
	return r;
}

/* Also what the top directory itself is like. */
static int copy_tree(int from_fd, int to_fd, const char *mount, struct vec *names)
{
	struct copy c = { .top_fd = to_fd,
			  .names = names,
			  .mount = mount };
	struct stat st;
	int r = sys_fstat(from_fd, &st);
	c.dev = r ? 0 : st.st_dev;
	if (r == 0)
		r = copy_below(&c, from_fd, to_fd);
	tdestroy(c.linked, free);
	return r ? r : copy_attributes(to_fd, ".", &st);
}

int memfs_new(void)
{
	scoped_fd int fs = sys_fsopen("tmpfs");
	if (fs < 0)
		return fs;
	int r = sys_fsconfig_create(fs);
	return r ? r : sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* As they are made: only what differs from that is worth a copy. */
static bool is_pristine(int dir_fd, int *error)
{
	scoped_dir DIR *dir = NULL;
	struct dirent *d;
	int r = sys_opendir_fd(dir_fd, &dir);
	if (r == 0)
		r = sys_readdir(dir, &d);
	*error = r < 0 ? r : 0;
	return r <= 0;
}

int memfs_save(struct tree_image *im, int root_fd, const char *path, struct vec *names,
	       struct err *e)
{
	scoped_fd int from = sys_inroot_open(root_fd, path, O_RDONLY | O_DIRECTORY);
	if (from == -ENOENT || from == -ENOTDIR)
		return 0;
	struct stat st;
	int r = from < 0 ? from : sys_fstat(from, &st);
	if (r == 0)
		r = add_name(names, &st, path, "");
	if (r == 0 && is_pristine(from, &r))
		return r ? err_set(e, -r, "read %s: %s", path, strerror(-r)) : 0;
	scoped_fd int to = r ? -1 : memfs_new();
	if (r == 0 && to < 0)
		r = to;
	if (r == 0)
		r = copy_tree(from, to, path, names);
	if (r) {
		err_set(e, -r, "copy %s, which is in memory: %s", path, strerror(-r));
		return err_path(e, path);
	}
	struct image_memfs *m = vec_add(&im->memfs);
	if (!m)
		return err_set(e, ENOMEM, "out of memory");
	*m = (struct image_memfs){ .path = strdup(path), .dir_fd = take_fd(&to) };
	return m->path ? 0 : err_set(e, ENOMEM, "out of memory");
}

int memfs_fill(const struct tree_image *im, int root_fd, struct err *e)
{
	vec_each(struct image_memfs, m, &im->memfs) {
		scoped_fd int to = sys_inroot_open(root_fd, m->path, O_RDONLY | O_DIRECTORY);
		int r = to < 0 ? to : copy_tree(m->dir_fd, to, m->path, NULL);
		if (r)
			return err_set(e, -r, "fill %s, which is in memory: %s", m->path,
				       strerror(-r));
	}
	return 0;
}

void memfs_deinit(struct image_memfs *m)
{
	cleanup_fd(&m->dir_fd);
	free(m->path);
}
