#include "sandbox/carry_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "sys/file.h"

/* The uid and gid that unmapped ids are shown as in a user namespace. */
enum { OVERFLOW_ID = 65534 };

void carry_init(struct carry *c, const struct layer *from, int to_fd, const char *prefix)
{
	*c = (struct carry){
		.from_fd = from ? from->fs_fd : -1,
		.to_fd = to_fd,
		.prefix = prefix,
		.steps = VEC_INIT(struct carry_step),
		.inodes = VEC_INIT(uint64_t),
		.dirs = VEC_INIT(struct carry_dir),
		.links = VEC_INIT(struct carry_links),
		.kept = VEC_INIT(struct keep_file),
		.from = from,
		.aside_fd = -1,
	};
}

void carry_deinit(struct carry *c)
{
	vec_each(struct carry_step, s, &c->steps) free(s->path);
	vec_each(struct carry_dir, d, &c->dirs) free(d->path);
	vec_deinit(&c->steps);
	vec_deinit(&c->dirs);
	vec_deinit(&c->inodes);
	carry_links_deinit(&c->links);
	keep_files_deinit(&c->kept);
	cleanup_fd(&c->aside_fd);
}

int carry_refuse(int r, const char *path, struct err *e)
{
	err_set(e, -r, "cannot carry '/%s' over: %s", path, strerror(-r));
	err_path(e, path);
	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "make room where the state directory lies, or run 'mulligan gc'");
	if (r == -EPERM)
		err_remedy(e, "remove the immutable or append-only flag of the file (chattr)");
	return r;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int copy_owner(int to_fd, const struct stat *to, const struct stat *from)
{
	uid_t uid = from->st_uid == to->st_uid ? (uid_t)-1 : from->st_uid;
	gid_t gid = from->st_gid == to->st_gid ? (gid_t)-1 : from->st_gid;
	if (uid == (uid_t)-1 && gid == (gid_t)-1)
		return 0;
	int r = sys_fchownat(to_fd, "", uid, gid, AT_EMPTY_PATH);
	bool unmapped = from->st_uid == OVERFLOW_ID || from->st_gid == OVERFLOW_ID;
	/* An owner that this user namespace has no name for stays ours. */
	return (r == -EINVAL || r == -EPERM) && unmapped ? 0 : r;
}

int carry_attributes(int to_fd, int from_fd, const char *skip_prefix)
{
	struct stat from, to;
	int r = sys_fstat(from_fd, &from);
	if (r == 0)
		r = sys_fstat(to_fd, &to);
	if (r == 0)
		r = copy_owner(to_fd, &to, &from);
	if (r)
		return r;
	/* After chown, which clears set-user-id and file capabilities. */
	bool chowned = to.st_uid != from.st_uid || to.st_gid != from.st_gid;
	if (chowned || to.st_mode != from.st_mode)
		r = sys_fchmod(to_fd, from.st_mode & 07777);
	if (r == 0)
		r = sys_copy_xattrs(to_fd, from_fd, skip_prefix);
	if (r || (same_time(&to.st_mtim, &from.st_mtim) && same_time(&to.st_atim, &from.st_atim)))
		return r;
	struct timespec times[2] = {from.st_atim, from.st_mtim};
	return sys_utimensat(to_fd, "", times, AT_EMPTY_PATH);
}

static int add_step(struct carry *c, enum step_kind kind, const char *path)
{
	struct carry_step *s = vec_add(&c->steps);
	if (!s)
		return -ENOMEM;
	*s = (struct carry_step){.kind = kind, .path = strdup(path)};
	if (s->path)
		return 0;
	c->steps.n--;
	return -ENOMEM;
}

static void drop_step(struct carry *c)
{
	struct carry_step *s = vec_at(&c->steps, c->steps.n - 1);
	free(s->path);
	c->steps.n--;
}

static void drop_dirs(struct carry *c, size_t n)
{
	for (; c->dirs.n > n; c->dirs.n--) {
		struct carry_dir *d = vec_at(&c->dirs, c->dirs.n - 1);
		free(d->path);
	}
}

/*
 * The steps are recorded before they are done: a record that cannot be made
 * must not leave a step that cannot be undone.
 */
