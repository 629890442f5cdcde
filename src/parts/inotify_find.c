/*
 * inotify_find.c - the paths of what inotifys watch. The kernel tells inodes.
 *
 * Looked for in this order, and only until all are found:
 *
 *	paths that the last checkpoint found
 *	what processes have open, and where they work
 *	the trees below their working directories, then the whole mount; level
 *	by level, as what is watched seldom lies deep
 *
 * So a whole mount is read when a watch is new, if at all, and later
 * checkpoints look at one path for each. A directory's entries are believed for the number of a
 * file at first. Not all overlays tell it rightly: where that finds nothing,
 * each is looked at; and both first of all near the top.
 *
 * A path is the right one when it leads to the device and the number that the
 * kernel told. On an overlay over several file systems stat(2) shows another
 * device for files: such a one is watched by an inotify of ours for a moment,
 * and what fdinfo tells of both must be the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "parts/inotify.h"
#include "parts/kind.h"
#include "parts/memfs.h"
#include "sys/event.h"
#include "sys/file.h"
#include "sys/inroot.h"

enum {
	PATH_BYTES = 4096,
	ENTRIES_NEAR = 20000,	/* some 10 ms, 100 if each is looked at */
	ENTRIES_MAX = 2000000,	/* seconds */
};

/* A watch whose path is not known yet. */
struct want {
	struct inotify_watch *watch;
	int file;
	const char *place;	/* where its file system is mounted */
};

struct seek {
	struct look *l;
	struct vec wants;	/* struct want, by number of the inode */
	size_t left;
	size_t entries_max;	/* to be read in one walk */
	size_t entries;		/* .. still */
	bool every;		/* look at each entry */
};

static int by_ino(const void *a, const void *b)
{
	const struct want *x = a, *y = b;
	return (x->watch->ino > y->watch->ino) - (x->watch->ino < y->watch->ino);
}

