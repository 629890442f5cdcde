/*
 * Removing needs no stack: a directory with contents is moved up into the
 * top of the tree, so that nothing is ever deeper than two levels below it.
 * Walking keeps a queue of paths, not a stack of descriptors.
 */
#include "store/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/vec.h"
#include "sys/file.h"

enum { WRITTEN_MS = 5000 }; /* how long a killed guest may still write */

/* Open a directory of the guest's, whatever mode it was given. */
static int open_dir(int dir_fd, const char *name)
{
	enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };
	int fd = sys_openat(dir_fd, name, FLAGS, 0);
	if (fd != -EACCES)
		return fd;
	/* openat said EACCES and not ENOTDIR or ELOOP: it is no link. */
	int r = sys_fchmodat(dir_fd, name, 0700);
	return r ? r : sys_openat(dir_fd, name, FLAGS, 0);
}

/* Writable, searchable and without flags: entries can be removed. */
static int make_removable(int fd)
{
	struct stat st;
	int r = sys_fstat(fd, &st);
	if (r)
		return r;
	if ((st.st_mode & 0700) != 0700)
		r = sys_fchmod(fd, 0700);
	return r;
}

/* Take immutable and append-only from an entry and its directory. */
static int unprotect(int dir_fd, const char *name)
{
	int r = sys_clear_protection(dir_fd);
	if (r && r != -ENOTTY && r != -EOPNOTSUPP)
		return r;
	scoped_fd int fd = sys_openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd == -ELOOP || fd == -ENXIO ? 0 : fd;
	return sys_clear_protection(fd);
}

/* Unlink a file, or a directory that is empty: 0, -ENOTEMPTY, ... */
static int remove_one(int dir_fd, const char *name)
{
	for (int attempt = 0;; attempt++) {
		int r = sys_unlinkat(dir_fd, name, 0);
		if (r == -EISDIR)
			r = sys_unlinkat(dir_fd, name, AT_REMOVEDIR);
		if (r == -ENOENT)
			return 0;
		if (r == -EEXIST)
			return -ENOTEMPTY;
		if (attempt || r != -EPERM)
			return r;
		r = unprotect(dir_fd, name);
		if (r)
			return r;
	}
}

/* Move a directory that is not empty up into the top of the tree. */
static int hoist(int dir_fd, const char *name, int top_fd, unsigned long *serial)
{
	scoped_fd int fd = open_dir(dir_fd, name);
	if (fd < 0)
		return fd;
	/* Its ".." changes: it must be writable itself. */
	int r = make_removable(fd);
	while (r == 0) {
		char up[32];
		snprintf(up, sizeof(up), "hoisted.%lu", (*serial)++);
		r = sys_renameat2(dir_fd, name, top_fd, up, RENAME_NOREPLACE);
		if (r == 0)
			return 0;
		r = r == -EEXIST ? 0 : r;
	}
	return r;
}

/* Remove what is in fd; directories with contents go up into top_fd. */
static int empty_dir(int fd, int top_fd, unsigned long *serial, bool *found)
{
	int r = make_removable(fd);
	if (r)
		return r;
	scoped_dir DIR *dir = NULL;
	r = sys_opendir_fd(fd, &dir);
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		*found = true;
		r = remove_one(fd, d->d_name);
		if (r != -ENOTEMPTY)
			continue;
		if (fd != top_fd) {
			r = hoist(fd, d->d_name, top_fd, serial);
		} else {
			scoped_fd int sub = open_dir(fd, d->d_name);
			r = sub < 0 ? sub : empty_dir(sub, top_fd, serial, found);
			if (r == 0)
				r = remove_one(fd, d->d_name);
		}
		/* The next pass over the top looks again. */
		if (r == -ENOTEMPTY || r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
			r = 0;
	}
	return r;
}

/* Remove what is in top, and it; -ENOTEMPTY: somebody made more of it. */
static int remove_top(int dir_fd, const char *name, int top_fd)
{
	unsigned long serial = 0;
	bool found = true;
	int r = 0;
	while (r == 0 && found) {
		found = false;
		r = empty_dir(top_fd, top_fd, &serial, &found);
	}
	return r ? r : remove_one(dir_fd, name);
}

int tree_remove(int dir_fd, const char *name)
{
	int r = remove_one(dir_fd, name);
	if (r != -ENOTEMPTY)
		return r;
	scoped_fd int top = open_dir(dir_fd, name);
	if (top < 0)
		return top == -ENOENT ? 0 : top;
	uint64_t end_ns = clock_now_ns() + WRITTEN_MS * 1000000ull;
	do
		r = remove_top(dir_fd, name, top);
	while (r == -ENOTEMPTY && clock_now_ns() < end_ns);
	return r;
}

struct walk {
	int root_fd;
	struct vec queue; /* char *: directories still to be read */
	int (*visit)(void *ctx, const struct tree_entry *entry);
	void *ctx;
};

static int walk_entry(struct walk *w, int fd, const char *dir, const char *name)
{
	struct stat st;
	int r = sys_fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return r == -ENOENT ? 0 : r;
	scoped_free char *path = NULL;
	bool top = !strcmp(dir, ".");
	if (asprintf(&path, "%s%s%s", top ? "" : dir, top ? "" : "/", name) < 0)
		return -ENOMEM;
	struct tree_entry entry = {.dir_fd = fd, .name = name, .path = path, .st = &st};
	r = w->visit(w->ctx, &entry);
	if (r || !S_ISDIR(st.st_mode))
		return r < 0 ? r : 0;
	char **later = vec_add(&w->queue);
	if (!later)
		return -ENOMEM;
	*later = take_ptr(path);
	return 0;
}

static int walk_dir(struct walk *w, const char *path)
{
	scoped_fd int fd = sys_open_beneath(w->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
	/* A mount, or gone since it was seen. */
	if (fd == -EXDEV || fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(fd, &dir);
	struct dirent *d;
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0)
		r = walk_entry(w, fd, path, d->d_name);
	return r;
}

int tree_walk(int root_fd, int (*visit)(void *ctx, const struct tree_entry *entry), void *ctx)
{
	struct walk w = {
		.root_fd = root_fd,
		.queue = VEC_INIT(char *),
		.visit = visit,
		.ctx = ctx,
	};
	int r = walk_dir(&w, ".");
	for (size_t i = 0; i < w.queue.n; i++) {
		/* The queue may move while a directory is read. */
		char *path = *(char **)vec_at(&w.queue, i);
		if (r == 0)
			r = walk_dir(&w, path);
		free(path);
	}
	vec_deinit(&w.queue);
	return r;
}