int carry_do_step(struct carry *c, enum step_kind kind, const char *path, const char *link_to)
{
	int r = add_step(c, kind, path);
	if (r)
		return r;
	switch (kind) {
	case STEP_MKDIR:
		r = sys_mkdirat(c->to_fd, path, 0700);
		break;
	case STEP_ADD:
		r = link_to ? sys_linkat(c->to_fd, link_to, c->to_fd, path, 0)
			    : sys_openat(c->to_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
					 0600);
		break;
	case STEP_EXCHANGE:
		r = sys_renameat2(c->from_fd, path, c->to_fd, path, RENAME_EXCHANGE);
		break;
	case STEP_ASIDE_ROOT:
		r = c->aside_fd = layer_aside(c->from, true);
		if (r < 0 && layer_aside_remove(c->from))
			return r; /* an empty directory that nobody asks for: gc's */
		break;
	case STEP_ASIDE_DIR:
		r = sys_mkdirat(c->aside_fd, path, 0700);
		break;
	case STEP_ASIDE:
		r = sys_renameat2(c->from_fd, path, c->aside_fd, path, RENAME_NOREPLACE);
		break;
	case STEP_RAISE:
		break;
	}
	if (r < 0)
		drop_step(c);
	return r;
}

static int undo_step(struct carry *c, const struct carry_step *s)
{
	int r;
	switch (s->kind) {
	case STEP_MKDIR:
		return sys_unlinkat(c->to_fd, s->path, AT_REMOVEDIR);
	case STEP_ADD:
		return sys_unlinkat(c->to_fd, s->path, 0);
	case STEP_EXCHANGE:
		return sys_renameat2(c->from_fd, s->path, c->to_fd, s->path, RENAME_EXCHANGE);
	case STEP_ASIDE_ROOT:
		cleanup_fd(&c->aside_fd);
		return layer_aside_remove(c->from);
	case STEP_ASIDE_DIR:
		return sys_unlinkat(c->aside_fd, s->path, AT_REMOVEDIR);
	case STEP_ASIDE:
		return sys_renameat2(c->aside_fd, s->path, c->from_fd, s->path, RENAME_NOREPLACE);
	case STEP_RAISE:
		r = sys_unlinkat(c->to_fd, s->path, 0);
		return r == -ENOENT ? 0 : r;
	}
	return -EINVAL;
}

/* Back to when there were n steps. Tries twice: the seam fails a call once. */
static int undo_to(struct carry *c, size_t n)
{
	int first = 0;
	while (c->steps.n > n) {
		struct carry_step *s = vec_at(&c->steps, c->steps.n - 1);
		int r = undo_step(c, s);
		if (r)
			r = undo_step(c, s);
		if (r && !first)
			first = r;
		drop_step(c);
	}
	return first;
}

/* The attribute that makes readdir() look for inode numbers kept across copy-up. */
static int mark_impure(struct carry *c, int to_fd, int from_fd)
{
	char name[64], value[4];
	snprintf(name, sizeof(name), "%simpure", c->prefix);
	ssize_t n = sys_fgetxattr(from_fd, name, value, sizeof(value));
	if (n == -ENODATA || n == -EOPNOTSUPP)
		return 0;
	return n < 0 ? (int)n : sys_fsetxattr(to_fd, name, value, (size_t)n);
}

/*
 * One directory: its times are kept, and to/ gets one like it. What the
 * overlay itself keeps in attributes stays out: opaque would hide the frozen
 * layer's directory, and a redirect is found there.
 */