/* The first want of that inode, or where it would be. */
static size_t first_of(const struct seek *s, uint64_t ino)
{
	size_t low = 0, high = s->wants.n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct want *w = vec_at(&s->wants, mid);
		if (w->watch->ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct want *want_at(const struct seek *s, size_t i, uint64_t ino)
{
	struct want *w = i < s->wants.n ? vec_at(&s->wants, i) : NULL;
	return w && w->watch->ino == ino ? w : NULL;
}

static bool is_alike(const struct vec *told, int number, const struct inotify_watch *w)
{
	vec_each(struct inotify_watch, m, told)
		if (m->number == number)
			return m->dev == w->dev && m->ino == w->ino && !strcmp(m->handle, w->handle);
	return false;
}

/* Does an inotify of ours tell the same of it? 1, 0 or -errno. */
static int is_told_alike(const struct seek *s, int path_fd, const struct inotify_watch *w)
{
	int *fd = &s->l->inotify_fd;
	if (*fd < 0)
		*fd = sys_inotify(IN_NONBLOCK);
	int number = *fd < 0 ? *fd : sys_inotify_add(*fd, path_fd, IN_DELETE_SELF);
	if (number < 0)
		return number == -EACCES ? 0 : number;
	struct procfs_fdinfo info;
	struct vec told = VEC_INIT(struct inotify_watch);
	int r = procfs_fdinfo(s->l->procfs, getpid(), *fd, &info);
	if (r == 0)
		r = inotify_parse(info.rest, &told);
	if (r == 0)
		r = is_alike(&told, number, w);
	inotify_watches_deinit(&told);
	int removed = sys_inotify_remove(*fd, number);
	return r < 0 || !removed ? r : removed;
}

static int is_it(const struct seek *s, const struct want *w, int fd, const struct stat *st)
{
	if (w->watch->dev == st->st_dev)
		return 1;
	return S_ISDIR(st->st_mode) ? 0 : is_told_alike(s, fd, w->watch);
}

static int take_path(struct seek *s, struct want *w, const char *path, const struct stat *st,
		     struct err *e)
{
	/* of one in a lower layer, each name has an inode of its own */
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		return kind_refuse_file(s->l, w->file, "it watches a file with several names", e);
	w->watch->path = strdup(path);
	if (!w->watch->path)
		return err_set(e, ENOMEM, "out of memory");
	s->left--;
	return 0;
}

/* What lies at path is open as fd: is it wanted? */
static int note(struct seek *s, const char *path, int fd, struct err *e)
{
	struct stat st;
	int r = sys_fstat(fd, &st);
	if (r)
		return err_set(e, -r, "look at '%s': %s", path, strerror(-r));
	struct want *w;
	for (size_t i = first_of(s, st.st_ino); (w = want_at(s, i, st.st_ino)); i++) {
		if (w->watch->path)
			continue;
		r = is_it(s, w, fd, &st);
		if (r < 0)
			return err_set(e, -r, "watch '%s': %s", path, strerror(-r));
		r = r ? take_path(s, w, path, &st, e) : 0;
		if (r)
			return r;
	}
	return 0;
}

/* Nothing may lie there any more. */
static int try_path(struct seek *s, const char *path, struct err *e)
{
	scoped_fd int fd = sys_inroot_open(s->l->root_fd, path, O_PATH | O_NOFOLLOW);
	return fd < 0 ? 0 : note(s, path, fd, e);
}

static int try_known(struct seek *s, struct err *e)
{
	int r = 0;
	vec_each(struct image_file, f, &s->l->parent->files) {
		const struct inotify *in = inotify_of(f);
		if (in)
			vec_each(struct inotify_watch, w, &in->watches)
				if (r == 0 && s->left)
					r = try_path(s, w->path, e);
	}
	vec_each(struct image_file, f, &s->l->image->files)
		if (r == 0 && s->left && f->kind == FILE_PATH)
			r = try_path(s, f->path, e);
	return r;
}

/* Without a trace where that is allowed: the time of last access. */
static int open_dir(const struct seek *s, const char *path)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	int fd = sys_inroot_open(s->l->root_fd, path, flags | O_NOATIME);
	return fd == -EPERM ? sys_inroot_open(s->l->root_fd, path, flags) : fd;
}

static int look_entry(struct seek *s, const char *dir, const struct dirent *d, struct vec *queue,
		      struct err *e)
{
	char path[PATH_BYTES];
	int n = snprintf(path, sizeof(path), "%s/%s", dir[1] ? dir : "", d->d_name);
	if (n < 0 || n >= (int)sizeof(path))
		return 0;
	if (d->d_type == DT_DIR) {
		char **next = vec_add(queue);
		if (!next || !(*next = strdup(path)))
			return err_set(e, ENOMEM, "out of memory");
		return 0;
	}
	if (s->every || want_at(s, first_of(s, d->d_ino), d->d_ino))
		return try_path(s, path, e);
	return 0;
}

/* One directory; what lies on another file system is not looked at. */
static int look_dir(struct seek *s, const char *path, dev_t dev, struct vec *queue, struct err *e)
{
	scoped_fd int fd = open_dir(s, path);
	struct stat st;
	/* what may not be read, even by us, is not looked at */
	if (fd < 0 || sys_fstat(fd, &st) || st.st_dev != dev)
		return 0;
	int r = note(s, path, fd, e);
	scoped_dir DIR *dir = NULL;
	struct dirent *d;
	int more = r ? 0 : sys_opendir_take(&fd, &dir);
	while (r == 0 && more == 0 && s->left && s->entries &&
	       (more = sys_readdir(dir, &d)) > 0) {
		s->entries--;
		r = look_entry(s, path, d, queue, e);
		more = 0;
	}
	return r ? r : more < 0 ? err_set(e, -more, "read '%s': %s", path, strerror(-more)) : 0;
}

static int walk(struct seek *s, const char *top, dev_t dev, struct err *e)
{
	struct vec queue = VEC_INIT(char *);
	s->entries = s->entries_max;
	int r = look_dir(s, top, dev, &queue, e);
	for (size_t i = 0; r == 0 && s->left && s->entries && i < queue.n; i++)
		r = look_dir(s, *(char **)vec_at(&queue, i), dev, &queue, e);
	vec_each(char *, path, &queue)
		free(*path);
	vec_deinit(&queue);
	return r;
}

static bool is_left(const struct seek *s, dev_t dev)
{
	vec_each(struct want, w, &s->wants)
		if (!w->watch->path && w->watch->dev == dev)
			return true;
	return false;
}

/* All of one mount: near the processes first. */
static int walk_mount(struct seek *s, const char *place, dev_t dev, struct err *e)
{
	int r = 0;
	for (int pass = 0; pass < 4 && r == 0 && is_left(s, dev); pass++) {
		s->every = pass & 1;
		s->entries_max = pass < 2 ? ENTRIES_NEAR : ENTRIES_MAX;
		vec_each(struct image_proc, p, &s->l->image->procs) {
			const struct image_file *cwd =
				p->cwd == IMAGE_NONE ? NULL : image_file(s->l->image, p->cwd);
			if (r == 0 && !s->every && cwd && cwd->kind == FILE_PATH && is_left(s, dev))
				r = walk(s, cwd->path, dev, e);
		}
		if (r == 0 && is_left(s, dev))
			r = walk(s, place, dev, e);
	}
	return r;
}

/* Where is this file system mounted? NULL: it is none that is looked at. */
static const char *place_of(const struct look *l, uint64_t dev, int *mount)
{
	*mount = IMAGE_NONE;
	vec_each(struct part_mount, m, &l->mounts)
		if (m->dev == dev) {
			*mount = m->index;
			return m->target;
		}
	vec_each(struct memfs_name, n, &l->memory_names)
		if (n->dev == dev)
			return n->path;
	return NULL;
}

/* A walk would not find it. */
static bool is_deleted(const struct look *l, const struct inotify_watch *w)
{
	vec_each(struct image_file, f, &l->image->files)
		if (f->kind == FILE_UNLINKED && f->ino == w->ino)
			return true;
	return false;
}

static int add_want(struct seek *s, int file, struct inotify_watch *w, struct err *e)
{
	const char *place = place_of(s->l, w->dev, &w->mount);
	if (!place)
		return kind_refuse_file(s->l, file,
					"it watches what is neither in the root nor in a cow "
					"volume nor in a memory file system", e);
	if (is_deleted(s->l, w))
		return kind_refuse_file(s->l, file, "it watches a file that was deleted", e);
	struct want *want = vec_add(&s->wants);
	if (!want)
		return err_set(e, ENOMEM, "out of memory");
	*want = (struct want){ w, file, place };
	s->left++;
	return 0;
}

static int find_all(struct seek *s, struct err *e)
{
	int r = 0;
	for (int i = 0; i < (int)s->l->image->files.n; i++) {
		const struct inotify *in = inotify_of(image_file(s->l->image, i));
		if (in)
			vec_each(struct inotify_watch, w, &in->watches)
				r = r ? r : add_want(s, i, w, e);
	}
	if (r || !s->left)
		return r;
	qsort(s->wants.data, s->wants.n, s->wants.elem_bytes, by_ino);
	r = try_known(s, e);
	vec_each(struct want, w, &s->wants)
		if (r == 0 && !w->watch->path)
			r = walk_mount(s, w->place, w->watch->dev, e);
	vec_each(struct want, w, &s->wants)
		if (r == 0 && !w->watch->path)
			r = kind_refuse_file(s->l, w->file, "it watches a file to which no path "
							    "was found", e);
	return r;
}

int inotify_find(struct look *l, struct err *e)
{
	struct seek s = { .l = l, .wants = VEC_INIT(struct want) };
	int r = find_all(&s, e);
	vec_each(struct want, w, &s.wants) {
		free(w->watch->handle);
		w->watch->handle = NULL;
	}
	vec_deinit(&s.wants);
	return r;
}
