#include "sandbox/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sandbox/carry.h"
#include "sys/file.h"

static void dir_deinit(struct scan_dir *d)
{
	vec_each(char *, sub, &d->subdirs) free(*sub);
	vec_each(struct scan_link, l, &d->links) free(l->path);
	vec_deinit(&d->subdirs);
	vec_deinit(&d->links);
	free(d->path);
}

void scan_deinit(struct scan *s)
{
	vec_each(struct scan_dir, d, &s->dirs) dir_deinit(d);
	vec_deinit(&s->dirs);
}

static int by_path(const void *a, const void *b)
{
	const struct scan_dir *x = a, *y = b;
	return strcmp(x->path, y->path);
}

static int add_dir(struct vec *dirs, const char *path)
{
	struct scan_dir *d = vec_add(dirs);
	if (!d)
		return -ENOMEM;
	d->subdirs = VEC_INIT(char *);
	d->links = VEC_INIT(struct scan_link);
	d->path = strdup(path);
	if (d->path)
		return 0;
	dirs->n--;
	return -ENOMEM;
}

/*
 * The clock tick that the kernel stamps changes with has not ended yet: the
 * next change may get the same time. (Times that are never the same, Linux
 * 6.13, do not hold for link() on tmpfs.)
 */
static bool is_racy(const struct stat *st)
{
	struct timespec tick;
	clock_gettime(CLOCK_REALTIME_COARSE, &tick);
	return st->st_ctim.tv_sec > tick.tv_sec ||
	       (st->st_ctim.tv_sec == tick.tv_sec && st->st_ctim.tv_nsec >= tick.tv_nsec);
}

static int read_entry(struct scan_dir *d, int fd, const char *name)
{
	struct stat st;
	int r = sys_fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return r == -ENOENT ? 0 : r;
	bool dir = S_ISDIR(st.st_mode);
	if (!dir && (!S_ISREG(st.st_mode) || st.st_nlink < 2))
		return 0;
	char *path;
	bool top = !strcmp(d->path, ".");
	if (asprintf(&path, "%s%s%s", top ? "" : d->path, top ? "" : "/", name) < 0)
		return -ENOMEM;
	if (dir) {
		char **sub = vec_add(&d->subdirs);
		if (sub)
			*sub = take_ptr(path);
	} else {
		struct scan_link *l = vec_add(&d->links);
		if (l)
			*l = (struct scan_link){.ino = st.st_ino, .path = take_ptr(path)};
	}
	bool lost = path != NULL;
	free(path);
	return lost ? -ENOMEM : 0;
}

static int read_dir(struct scan_dir *d, int fd)
{
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(fd, &dir);
	struct dirent *entry;
	while (r == 0 && (r = sys_readdir(dir, &entry)) > 0)
		r = read_entry(d, fd, entry->d_name);
	return r;
}

static struct scan_dir *find_dir(const struct vec *dirs, const char *path)
{
	struct scan_dir key = {.path = (char *)path};
	return dirs->n ? bsearch(&key, dirs->data, dirs->n, sizeof(key), by_path) : NULL;
}

/* One directory: what is known of it still holds, or it is read. */
static int scan_dir(struct scan_dir *d, const struct vec *known, int fs_fd)
{
	scoped_fd int fd = sys_open_beneath(fs_fd, d->path, O_RDONLY | O_DIRECTORY, 0);
	/* Moved away while we looked: its new place is found where it is. */
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	struct stat st;
	int r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r)
		return r;
	d->ino = st.st_ino;
	d->ctime_s = st.st_ctim.tv_sec;
	d->ctime_ns = (uint32_t)st.st_ctim.tv_nsec;
	d->racy = is_racy(&st);
	struct scan_dir *old = find_dir(known, d->path);
	if (!old || old->racy || old->ino != d->ino || old->ctime_s != d->ctime_s ||
	    old->ctime_ns != d->ctime_ns)
		return read_dir(d, fd);
	struct vec none = d->subdirs;
	d->subdirs = old->subdirs;
	old->subdirs = none;
	none = d->links;
	d->links = old->links;
	old->links = none;
	return 0;
}

int scan_update(struct scan *s, int fs_fd)
{
	struct scan now = SCAN_INIT;
	int r = add_dir(&now.dirs, ".");
	/* The vector is the queue: it grows behind us, and moves. */
	for (size_t i = 0; r == 0 && i < now.dirs.n; i++) {
		struct scan_dir d = *(struct scan_dir *)vec_at(&now.dirs, i);
		r = scan_dir(&d, &s->dirs, fs_fd);
		*(struct scan_dir *)vec_at(&now.dirs, i) = d;
		vec_each(char *, sub, &d.subdirs) if (r == 0) r = add_dir(&now.dirs, *sub);
	}
	/* After a failure nothing is known: records may have been moved. */
	scan_deinit(s);
	if (r) {
		scan_deinit(&now);
		return r;
	}
	qsort(now.dirs.data, now.dirs.n, sizeof(struct scan_dir), by_path);
	*s = now;
	return 0;
}

static int by_ino(const void *a, const void *b)
{
	const struct scan_link *x = *(struct scan_link *const *)a;
	const struct scan_link *y = *(struct scan_link *const *)b;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* n names of one inode: a group, unless all but one are gone. */
static int add_group(struct vec *groups, int fs_fd, struct scan_link *const *link, size_t n)
{
	struct stat st;
	int r = sys_fstatat(fs_fd, link[0]->path, &st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (st.st_ino != link[0]->ino || st.st_nlink != n)
		return -ESTALE;
	if (n == 1)
		return 0;
	struct carry_links *group = vec_add(groups);
	if (!group)
		return -ENOMEM;
	*group = (struct carry_links){.ino = st.st_ino, .nlink = n, .names = VEC_INIT(char *)};
	for (size_t i = 0; i < n; i++) {
		char **name = vec_add(&group->names);
		if (!name || !(*name = strdup(link[i]->path)))
			return -ENOMEM;
	}
	return 0;
}

int scan_groups(const struct scan *s, int fs_fd, size_t names_max, struct vec *groups)
{
	struct vec links = VEC_INIT(struct scan_link *);
	struct vec found = VEC_INIT(struct carry_links);
	int r = 0;
	vec_each(struct scan_dir, d, &s->dirs) vec_each(struct scan_link, l, &d->links)
	{
		struct scan_link **to = r ? NULL : vec_add(&links);
		if (to)
			*to = l;
		else
			r = -ENOMEM;
	}
	if (r == 0 && links.n > names_max)
		r = -EMLINK;
	if (r == 0 && links.n)
		qsort(links.data, links.n, sizeof(struct scan_link *), by_ino);
	struct scan_link **link = links.data;
	for (size_t i = 0, n; r == 0 && i < links.n; i += n) {
		for (n = 1; i + n < links.n && link[i + n]->ino == link[i]->ino;)
			n++;
		r = add_group(&found, fs_fd, link + i, n);
	}
	vec_deinit(&links);
	if (r) {
		carry_links_deinit(&found);
		return r;
	}
	*groups = found;
	return 0;
}