static int touch_dir(struct carry *c, const char *path)
{
	vec_each(struct carry_dir, d, &c->dirs) if (!strcmp(d->path, path)) return 0;
	scoped_fd int from = sys_open_beneath(c->from_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (from < 0)
		return from;
	struct stat st;
	int r = sys_fstat(from, &st);
	if (r == 0 && strcmp(path, "."))
		r = carry_do_step(c, STEP_MKDIR, path, NULL);
	if (r)
		return r;
	scoped_fd int to = sys_open_beneath(c->to_fd, path, O_RDONLY | O_DIRECTORY, 0);
	r = to < 0 ? to : carry_attributes(to, from, c->prefix);
	if (r == 0)
		r = mark_impure(c, to, from);
	if (r)
		return r;
	struct carry_dir *d = vec_add(&c->dirs);
	if (!d)
		return -ENOMEM;
	*d = (struct carry_dir){.path = strdup(path), .times = {st.st_atim, st.st_mtim}};
	if (d->path)
		return 0;
	c->dirs.n--;
	return -ENOMEM;
}

/* All directories above path, outermost first. */
int carry_touch_parents(struct carry *c, const char *path)
{
	scoped_free char *part = strdup(path);
	if (!part)
		return -ENOMEM;
	int r = touch_dir(c, ".");
	for (char *slash = strchr(part, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = touch_dir(c, part);
		*slash = '/';
	}
	return r;
}

static int add_inode(struct carry *c, uint64_t ino)
{
	uint64_t *to = vec_add(&c->inodes);
	if (!to)
		return -ENOMEM;
	*to = ino;
	return 0;
}

bool carry_inode_done(const struct carry *c, uint64_t ino)
{
	vec_each(uint64_t, done, &c->inodes) if (*done == ino) return true;
	return false;
}

/* A copy of from/name under the same name in to/, attributes and all. */
static int copy_file(struct carry *c, const char *name)
{
	/* Not waiting for a guest to give up a lease. */
	scoped_fd int from = sys_open_beneath(c->from_fd, name, O_RDONLY | O_NONBLOCK, 0);
	if (from < 0)
		return from;
	struct stat st, copy;
	int r = sys_fstat(from, &st);
	scoped_fd int to = r ? r : carry_do_step(c, STEP_ADD, name, NULL);
	if (to < 0)
		return to;
	r = sys_copy_contents(to, from);
	if (r < 0)
		return r;
	c->reflinked += r == 1;
	c->copied_bytes += r == 1 ? 0 : (uint64_t)st.st_size;
	c->files++;
	r = carry_attributes(to, from, NULL);
	if (r == 0)
		r = sys_fstat(to, &copy);
	if (r == 0)
		r = add_inode(c, st.st_ino);
	if (r == 0)
		r = add_inode(c, copy.st_ino);
	return r;
}

/*
 * A file with all its names: the copy first, then its other names, then each
 * name changes places. exchange false: only the copy.
 */
static int carry_names(struct carry *c, char *const *names, size_t n, bool exchange, struct err *e)
{
	size_t mark = c->steps.n, dirs = c->dirs.n, inodes = c->inodes.n;
	int r = 0;
	size_t i = 0;
	for (i = 0; r == 0 && i < n; i++)
		r = carry_touch_parents(c, names[i]);
	if (r == 0)
		r = copy_file(c, names[0]);
	for (i = 1; r == 0 && i < n; i++)
		r = carry_do_step(c, STEP_ADD, names[i], names[0]);
	for (i = 0; r == 0 && exchange && i < n; i++)
		r = carry_do_step(c, STEP_EXCHANGE, names[i], NULL);
	if (r == 0)
		return 0;
	carry_refuse(r, names[0], e);
	if (undo_to(c, mark) && e)
		e->broken = true;
	drop_dirs(c, dirs);
	c->inodes.n = inodes;
	return r;
}

int carry_file(struct carry *c, const char *path, struct err *e)
{
	scoped_fd int fd = sys_open_beneath(c->from_fd, path, O_PATH, 0);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	struct stat st;
	int r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r)
		return carry_refuse(r, path, e);
	if (!S_ISREG(st.st_mode))
		return 0;
	c->held = true;
	if (carry_inode_done(c, st.st_ino))
		return 0;
	if (st.st_nlink != 1)
		return carry_refuse(-EMLINK, path, e);
	char *name = (char *)path;
	return carry_names(c, &name, 1, true, e);
}

/* All groups with all their names, from a scan that may have to begin anew. */
static int find_groups(struct scan *scan, int fs_fd, struct vec *groups)
{
	int r = scan_update(scan, fs_fd);
	if (r == 0)
		r = scan_groups(scan, fs_fd, CARRY_LINK_NAMES_MAX, groups);
	if (r != -ESTALE)
		return r;
	/* A file got another name; the directory of its first was not read. */
	scan_deinit(scan);
	r = scan_update(scan, fs_fd);
	return r ? r : scan_groups(scan, fs_fd, CARRY_LINK_NAMES_MAX, groups);
}

static int refuse_links(int r, struct err *e)
{
	if (r == -ESTALE)
		return err_set(e, EMLINK, "a file of the live layer has a name that is not found");
	if (r != -EMLINK)
		return err_set(e, -r, "cannot read the live layer: %s", strerror(-r));
	err_set(e, EMLINK,
		"more than %d names of files that have several names changed since the "
		"last checkpoint",
		CARRY_LINK_NAMES_MAX);
	return err_remedy(e, "make copies instead of hard links (cp without -l, pnpm with "
			     "package-import-method=copy)");
}

int carry_links(struct carry *c, struct scan *scan, struct err *e)
{
	int r = find_groups(scan, c->from_fd, &c->links);
	if (r)
		return refuse_links(r, e);
	size_t mark = c->steps.n;
	vec_each(struct carry_links, g, &c->links) if (r == 0) r =
		carry_names(c, g->names.data, g->names.n, true, e);
	if (r && undo_to(c, mark) && e)
		e->broken = true;
	return r;
}

int carry_rebuild(struct carry *c, const struct vec *groups, struct err *e)
{
	int r = 0;
	vec_each(struct carry_links, g, groups) if (r == 0) r =
		carry_names(c, g->names.data, g->names.n, false, e);
	return r ? r : carry_finish(c, e);
}

static int restore_times(int root_fd, const struct carry_dir *d)
{
	scoped_fd int fd = sys_open_beneath(root_fd, d->path, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? fd : sys_utimensat(fd, "", d->times, AT_EMPTY_PATH);
}

int carry_finish(struct carry *c, struct err *e)
{
	vec_each(struct carry_dir, d, &c->dirs)
	{
		/* a sealed layer was only read */
		int r = c->from->state == LAYER_SEALED ? 0 : restore_times(c->from_fd, d);
		if (r == 0)
			r = restore_times(c->to_fd, d);
		if (r)
			return carry_refuse(r, d->path, e);
	}
	return 0;
}

int carry_undo(struct carry *c, struct err *e)
{
	int r = undo_to(c, 0);
	vec_each(struct carry_dir, d, &c->dirs) if (restore_times(c->from_fd, d) &&
						    restore_times(c->from_fd, d) && r == 0) r =
		-EIO;
	c->inodes.n = 0;
	if (r == 0)
		return 0;
	err_set(e, -r, "cannot take back what was carried over: %s", strerror(-r));
	if (e)
		e->broken = true;
	return r;
}

static int count_entries(int fs_fd, const char *path, size_t *n)
{
	scoped_fd int fd = sys_open_beneath(fs_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(fd, &dir);
	if (r)
		return r;
	struct dirent *d;
	for (*n = 0; (r = sys_readdir(dir, &d)) > 0;)
		++*n;
	return r;
}

static int look_at(int fs_fd, const char *path, struct carry_seen *seen)
{
	struct stat st;
	int r = sys_fstatat(fs_fd, path, &st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return r;
	*seen = (struct carry_seen){
		.ino = st.st_ino,
		.ctime_s = st.st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st.st_ctim.tv_nsec,
	};
	return S_ISDIR(st.st_mode) ? count_entries(fs_fd, path, &seen->entries) : 0;
}

static int record_one(const struct carry *c, const char *path, struct vec *seen)
{
	struct carry_seen found;
	int r = look_at(c->to_fd, path, &found);
	if (r)
		return r;
	struct carry_seen *to = vec_add(seen);
	if (!to)
		return -ENOMEM;
	*to = found;
	to->path = strdup(path);
	return to->path ? 0 : -ENOMEM;
}

bool carry_seen_holds(const struct carry_seen *s, int fs_fd)
{
	struct carry_seen now;
	return look_at(fs_fd, s->path, &now) == 0 && now.ino == s->ino &&
	       now.ctime_s == s->ctime_s && now.ctime_ns == s->ctime_ns &&
	       now.entries == s->entries;
}

/* Steps that make something in the new upper. */
static bool is_in_new(const struct carry_step *s)
{
	return s->kind == STEP_MKDIR || s->kind == STEP_ADD || s->kind == STEP_RAISE;
}

int carry_record(const struct carry *c, struct vec *seen, struct err *e)
{
	struct vec found = VEC_INIT(struct carry_seen);
	int r = record_one(c, ".", &found);
	vec_each(struct carry_step, s, &c->steps) if (r == 0 && is_in_new(s)) r =
		record_one(c, s->path, &found);
	if (r) {
		carry_seen_deinit(&found);
		return err_set(e, -r, "cannot look at the new layer: %s", strerror(-r));
	}
	*seen = found;
	return 0;
}

void carry_seen_deinit(struct vec *seen)
{
	vec_each(struct carry_seen, s, seen) free(s->path);
	vec_deinit(seen);
}

int carry_find_links(int fs_fd, struct vec *groups, struct err *e)
{
	struct scan scan = SCAN_INIT;
	int r = find_groups(&scan, fs_fd, groups);
	scan_deinit(&scan);
	return r ? refuse_links(r, e) : 0;
}

int carry_links_copy(struct vec *dst, const struct vec *src)
{
	struct vec copy = VEC_INIT(struct carry_links);
	vec_each(struct carry_links, g, src)
	{
		struct carry_links *to = vec_add(&copy);
		if (!to)
			goto fail;
		*to = (struct carry_links){
			.ino = g->ino, .nlink = g->nlink, .names = VEC_INIT(char *)};
		vec_each(char *, name, &g->names)
		{
			char **mine = vec_add(&to->names);
			if (!mine || !(*mine = strdup(*name)))
				goto fail;
		}
	}
	*dst = copy;
	return 0;
fail:
	carry_links_deinit(&copy);
	return -ENOMEM;
}

void carry_links_deinit(struct vec *groups)
{
	vec_each(struct carry_links, g, groups)
	{
		vec_each(char *, name, &g->names) free(*name);
		vec_deinit(&g->names);
	}
	vec_deinit(groups);
}
